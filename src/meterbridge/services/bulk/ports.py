"""What bulk sealing needs from the outside; `adapters.bulk` provides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from meterbridge.domain.arrays import Ints, Words
from meterbridge.domain.receipt_rows import Nodes, Receipts
from meterbridge.domain.sum_tree import SumNode
from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.records import AccountRecord, BatchRecord, TariffRecord, TreeNode

if TYPE_CHECKING:  # they bring the kernels along, which reading a seal does without
    from meterbridge.services.bulk.order import Order
    from meterbridge.services.bulk.pool import ReceiptPool


class Run(Protocol):
    """Receipts that wait to be judged and written."""

    @property
    def size(self) -> int:
        """How many receipts it has, dropped ones too."""

    def keys_between(self, low: int, high: int) -> tuple[Words, Order]:
        """Return (m, 3) keys whose first word is from `low` up to `high`, sorted, and their receipts."""

    def drop(self, numbers: Order) -> None:
        """Leave receipts out."""

    def forget_keys(self) -> None:
        """Judging is over."""

    def receipt(self, number: int) -> tuple[Any, str]:
        """Return one receipt by number, and its event id."""

    def origin(self, number: int) -> tuple[str, int]:
        """Return the file and the row in it from which a receipt comes."""


class Reading(Protocol):
    """Receipts in the order of their batches, those that were left out gone."""

    def read(self, first: int, stop: int) -> Receipts:
        """Return receipts by their place."""


class Spilling(Protocol):
    """Disk for runs that exceed the memory that was granted."""

    def spill(self, pool: ReceiptPool, counts: Ints) -> Run:
        """Write a pool, of which each account has `counts` rows; it can be filled anew then."""

    def merged(self) -> Reading:
        """Return all that was spilled in the order of its batches, to be read from front to back."""

    def clear(self) -> None:
        """Remove all that was spilled, also by a process that died."""


class KnownEvents(Protocol):
    """Events that are sealed or await sealing."""

    def around(self, firsts: Words) -> Words:
        """Return (m, 3) entries, sorted: all whose key begins with one of these ascending words."""


@dataclass(frozen=True, slots=True)
class LogFrontier:
    """The charges log of an account, as far as appending to it needs to know.

    Attributes:
        size: its elements.
        total: usage of all its receipts, sealed or not.
        left: by level, the complete subtrees that the next element will join.
    """

    size: int
    total: UsageVector
    left: Sequence[SumNode]


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """One batch of a seal.

    Attributes:
        record: its element in the log.
        nodes: the subtrees of the log that it completes.
        times: occurred_at of its first and last receipt, in milliseconds since 1970.
    """

    record: BatchRecord
    nodes: Sequence[TreeNode]
    times: tuple[int, int]


class Part(Protocol):
    """One file of receipts of a seal."""

    def write(self, receipts: Receipts) -> None:
        """Append receipts."""

    def close(self) -> None:
        """Finish; when this returns, the disk has it."""


class SealWriter(Protocol):
    """A seal that is being written; nobody sees it before it is finished."""

    name: str

    def part(self, number: int) -> Part:
        """Begin a part; parts may be written at the same time."""

    def append_events(self, entries: Words) -> None:
        """Append (n, 3) entries of the index of events, in order."""

    def finish(self, plan: SealPlan, nodes: Nodes, batches: Sequence[SealedBatch]) -> None:
        """Write the rest, wait until the disk has all, and give it its name."""

    def abandon(self) -> None:
        """Remove it."""


class SealStore(Protocol):
    """All seals of a folder."""

    def sweep(self, tariff_id: bytes) -> list[str]:
        """Remove what an interrupted sealing left; return the names."""

    def horizon(self, tariff_id: bytes, retention: int) -> int:
        """Return the time, in milliseconds since 1970, before which events cannot be told to be new."""

    def known_events(self, tariff_id: bytes, horizon: int) -> Sequence[KnownEvents]:
        """Return the indexes of all seals with an event from `horizon` on."""

    def begin(
        self,
        record: TariffRecord,
        accounts: Sequence[AccountRecord],
        sources: Sequence[str],
        details: Sequence[str],
    ) -> SealWriter:
        """Begin a seal, whose rows number these accounts and texts."""


class BulkLedger(Protocol):
    """The ledger, asked for all accounts of a tariff at once."""

    def tariff(self, tariff_id: bytes) -> TariffRecord:
        """Return a tariff, or raise `UnknownTariff`."""

    def accounts(self, tariff_id: bytes) -> list[AccountRecord]:
        """Return all accounts of a tariff, in the order in which they were opened."""

    def sole_writer(self, timeout: float = 30.0) -> AbstractContextManager[None]:
        """Hold the ledger's one right to seal, correct and sign."""

    def frontiers(self, tariff_id: bytes) -> Mapping[bytes, LogFrontier]:
        """Return the charges logs of all accounts by the payer's address."""

    def known_events(self, tariff_id: bytes) -> KnownEvents:
        """Return the events that came one by one."""

    def commit_seal(self, seal: str, batches: Sequence[SealedBatch], known: KnownEvents) -> None:
        """Append all batches of a seal in one transaction.

        Args:
            seal: its name.
            batches: at least one.
            known: the events that came one by one, as `known_events` gave them when this seal was judged.

        Raises:
            Conflict: when a log grew, or an event came in one by one, meanwhile; nothing is stored.
        """
