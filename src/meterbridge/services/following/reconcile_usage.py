"""The usage side of a reconciliation: what logs say against what their batches and segments hold."""

from __future__ import annotations

from functools import partial

from meterbridge.domain.sum_tree import LogState
from meterbridge.domain.units import UsageVector
from meterbridge.services.following.reconcile import BooksOfALedger, Findings, Item, shown
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.log_tree import state_at
from meterbridge.services.ports import Segments
from meterbridge.services.records import BatchRecord, LogKey, LogKind, TariffRecord

LOGS, SEGMENTS, HEADS = (
    "logs: total = batches + pending",
    "segments: rows give the batch",
    "heads: signed = log",
)


def check(
    ledger: BooksOfALedger, segments: Segments | None, record: TariffRecord, findings: Findings
) -> None:
    """Check all logs of a tariff."""
    last, known = ledger.last_signed(record.id), set[str]()
    pending = set(ledger.pending_logs(record.id))
    for account in ledger.accounts(record.id):
        signed = last.get(account.key)
        for kind in LogKind:
            log = LogKey(account.key, kind)
            known |= _check_log(ledger, segments, log, log in pending, findings)
            if signed is not None and signed.head is not None:
                stated = signed.head.charges if kind is LogKind.CHARGES else signed.head.credits
                _check_head(ledger, log, stated, findings)
    if segments is not None:
        _check_unknown(segments, record, known, findings)


def _check_log(
    ledger: BooksOfALedger, segments: Segments | None, log: LogKey, has_pending: bool, findings: Findings
) -> set[str]:
    """Compare a log's total with its parts, and each part with its segment; return the segments' names."""
    held, names = UsageVector.zero(), set[str]()
    for batch in ledger.batches(log):
        held = held + batch.root.sum
        if batch.segment is not None:
            names.add(batch.segment)
            if segments is not None:
                _check_segment(segments, batch, batch.segment, findings)
    if has_pending:
        waiting = ledger.pending(log).table.receipts.usage.astype(object)
        held = held + UsageVector.of(int(lane) for lane in waiting.sum(axis=0))
    said = ledger.total(log)
    findings.count(LOGS)
    if said != held:
        findings.differs(
            Item(
                "log-total",
                _told(log),
                f"the log says {_lanes(said)}; its batches and pending receipts add up to {_lanes(held)}",
                usage=said - held,
            )
        )
    return names


def _check_segment(segments: Segments, batch: BatchRecord, name: str, findings: Findings) -> None:
    findings.count(SEGMENTS)
    where = f"{_told(batch.log)}, batch {batch.seq}"
    try:
        meta = segments.get(name).meta  # which adds its rows up and compares with what it says of itself
    except (BadSegment, OSError) as error:
        findings.differs(Item("segment-damaged", where, str(error), usage=batch.root.sum))
        return
    if (meta.batch.root, meta.batch.size, meta.batch.seq) != (batch.root, batch.size, batch.seq):
        findings.differs(
            Item(
                "segment-differs",
                where,
                f"segment {name} holds {meta.batch.size} receipts, {_lanes(meta.batch.root.sum)}; the ledger "
                f"says {batch.size}, {_lanes(batch.root.sum)}",
                usage=batch.root.sum - meta.batch.root.sum,
            )
        )


def _check_head(ledger: BooksOfALedger, log: LogKey, stated: LogState, findings: Findings) -> None:
    """Compare what was signed with what the log was at that size."""
    findings.count(HEADS)
    size = ledger.log_size(log)
    if stated.size > size:
        findings.differs(
            Item(
                "log-shorter-than-signed",
                _told(log),
                f"the last statement covers {stated.size} batches; the log has {size}: it was set back",
                usage=stated.root.sum,
            )
        )
        return
    found = state_at(stated.size, partial(ledger.tree_nodes, log))
    if found != stated:
        findings.differs(
            Item(
                "head-differs",
                _told(log),
                f"signed is {shown(stated.root.hash)} with {_lanes(stated.root.sum)}; the log gives "
                f"{shown(found.root.hash)} with {_lanes(found.root.sum)}",
                usage=stated.root.sum - found.root.sum,
            )
        )


def _check_unknown(segments: Segments, record: TariffRecord, known: set[str], findings: Findings) -> None:
    folder = record.id.hex()[:8] + "/"
    for name in segments.names():
        if name.startswith(folder) and name not in known:
            findings.differs(
                Item("segment-unknown", name, "the ledger has no batch of this segment: was it set back?")
            )


def _told(log: LogKey) -> str:
    return f"the {log.kind.value} log of {log.account.payer} under tariff {shown(log.account.tariff_id)}"


def _lanes(usage: UsageVector) -> str:
    lanes = list(usage.lanes)
    while len(lanes) > 1 and not lanes[-1]:
        lanes.pop()
    return "[" + ", ".join(map(str, lanes)) + "]"
