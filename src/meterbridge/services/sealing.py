"""From pending receipts to batches in a log (protocol, section 4).

A batch's segment is written, synced and renamed before the ledger hears of it; then one transaction appends
the batch and takes its receipts from the pending ones. A crash leaves the receipts pending or the batch
whole. A segment of which the ledger never heard is removed by the next sealing: its receipts are still pending.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from meterbridge.domain.receipts import batch_tree
from meterbridge.domain.sum_tree import log_element
from meterbridge.services.ledger_errors import LedgerBehindSegments
from meterbridge.services.log_tree import completed_by, state_at
from meterbridge.services.ports import Ledger, SegmentMeta, Segments
from meterbridge.services.records import (
    AccountRecord,
    BatchRecord,
    LogKey,
    Pending,
    ReceiptTable,
)

BATCH_RECEIPTS: Final = 1_000_000
"""How many receipts a batch holds at most, so that memory stays bounded (about 1 KB each)."""


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
        for log in ledger.pending_logs(tariff_id):
            account = ledger.account(log.account)
            sweep(ledger, segments, log)
            while batch := _seal_next(ledger, segments, account, log, limit):
                sealed.append(batch)
                if on_progress is not None:
                    on_progress(sum(b.size for b in sealed))
                if batch.size < limit:
                    break
    return sealed


def sweep(ledger: Ledger, segments: Segments, log: LogKey) -> list[str]:
    """Remove what an interrupted sealing left of a log; return the names of removed segments.

    Raises:
        LedgerBehindSegments: when a segment's receipts are not all pending: removing it would lose some.
    """
    segments.sweep(log)
    orphans = list(segments.names(log, ledger.log_size(log)))
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


def _seal_next(
    ledger: Ledger, segments: Segments, account: AccountRecord, log: LogKey, limit: int
) -> BatchRecord | None:
    pending = _in_batch_order(ledger.pending(log, limit))
    if not len(pending.table):
        return None
    root = batch_tree(pending.table.receipts).root
    seq, fetch = ledger.log_size(log), partial(ledger.tree_nodes, log)
    state_at(seq, fetch).root.sum + root.sum  # refuse before writing what no log could hold
    nodes = completed_by(seq, log_element(len(pending.table), root), fetch)
    batch = BatchRecord(log, seq, len(pending.table), root, None)
    name = segments.put(SegmentMeta(batch, account), pending.table)
    batch = replace(batch, segment=name)
    ledger.commit_batch(batch, nodes, pending)
    return batch


def _in_batch_order(pending: Pending) -> Pending:
    table = pending.table
    order = table.receipts.order()
    texts = [
        [column[i] for i in order.tolist()] for column in (table.sources, table.event_ids, table.details)
    ]
    return Pending(pending.arrivals[order], ReceiptTable(table.receipts.take(order), *texts))
