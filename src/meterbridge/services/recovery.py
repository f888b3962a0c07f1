"""After a loss: the ledger from its segments, and logs that begin again (protocol, section 4)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSignature, HeadDoesNotExtend
from meterbridge.domain.restarts import OPAQUE_SIZE, opaque_element, opaque_roots
from meterbridge.domain.statements import Line, SignedStatement
from meterbridge.domain.sum_tree import Head, log_element
from meterbridge.domain.units import UsageVector
from meterbridge.services.corrections import heard_content
from meterbridge.services.ledger_errors import BadSegment, Conflict
from meterbridge.services.log_tree import completed_by, state_at
from meterbridge.services.ports import Ledger, Segment, Segments
from meterbridge.services.receipt_columns import content_keys
from meterbridge.services.records import (
    AccountKey,
    BatchRecord,
    LogKey,
    LogKind,
    ReceiptTable,
    Restart,
    StatementRecord,
    TreeNode,
)
from meterbridge.services.signers import ContractSigners, require_signature


@dataclass(slots=True)
class RebuildReport:
    """What a rebuilding has put back; what the ledger had already is not counted."""

    tariffs: int = 0
    batches: int = 0
    receipts: int = 0
    statements: int = 0


class Seals(Protocol):
    """Batches of many accounts that were sealed at once, of which the ledger knows nothing."""

    def restore_next(self) -> Sequence[BatchRecord]:
        """Put back the first seal whose batches all follow on; return them, or none."""

    @property
    def waiting(self) -> Sequence[str]:
        """The names of those that follow on batches which are missing."""


def rebuild(
    ledger: Ledger,
    segments: Segments,
    statements: Iterable[SignedStatement] = (),
    seals_of: Callable[[], Seals] | None = None,
    *,
    signers: Collection[Address] = (),
    contracts: ContractSigners | None = None,
) -> RebuildReport:
    """Put back into a ledger what segments and statements hold and it has lost.

    The ledger may be empty, or older than its segments. Pending receipts were in no segment: import their
    files again, what is sealed is recognised.

    Args:
        ledger: what is to be mended; what it has and the segments lack is left alone.
        segments: every batch that was ever sealed.
        statements: those that were ever signed, in any order: they say which times are used up.
        seals_of: gives what was sealed at once, after the tariffs are known again.
        signers: whose statements are taken: anybody can sign what these segments bear out, at any time.
        contracts: asks contract signers; None takes the signatures of keys only.

    Raises:
        BadSegment: when one is damaged, or one in the middle of a log is missing.
        Conflict: when the ledger has another batch in a segment's place.
        HeadDoesNotExtend: when a statement commits to a log that is not this one.
        BadSignature: when a statement is not signed by its signer, or by none of those that may.
    """
    report = RebuildReport()
    with ledger.sole_writer():
        known = {record.id for record in ledger.tariffs()}
        for record in segments.tariffs():
            ledger.add_tariff(record)
            report.tariffs += record.id not in known
        _restore_all(ledger, segments, seals_of() if seals_of else None, report)
        report.statements = _restore_statements(ledger, statements, signers, contracts)
    return report


def _restore_all(ledger: Ledger, segments: Segments, seals: Seals | None, report: RebuildReport) -> None:
    """Put back segments and seals in the order of their logs, in which they may take turns."""
    waiting = list(segments.names())
    while True:
        left = [name for name in waiting if not _restore(ledger, segments.get(name), report)]
        batches = seals.restore_next() if seals else ()
        report.batches += len(batches)
        report.receipts += sum(batch.size for batch in batches)
        if not batches and len(left) == len(waiting):
            break
        waiting = left
    if waiting:
        batch = segments.get(waiting[0]).meta.batch
        size = ledger.log_size(batch.log)
        raise BadSegment(f"segment {batch.segment} follows on batch {size}, which is missing", batch.segment)
    if seals and seals.waiting:
        name = seals.waiting[0]
        raise BadSegment(f"seal {name} follows on a batch that is missing", name)


def _restore(ledger: Ledger, segment: Segment, report: RebuildReport) -> bool:
    """Put back a batch, unless one before it is missing."""
    account, batch = segment.meta.account, segment.meta.batch
    ledger.open_account(account.key, account.blind, account.customer)
    size = ledger.log_size(batch.log)
    if batch.seq < size:
        known = ledger.batch(batch.log, batch.seq)
        if known != batch:
            raise Conflict(f"segment {batch.segment} is not batch {batch.seq} of this ledger", known.segment)
        return True
    if batch.seq > size:
        return False
    element = log_element(batch.size, batch.root)
    nodes = completed_by(size, element, partial(ledger.tree_nodes, batch.log))
    ledger.restore_batch(batch, nodes, segment.table, _heard_contents(segment.table))
    report.batches += 1
    report.receipts += batch.size
    return True


def _heard_contents(table: ReceiptTable) -> list[bytes]:
    """Return what the index keeps: the content of each event as it first came."""
    pairs = zip(table.details, content_keys(table), strict=True)
    return [heard_content(details) or content for details, content in pairs]


def _restore_statements(
    ledger: Ledger,
    statements: Iterable[SignedStatement],
    signers: Collection[Address],
    contracts: ContractSigners | None,
) -> int:
    known = {
        record.signed.digest(): (tariff.id, record.signed.statement.sealed_at)
        for tariff in ledger.tariffs()
        for record in ledger.statements(tariff.id)
    }
    parts = Counter(known.values())
    before = len(known)
    for signed in sorted(statements, key=lambda one: one.statement.sealed_at):
        place, digest = (signed.statement.tariff_id, signed.statement.sealed_at), signed.digest()
        if digest not in known:
            _require_allowed(signed, signers)
            require_signature(signed.signer, digest, signed.signature, contracts)
            heads = tuple(_head_behind(ledger, signed, line) for line in signed.statement.lines)
            ledger.store_statements([StatementRecord(signed, parts[place], heads)])
            known[digest] = place
            parts[place] += 1
    return len(known) - before


def _require_allowed(signed: SignedStatement, signers: Collection[Address]) -> None:
    if signed.signer not in signers:
        raise BadSignature(
            f"the statement of {signed.statement.sealed_at} is signed by {signed.signer}, who is not among "
            "those whose statements are to be restored; name it as a signer if it is your meter's",
            str(signed.signer),
        )


def _head_behind(ledger: Ledger, signed: SignedStatement, line: Line) -> Head:
    """Find the state of an account's logs that a line commits to."""
    account = AccountKey(signed.domain, signed.statement.tariff_id, line.payer)
    charges, credits = (LogKey(account, kind) for kind in (LogKind.CHARGES, LogKind.CREDITS))
    for charge_size, credit_size in _candidates(ledger, charges, credits, line.usage):
        head = Head(
            state_at(charge_size, partial(ledger.tree_nodes, charges)),
            state_at(credit_size, partial(ledger.tree_nodes, credits)),
        )
        if head.hash() == line.head:
            return head
    raise HeadDoesNotExtend(
        f"the statement of {signed.statement.sealed_at} commits to logs of {line.payer} that are not these: "
        "segments are missing, or another meter has signed",
        line.head,
    )


def _candidates(
    ledger: Ledger, charges: LogKey, credits: LogKey, usage: UsageVector
) -> Iterator[tuple[int, int]]:
    """Yield the sizes of both logs at which they add up to a usage."""
    by_sum: dict[UsageVector, list[int]] = defaultdict(list)
    for size, total in enumerate(_running_sums(ledger, charges)):
        by_sum[total].append(size)
    for credit_size, taken_back in enumerate(_running_sums(ledger, credits)):
        for charge_size in by_sum.get(usage + taken_back, ()):
            yield charge_size, credit_size


def _running_sums(ledger: Ledger, log: LogKey) -> Iterator[UsageVector]:
    sums = (batch.root.sum for batch in ledger.batches(log))
    return accumulate(sums, initial=UsageVector.zero())


def restart(ledger: Ledger, account: AccountKey, state: Restart) -> list[BatchRecord]:
    """Begin the logs of an account again whose segments are lost, from what is settled on the chain.

    The account must be open and its logs empty. What was metered and never settled is lost with the logs;
    which events were counted before is not known any more, so take care what is imported again.

    Args:
        ledger: where the account has just been opened, with a fresh blind.
        account: whose logs were lost.
        state: head, usage and time of its last `Settled` event.

    Returns:
        The opaque elements: that of the charges, and that of the credits where a lane is below zero.

    Raises:
        Conflict: when a log has batches already.
        OutOfBounds: when a value is out of range.
    """
    charged, taken_back = opaque_roots(state.head, state.usage)
    roots = {LogKind.CHARGES: charged} | ({LogKind.CREDITS: taken_back} if taken_back.sum else {})
    elements = [
        BatchRecord(LogKey(account, kind), 0, OPAQUE_SIZE, root, None) for kind, root in roots.items()
    ]
    nodes: Sequence[TreeNode] = [TreeNode(0, 0, opaque_element(one.root)) for one in elements]
    with ledger.sole_writer():
        ledger.restart(account, state, list(zip(elements, nodes, strict=True)))
    return elements
