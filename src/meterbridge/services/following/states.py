"""What the contract's events add up to: accounts, pots, stakes and signers, folded event by event.

All of it is money and authority, none of it usage. The contract has a view for each of these, so that what
was folded can be held against what the contract says of the same block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import ChainError
from meterbridge.services.chain_events import (
    AccountOpened,
    ChainEvent,
    Claimed,
    Deposited,
    Funded,
    Registered,
    Settled,
    SignerSet,
    TariffPublished,
    Thawing,
    Withdrawn,
)
from meterbridge.services.chain_ports import StakeKey

ZERO: Final = AssetAmount.zero()


class EventsMissing(ChainError):
    """An event cannot follow on those that are known: some before it are missing."""


@dataclass(frozen=True, slots=True, order=True)
class EscrowKey:
    """A payer under a tariff."""

    tariff_id: bytes
    payer: Address


@dataclass(frozen=True, slots=True, order=True)
class PotKey:
    """The pot of a split."""

    split_id: bytes


@dataclass(frozen=True, slots=True, order=True)
class SignerKey:
    """A key that signs for a provider."""

    provider: Address
    signer: Address


StateKey = EscrowKey | PotKey | StakeKey | SignerKey


@dataclass(frozen=True, slots=True)
class EscrowState:
    """An account, in base units of its tariff's asset.

    Attributes:
        arrived, withdrawn, settled: all that ever came in, went back, and was drawn.
        sealed_at: time of the newest statement that was settled, seconds since 1970; 0 for none.
        thawing: what can be withdrawn from `thaw_end` on; nothing while it is 0.
    """

    arrived: AssetAmount = ZERO
    withdrawn: AssetAmount = ZERO
    settled: AssetAmount = ZERO
    sealed_at: int = 0
    thawing: AssetAmount = ZERO
    thaw_end: int = 0

    @property
    def balance(self) -> AssetAmount:
        """What is left in escrow."""
        return self.arrived.minus_or_zero(self.settled + self.withdrawn)


@dataclass(frozen=True, slots=True)
class PotState:
    """A pot: all that ever came in from accounts and from funders, and all that was claimed."""

    drawn: AssetAmount = ZERO
    funded: AssetAmount = ZERO
    claimed: AssetAmount = ZERO

    @property
    def allocated(self) -> AssetAmount:
        """All that ever came in, as the contract's view `pot` says it."""
        return self.drawn + self.funded


@dataclass(frozen=True, slots=True)
class StakeState:
    """A party that proved its share; a role of 0 where it did not."""

    role: int = 0
    share: int = 0
    claimed: AssetAmount = ZERO


@dataclass(frozen=True, slots=True)
class SignerState:
    """Until when a signer may sign, seconds since 1970; 0 for never, or not any more."""

    until: int = 0


State = EscrowState | PotState | StakeState | SignerState


@dataclass(slots=True)
class Fold:
    """States that events are being added to.

    Attributes:
        states: what is known of each key that the events touch.
        pots_of: the split of each tariff that the events name; a tariff's id fixes it for good.
    """

    states: dict[StateKey, State] = field(default_factory=dict)
    pots_of: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, events: Iterable[ChainEvent]) -> set[StateKey]:
        """Add events in the order of the chain; return the keys whose state they set.

        Raises:
            EventsMissing: when money is drawn under a tariff that no event named.
        """
        touched: set[StateKey] = set()
        for event in events:
            for key in self._enter(event):
                touched.add(key)
        return touched

    def _enter(self, event: ChainEvent) -> Iterator[StateKey]:
        match event:
            case AccountOpened() | TariffPublished():
                self.pots_of[event.tariff_id] = event.tariff.split_id
            case Deposited() | Thawing() | Withdrawn() | Settled():
                yield self._enter_escrow(event)
                if isinstance(event, Settled) and event.drawn:
                    yield self._enter_pot(PotKey(self._split_of(event)), drawn=event.drawn)
            case Funded():
                yield self._enter_pot(PotKey(event.split_id), funded=event.arrived)
            case Claimed():
                yield self._enter_pot(PotKey(event.split_id), claimed=event.amount)
                yield self._enter_stake(event)
            case Registered():
                yield self._enter_stake(event)
            case SignerSet():
                key = SignerKey(event.provider, event.signer)
                self.states[key] = SignerState(event.until)
                yield key

    def _enter_escrow(self, event: Deposited | Thawing | Withdrawn | Settled) -> EscrowKey:
        key = EscrowKey(event.tariff_id, event.payer)
        known = self.states.get(key, EscrowState())
        assert isinstance(known, EscrowState)
        match event:
            case Deposited():
                found = replace(known, arrived=known.arrived + event.arrived)
            case Thawing():
                found = replace(known, thawing=event.amount, thaw_end=event.end)
            case Withdrawn():
                withdrawn = known.withdrawn + event.amount
                found = replace(known, withdrawn=withdrawn, thawing=ZERO, thaw_end=0)
            case Settled():
                found = replace(known, settled=known.settled + event.drawn, sealed_at=event.sealed_at)
        self.states[key] = found
        return key

    def _enter_pot(
        self,
        key: PotKey,
        *,
        drawn: AssetAmount = ZERO,
        funded: AssetAmount = ZERO,
        claimed: AssetAmount = ZERO,
    ) -> PotKey:
        known = self.states.get(key, PotState())
        assert isinstance(known, PotState)
        self.states[key] = PotState(known.drawn + drawn, known.funded + funded, known.claimed + claimed)
        return key

    def _enter_stake(self, event: Registered | Claimed) -> StakeKey:
        key = StakeKey(event.split_id, event.offset, event.account)
        known = self.states.get(key, StakeState())
        assert isinstance(known, StakeState)
        if isinstance(event, Registered):
            self.states[key] = StakeState(event.role, event.share, known.claimed)
        else:
            self.states[key] = replace(known, claimed=known.claimed + event.amount)
        return key

    def _split_of(self, event: Settled) -> bytes:
        if event.tariff_id not in self.pots_of:
            raise EventsMissing(
                f"block {event.at.block} draws under tariff 0x{event.tariff_id.hex()}, which no event before "
                "it names: follow from the contract's first block on (leave out --from-block to find it)",
                event.tariff_id,
            )
        return self.pots_of[event.tariff_id]


def keys_of(events: Iterable[ChainEvent], pots_of: Mapping[bytes, bytes]) -> set[StateKey]:
    """Return the keys whose states must be known before these events are added."""
    known, found = dict(pots_of), set[StateKey]()
    for event in events:
        match event:
            case AccountOpened() | TariffPublished():
                known[event.tariff_id] = event.tariff.split_id
            case Deposited() | Thawing() | Withdrawn() | Settled():
                found.add(EscrowKey(event.tariff_id, event.payer))
                if isinstance(event, Settled) and event.tariff_id in known:
                    found.add(PotKey(known[event.tariff_id]))
            case Funded():
                found.add(PotKey(event.split_id))
            case Registered() | Claimed():
                found |= {PotKey(event.split_id), StakeKey(event.split_id, event.offset, event.account)}
            case SignerSet():
                found.add(SignerKey(event.provider, event.signer))
    return found
