"""Batches as elements of their logs."""

from __future__ import annotations

from meterbridge.domain.sum_tree import log_element
from meterbridge.services.bulk.ports import LogFrontier, SealedBatch
from meterbridge.services.log_tree import completed_by
from meterbridge.services.records import BatchRecord


def sealed_batch(record: BatchRecord, frontier: LogFrontier, times: tuple[int, int]) -> SealedBatch:
    """Return a batch with the subtrees that it completes in its log.

    Raises:
        LaneOverflow: when the log's total would leave int64.
    """
    element = log_element(record.size, record.root)
    nodes = completed_by(frontier.size, element, lambda places: [frontier.left[level] for level, _ in places])
    return SealedBatch(record, nodes, times)
