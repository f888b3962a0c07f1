"""What events add up to, held against what the contract's own views say of the same block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_ports import Escrow, Stake, StakeKey, Thaw
from meterbridge.services.following.states import (
    EscrowKey,
    EscrowState,
    PotKey,
    PotState,
    SignerKey,
    SignerState,
    StakeState,
    State,
    StateKey,
)

K = TypeVar("K")


class Views(Protocol):
    """The contract's views of many at once; each as of the end of a block."""

    def escrows(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Escrow, ...]:
        """Return the accounts of many payers."""

    def thaws(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Thaw, ...]:
        """Return the thaws of many payers."""

    def pots(self, split_ids: Sequence[bytes], *, block: int | None = None) -> tuple[AssetAmount, ...]:
        """Return all that was ever allocated to each of many splits."""

    def stakes(self, keys: Sequence[StakeKey], *, block: int | None = None) -> tuple[Stake, ...]:
        """Return many stakes."""

    def signers_until(self, keys: Sequence[SignerKey], *, block: int | None = None) -> tuple[int, ...]:
        """Return until when each of many signers may sign."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One value that the events and the contract do not agree on.

    Attributes:
        key: whose.
        name: which of its values.
        events: what the events add up to.
        contract: what the contract says.
    """

    key: StateKey
    name: str
    events: AssetAmount | int
    contract: AssetAmount | int

    def __str__(self) -> str:
        return f"{told(self.key)}: {self.name} is {self.contract}; the events add up to {self.events}"


def told(key: StateKey) -> str:
    """Name what a key stands for."""
    match key:
        case EscrowKey():
            return f"the account of {key.payer} under tariff 0x{key.tariff_id.hex()[:8]}…"
        case PotKey():
            return f"the pot of split 0x{key.split_id.hex()[:8]}…"
        case StakeKey():
            return f"the stake of {key.account} at offset {key.offset} of split 0x{key.split_id.hex()[:8]}…"
        case SignerKey():
            return f"signer {key.signer} of provider {key.provider}"


def disagreements(views: Views, states: Mapping[StateKey, State], block: int) -> tuple[Disagreement, ...]:
    """Compare states with the contract's views as of the end of `block`, a thousand in one call."""
    found = [
        *_escrows(views, _of(states, EscrowKey, EscrowState), block),
        *_pots(views, _of(states, PotKey, PotState), block),
        *_stakes(views, _of(states, StakeKey, StakeState), block),
        *_signers(views, _of(states, SignerKey, SignerState), block),
    ]
    return tuple(each for each in found if each.events != each.contract)


S = TypeVar("S")


def _of(states: Mapping[StateKey, State], keys: type[K], values: type[S]) -> dict[K, S]:
    return {
        key: state for key, state in states.items() if isinstance(key, keys) and isinstance(state, values)
    }


def _escrows(views: Views, states: Mapping[EscrowKey, EscrowState], block: int) -> Iterator[Disagreement]:
    by_tariff = _grouped(states, lambda key: key.tariff_id)
    for tariff_id, keys in by_tariff.items():
        payers = [key.payer for key in keys]
        escrows = views.escrows(tariff_id, payers, block=block)
        thaws = views.thaws(tariff_id, payers, block=block)
        for key, escrow, thaw in zip(keys, escrows, thaws, strict=True):
            state = states[key]
            yield Disagreement(key, "balance", state.balance, escrow.balance)
            yield Disagreement(key, "settled", state.settled, escrow.settled)
            yield Disagreement(key, "sealedAt", state.sealed_at, escrow.sealed_at)
            yield Disagreement(key, "thawing", state.thawing, thaw.amount)
            yield Disagreement(key, "thaw end", state.thaw_end, thaw.end)


def _pots(views: Views, states: Mapping[PotKey, PotState], block: int) -> Iterator[Disagreement]:
    said = views.pots([key.split_id for key in states], block=block)
    for (key, state), allocated in zip(states.items(), said, strict=True):
        yield Disagreement(key, "pot", state.allocated, allocated)


def _stakes(views: Views, states: Mapping[StakeKey, StakeState], block: int) -> Iterator[Disagreement]:
    for (key, state), stake in zip(states.items(), views.stakes(list(states), block=block), strict=True):
        yield Disagreement(key, "share", state.share, stake.share)
        yield Disagreement(key, "claimed", state.claimed, stake.claimed)


def _signers(views: Views, states: Mapping[SignerKey, SignerState], block: int) -> Iterator[Disagreement]:
    said = views.signers_until(list(states), block=block)
    for (key, state), until in zip(states.items(), said, strict=True):
        yield Disagreement(key, "until", state.until, until)


def _grouped(keys: Mapping[K, object], by: Callable[[K], bytes]) -> dict[bytes, list[K]]:
    grouped: dict[bytes, list[K]] = {}
    for key in keys:
        grouped.setdefault(by(key), []).append(key)
    return grouped
