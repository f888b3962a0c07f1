"""A payer's receipts of a period, batch by batch: what is sealed, whatever its number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from meterbridge.services.ports import Ledger
from meterbridge.services.records import AccountKey, BatchRecord, LogKey, LogKind

Rows = TypeVar("Rows", covariant=True)


class PeriodSource(Protocol[Rows]):
    """Reads sealed batches in pieces."""

    def period(self, batch: BatchRecord, first: int, stop: int) -> Iterator[Rows]:
        """Yield the receipts of a batch that occurred from `first` up to `stop`, some thousand at a time."""


def receipts_of_period(
    ledger: Ledger,
    source: PeriodSource[Rows],
    account: AccountKey,
    first: int,
    stop: int,
    kinds: Iterable[LogKind] = tuple(LogKind),
) -> Iterator[Rows]:
    """Yield the sealed receipts of an account that occurred in a period, in the order of its logs.

    Only one piece of one batch is in memory at a time. Receipts that await sealing are not among them, nor
    are those of a log that was lost (`lost_batches`).

    Args:
        ledger: knows the batches.
        source: reads them.
        account: whose receipts.
        first: milliseconds since 1970.
        stop: likewise; what occurred at this time is not among them.
        kinds: of which logs, one after another.

    Raises:
        BadSegment: when a batch cannot be read.
        UnknownAccount: when the ledger has no such account.
    """
    for kind in kinds:
        for batch in ledger.batches(LogKey(account, kind)):
            if batch.segment is not None:
                yield from source.period(batch, first, stop)


def lost_batches(ledger: Ledger, account: AccountKey) -> int:
    """Return how many elements of the account's logs stand for receipts that were lost with their log."""
    logs = (LogKey(account, kind) for kind in LogKind)
    return sum(batch.segment is None for log in logs for batch in ledger.batches(log))
