"""What following needs of the chain and of the ledger; adapters provide both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Domain
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import ChainError
from meterbridge.services.chain_events import ChainEvent
from meterbridge.services.chain_ports import Escrow, Stake, StakeKey, Thaw
from meterbridge.services.following.states import (
    EscrowKey,
    EscrowState,
    PotState,
    SignerKey,
    SignerState,
    StakeState,
    State,
    StateKey,
)


class CursorMoved(ChainError):
    """Another process followed the same contract meanwhile; what it stored stands."""


class NotFollowed(ChainError):
    """The ledger has not followed this contract yet."""


@dataclass(frozen=True, slots=True)
class Header:
    """One block.

    Attributes:
        hash, parent: 32 bytes each.
        timestamp: seconds since 1970.
        may_hold: whether an event of the contract may be in it, as far as its bloom filter tells.
    """

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    may_hold: bool


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block that was followed: its number and its 32-byte hash."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a contract was followed.

    Attributes:
        first: the first block that was read; everything from there on is in the ledger.
        block: the last block whose events are in the ledger.
        timestamp: of that block, seconds since 1970.
        final: the newest block that no reorganisation can reach, as far as seen.
        verified: the last block at whose end what the events add up to was what the contract says.
    """

    first: int
    block: BlockRef
    timestamp: int
    final: int
    verified: BlockRef


@dataclass(frozen=True, slots=True)
class Version:
    """A state as of the end of a block. Older versions are kept until their successor is final."""

    key: StateKey
    block: int
    state: State


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction adds to the ledger.

    Attributes:
        after: the cursor afterwards.
        blocks: the blocks of the step whose hashes are to be kept.
        events: all events between the cursor's block before and after, in order.
        versions: the states that they lead to.
        pots_of: the split of each tariff that the events name.
        unchecked: keys whose state was not held against the contract's views.
        checked: keys whose state was.
    """

    after: Cursor
    blocks: Sequence[BlockRef]
    events: Sequence[ChainEvent]
    versions: Sequence[Version]
    pots_of: Mapping[bytes, bytes]
    unchecked: frozenset[StateKey]
    checked: frozenset[StateKey]


class FollowedChain(Protocol):
    """A contract on a chain, read block by block."""

    @property
    def domain(self) -> Domain:
        """Chain and contract."""

    def header(self, number: int | None = None) -> Header | None:
        """Return the header of a block, of the newest one without a number; None where there is none."""

    def final_block(self) -> int:
        """Return the number of the newest block that counts as final; -1 where none does yet."""

    def first_block(self) -> int:
        """Return the block that deployed the contract, or one before it."""

    def event_ranges(self, first: int, last: int) -> Iterator[tuple[int, int, tuple[ChainEvent, ...]]]:
        """Yield (first, last, events) of ranges that together are these blocks, in order."""

    def events_of(self, block_hash: bytes) -> tuple[ChainEvent, ...]:
        """Return the events of one block by its hash; a node that has not that block raises."""

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


class FollowingLedger(Protocol):
    """What the ledger keeps of a followed contract."""

    def cursor(self, domain: Domain) -> Cursor | None:
        """Return how far a contract was followed; None where it was not."""

    def begin_following(self, domain: Domain, cursor: Cursor) -> None:
        """Set the first cursor; `CursorMoved` where there is one."""

    def kept_blocks(self, domain: Domain) -> list[BlockRef]:
        """Return the blocks whose hashes are kept, newest first."""

    def states(self, domain: Domain, keys: Iterable[StateKey]) -> dict[StateKey, State]:
        """Return the newest state of each key that has one."""

    def pots_of(self, domain: Domain, tariff_ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the split of each of these tariffs that an event named."""

    def unchecked(self, domain: Domain, limit: int) -> list[StateKey]:
        """Return keys whose newest state was not held against the contract's views yet."""

    def extend(self, domain: Domain, before: Cursor, step: Step) -> None:
        """Add a step in one transaction; what only blocks before its final one needed is forgotten.

        Raises:
            CursorMoved: when the cursor is not `before`; nothing is stored.
        """

    def unwind(self, domain: Domain, before: Cursor, to: BlockRef) -> int:
        """Take back all blocks after `to` in one transaction; return how many events went.

        Raises:
            CursorMoved: when the cursor is not `before`; nothing changes.
        """

    def forget_followed(self, domain: Domain) -> None:
        """Drop all that was followed of a contract, so that it can be followed anew."""

    def chain_events(
        self,
        domain: Domain,
        *,
        names: Sequence[str] | None = None,
        subject: bytes | None = None,
        up_to: int | None = None,
    ) -> Iterator[ChainEvent]:
        """Yield followed events in the order of the chain, exactly as they were read.

        Args:
            domain: whose events.
            names: of their classes; None for all.
            subject: the tariff's or split's id, or the provider's 20 bytes, that they are about.
            up_to: the last block.
        """

    def followed_escrows(self, domain: Domain, tariff_id: bytes) -> dict[Address, EscrowState]:
        """Return all accounts of a tariff."""

    def followed_pots(self, domain: Domain) -> dict[bytes, PotState]:
        """Return all pots."""

    def followed_stakes(self, domain: Domain, split_id: bytes) -> dict[StakeKey, StakeState]:
        """Return all registered parties of a split."""

    def followed_signers(self, domain: Domain, provider: Address) -> dict[Address, SignerState]:
        """Return all signers that a provider ever named."""


__all__ = [
    "BlockRef",
    "Cursor",
    "CursorMoved",
    "EscrowKey",
    "FollowedChain",
    "FollowingLedger",
    "Header",
    "NotFollowed",
    "Step",
    "Version",
]
