"""From pending receipts to batches in a log (protocol, section 4).

A batch's segment is written, synced and renamed before the ledger hears of it; then one transaction appends
the batch and takes its receipts from the pending ones. A crash leaves the receipts pending or the batch
whole. The next sealing removes a segment of which the ledger never heard: its receipts are still pending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from meterbridge.domain.receipts import batch_tree
from meterbridge.domain.sum_tree import log_element
from meterbridge.services.ledger_errors import LedgerBehindSegments
from meterbridge.services.log_tree import completed_by, state_at
from meterbridge.services.ports import Ledger, Segment, SegmentMeta, Segments
from meterbridge.services.records import (
    AccountKey,
    AccountRecord,
    BatchRecord,
    LogKey,
    Pending,
    ReceiptTable,
    SealedBatch,
)

BATCH_RECEIPTS: Final = 1_000_000
"""How many receipts a batch holds at most, so that memory stays bounded (about 1 KB each)."""
GROUP_BATCHES: Final = 256
GROUP_RECEIPTS: Final = 100_000
"""How much goes into one transaction, at least."""


def seal(
    ledger: Ledger,
    segments: Segments,
    tariff_id: bytes,
    *,
    max_receipts: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[BatchRecord]:
    """Seal what is pending in every log of a tariff, charges and credits.

    Args:
        ledger: where they are pending.
        segments: where they go.
        tariff_id: 32 bytes.
        max_receipts: the largest batch; what exceeds it becomes a further batch of the same call.
        on_progress: told the number of receipts sealed so far, after each batch.

    Returns:
        The new batches, in the order of accounts; none where nothing was pending.

    Raises:
        LedgerBehindSegments: when segments hold receipts that the ledger neither sealed nor awaits.
        LedgerBusy: when another process is sealing.
        LaneOverflow: when a log's total would leave int64; that log is left as it is.
    """
    limit = max_receipts or BATCH_RECEIPTS
    sealed: list[BatchRecord] = []
    with ledger.sole_writer():
        segments.put_tariff(ledger.tariff(tariff_id))
        accounts = {account.key: account for account in ledger.accounts(tariff_id)}
        for group in _groups(_drafts(ledger, segments, accounts, tariff_id, limit)):
            sealed += _commit(ledger, segments, group)
            if on_progress is not None:
                on_progress(sum(batch.size for batch in sealed))
    return sealed


def sweep(ledger: Ledger, segments: Segments, log: LogKey, size: int) -> list[str]:
    """Remove what an interrupted sealing left of a log of `size` batches; return the removed segments' names.

    Raises:
        LedgerBehindSegments: when a segment's receipts are not all pending: removing it would lose some.
    """
    segments.sweep(log)
    orphans = list(segments.names(log, size))
    if not orphans:
        return []
    pending = {row.tobytes() for row in ledger.pending(log).table.receipts.ids}
    for name in orphans:
        held = {row.tobytes() for row in segments.get(name).table.receipts.ids}
        if not held <= pending:
            raise LedgerBehindSegments(
                f"segment {name} holds {len(held - pending)} receipts that the ledger neither sealed nor "
                "awaits: the ledger is older than its segments; rebuild it from them",
                name,
            )
    for name in orphans:
        segments.remove(name)
    return orphans


@dataclass(frozen=True, slots=True)
class _Draft:
    """A batch before its segment is written."""

    account: AccountRecord
    sealed: SealedBatch


def _drafts(
    ledger: Ledger,
    segments: Segments,
    accounts: Mapping[AccountKey, AccountRecord],
    tariff_id: bytes,
    limit: int,
) -> Iterator[_Draft | None]:
    """Yield the next batch of each log; None where the batches so far must be committed to go on."""
    sizes = ledger.log_sizes(tariff_id)
    for log in ledger.pending_logs(tariff_id):
        seq = sizes.get(log, 0)
        sweep(ledger, segments, log, seq)
        while sealed := _draft(ledger, log, seq, limit):
            yield _Draft(accounts[log.account], sealed)
            if sealed.batch.size < limit:
                break
            yield None
            seq += 1


def _draft(ledger: Ledger, log: LogKey, seq: int, limit: int) -> SealedBatch | None:
    pending = _in_batch_order(ledger.pending(log, limit))
    size = len(pending.table)
    if not size:
        return None
    root = batch_tree(pending.table.receipts).root
    fetch = partial(ledger.tree_nodes, log)
    state_at(seq, fetch).root.sum + root.sum  # refuse before writing what no log could hold
    nodes = completed_by(seq, log_element(size, root), fetch)
    return SealedBatch(BatchRecord(log, seq, size, root, None), nodes, pending)


def _groups(drafts: Iterable[_Draft | None]) -> Iterator[list[_Draft]]:
    """Gather batches for one transaction: many small payers share its cost, memory stays bounded."""
    group: list[_Draft] = []
    for draft in drafts:
        if draft is not None:
            group.append(draft)
        receipts = sum(one.sealed.batch.size for one in group)
        if group and (draft is None or receipts >= GROUP_RECEIPTS or len(group) >= GROUP_BATCHES):
            yield group
            group = []
    if group:
        yield group


def _commit(ledger: Ledger, segments: Segments, group: Sequence[_Draft]) -> list[BatchRecord]:
    names = segments.put(
        [Segment(SegmentMeta(one.sealed.batch, one.account), one.sealed.pending.table) for one in group]
    )
    sealed = [
        replace(one.sealed, batch=replace(one.sealed.batch, segment=name))
        for one, name in zip(group, names, strict=True)
    ]
    ledger.commit_batches(sealed)
    return [one.batch for one in sealed]


def _in_batch_order(pending: Pending) -> Pending:
    table = pending.table
    order = table.receipts.order()
    texts = [
        [column[i] for i in order.tolist()] for column in (table.sources, table.event_ids, table.details)
    ]
    return Pending(pending.arrivals[order], ReceiptTable(table.receipts.take(order), *texts))
