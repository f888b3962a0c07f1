"""Batches as elements of their logs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meterbridge.domain.addresses import Address
from meterbridge.domain.receipt_rows import sum_node
from meterbridge.domain.sum_tree import log_element
from meterbridge.domain.units import INT64_MAX, UsageVector
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.bulk.ports import BulkLedger, LogFrontier, SealedBatch
from meterbridge.services.ledger_errors import HeadroomExceeded
from meterbridge.services.log_tree import completed_by
from meterbridge.services.records import AccountRecord, BatchRecord, LogKey, LogKind, TariffRecord

if TYPE_CHECKING:  # it brings the kernels along, which appending to a log does without
    from meterbridge.services.bulk.writing import Forest


def seal_batches(
    ledger: BulkLedger,
    record: TariffRecord,
    accounts: Sequence[AccountRecord],
    plan: SealPlan,
    forest: Forest,
    seal: str,
) -> list[SealedBatch]:
    """Return the batches of a seal as the next elements of their logs.

    Args:
        ledger: holds the logs.
        record: the tariff.
        accounts: its accounts, as the plan numbers them.
        plan: the batches.
        forest: their trees, finished.
        seal: its name.

    Raises:
        HeadroomExceeded: when a log's total would leave the tariff's headroom.
    """
    frontiers, headroom = ledger.frontiers(record.id), record.terms().headroom()
    batches = []
    for number, account in enumerate(plan.accounts.tolist()):
        key = accounts[account].key
        root = sum_node(forest.roots[number])
        frontier = frontiers[key.payer.raw]
        _require_headroom(frontier.total, root.sum, headroom, key.payer)
        log = LogKey(key, LogKind.CHARGES)
        batch = BatchRecord(log, frontier.size, int(plan.sizes[number]), root, f"{seal}#{number}")
        times = int(forest.first_times[number]), int(forest.last_times[number])
        batches.append(sealed_batch(batch, frontier, times))
    return batches


def sealed_batch(record: BatchRecord, frontier: LogFrontier, times: tuple[int, int]) -> SealedBatch:
    """Return a batch with the subtrees that it completes in its log.

    Raises:
        LaneOverflow: when the log's total would leave int64.
    """
    element = log_element(record.size, record.root)
    nodes = completed_by(frontier.size, element, lambda places: [frontier.left[level] for level, _ in places])
    return SealedBatch(record, nodes, times)


def total_usage(batches: Iterable[SealedBatch]) -> UsageVector:
    """Return the usage of all batches."""
    total = UsageVector.zero()
    for batch in batches:
        total = total + batch.record.root.sum
    return total


def _require_headroom(before: UsageVector, added: UsageVector, headroom: UsageVector, payer: Address) -> None:
    for lane, (old, new, limit) in enumerate(zip(before.lanes, added.lanes, headroom.lanes, strict=True)):
        if old + new > limit:
            what = "a signed 64-bit integer" if limit == INT64_MAX else "the tariff's headroom"
            message = f"the log of {payer} would total {old + new} on lane {lane}; {what} ends at {limit}"
            raise HeadroomExceeded(0, message, old + new)
