"""What every task of a seal is told, and what tasks share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import meterbridge
from meterbridge.adapters.bulk.stores import StoreUnreachable
from meterbridge.adapters.formats.errors import BadFile
from meterbridge.adapters.spark.files import Attempts
from meterbridge.adapters.spark.packs import Kind, Message, write_messages
from meterbridge.adapters.spark.store import IndexPlace
from meterbridge.domain.errors import LaneOverflow, MeterbridgeError, OutOfBounds
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.records import AccountRecord, TariffRecord

POOL_RECEIPTS: Final = 1 << 18
"""Receipts that a task measures before it hands them on: 60 MB."""
RANGE_RECEIPTS: Final = 1 << 18
"""About how many receipts are judged at a time."""


class TaskFailed(MeterbridgeError):
    """A task on a worker could not do its part, and trying again would not help."""


@dataclass(frozen=True, slots=True)
class Work:
    """One seal, as its tasks know it.

    Attributes:
        version: of Meterbridge on the driver.
        record: the tariff.
        accounts: its accounts; receipts number them in this order.
        horizon: milliseconds since 1970; earlier events are refused.
        ranges: into how many the events are cut by key.
        skip_bad: leave bad rows out instead of stopping at one.
        attempts: where tasks put files.
        known: indexes of the events that are there already.
    """

    version: str
    record: TariffRecord
    accounts: Sequence[AccountRecord]
    horizon: int
    ranges: int
    skip_bad: bool
    attempts: Attempts
    known: Sequence[IndexPlace]


Task = Callable[[Iterable[Any]], Iterator[Message]]


def run_task(work: Work, task: Task, batches: Iterable[Any]) -> Iterator[Any]:
    """Run a task over Arrow batches; what Meterbridge refuses travels to the driver as a message."""
    return write_messages(_guarded(work, task, batches))


def _guarded(work: Work, task: Task, batches: Iterable[Any]) -> Iterator[Message]:
    try:
        if work.version != meterbridge.__version__:
            raise TaskFailed(
                f"the driver runs Meterbridge {work.version} and a worker {meterbridge.__version__}; "
                "install the same everywhere",
                meterbridge.__version__,
            )
        yield from task(batches)
    except MeterbridgeError as error:  # a retry would only find it again
        yield Message(0, Kind.FAILURE, {"kind": type(error).__name__, "message": str(error)})


def raise_failure(message: Message) -> None:
    """Raise on the driver what a task refused.

    Raises:
        MeterbridgeError: of the same kind where callers tell kinds apart.
    """
    kinds = {
        kind.__name__: kind for kind in (BadFile, BadSegment, LaneOverflow, OutOfBounds, StoreUnreachable)
    }
    kind: type[MeterbridgeError] = kinds.get(message.said["kind"], TaskFailed)
    raise kind(message.said["message"], message.said["kind"])
