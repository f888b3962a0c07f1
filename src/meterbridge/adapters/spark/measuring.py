"""First task: rows of usage to receipts, hashed, in the order of their events' keys, cut into ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from meterbridge.adapters.spark.packs import Kind, Message, Pack, place_of
from meterbridge.adapters.spark.work import POOL_RECEIPTS, Work
from meterbridge.domain.arrays import Bytes, Ints, Words
from meterbridge.services.bulk.chunk import Details, Origin, Sources, Texts, UsageChunk
from meterbridge.services.bulk.intake import TEXT_BYTES
from meterbridge.services.bulk.order import key_order, take, take_texts
from meterbridge.services.bulk.pool import ReceiptPool, measure
from meterbridge.services.bulk.sealing import Scanning
from meterbridge.services.records import BadRow


class Reader(Protocol):
    """Reads usage from what Spark gives a task."""

    def chunks(self, scanning: Scanning, batches: Iterable[Any]) -> Iterator[UsageChunk]:
        """Yield the calls of Arrow batches."""


def measure_usage(work: Work, reader: Reader, batches: Iterable[Any]) -> Iterator[Message]:
    """Yield receipts for each range of keys, and rows that cannot be used.

    Unless bad rows are skipped, the first one ends this task: nothing will be sealed.
    """
    measuring = _Measuring(work)
    try:
        for chunk in reader.chunks(measuring.scanning, batches):
            if len(chunk):
                yield from measuring.take(chunk)
            yield from measuring.refused()
        yield from measuring.rest()
    except _Refused:
        pass
    yield from measuring.refused()


class _Refused(Exception):
    """A bad row was met, and bad rows are not to be skipped."""


class _Measuring:
    """Gathers chunks into a pool, and hands the pool on when it is full."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.scanning = Scanning(work.record, work.accounts, Sources(), Details(), work.horizon, self._refuse)
        blinds = b"".join(account.blind for account in work.accounts)
        self._blinds: Bytes = np.frombuffer(blinds, dtype=np.uint8).reshape(-1, 32)
        self._pool = ReceiptPool(POOL_RECEIPTS, POOL_RECEIPTS * TEXT_BYTES)
        self._origins: list[Ints] = []
        self._files = Texts()
        self._bad: list[Message] = []

    def take(self, chunk: UsageChunk) -> Iterator[Message]:
        """Measure a chunk; where it does not fit the pool, that is handed on first."""
        place = self._pool.reserve(chunk)
        if place is None:
            yield from self.rest()
            if (place := self._pool.reserve(chunk)) is None:
                self._pool = ReceiptPool(len(chunk), int(chunk.event_offsets[-1] - chunk.event_offsets[0]))
                place = 0, 0
                self._pool.reserve(chunk)
        scanning = self.scanning
        measure(chunk, self._pool, *place, self._blinds, scanning.sources, scanning.details)
        self._origins.append(self._places(chunk.origin, len(chunk)))

    def rest(self) -> Iterator[Message]:
        """Hand on what is in the pool."""
        if self._pool.size:
            yield from self._ranges(self._sorted_pool())
        self._pool.clear()
        self._origins.clear()

    def refused(self) -> Iterator[Message]:
        """Yield the bad rows met since the last call."""
        some, self._bad = self._bad, []
        yield from some

    def _sorted_pool(self) -> Pack:
        pool, size = self._pool, self._pool.size
        order = key_order(pool.keys[:size])
        rows = take(pool.rows[:size], order)
        texts, offsets = take_texts(rows, pool.texts)
        rows["event_start"] = offsets[:-1]
        keys, origins = take(pool.keys[:size], order), np.concatenate(self._origins)[order]
        scanning = self.scanning
        names = (scanning.sources.values, scanning.details.values, self._files.values)
        return Pack(rows, texts, keys, origins, *(list(values) for values in names))

    def _ranges(self, pack: Pack) -> Iterator[Message]:
        cuts = np.searchsorted(pack.keys[:, 0], range_bounds(self._work.ranges)).tolist()
        for place, (first, stop) in enumerate(zip([0, *cuts], [*cuts, len(pack.rows)], strict=True)):
            if first < stop:
                yield pack.slice(first, stop).message(place)

    def _places(self, origin: Origin, count: int) -> Ints:
        file = self._files.numbers([origin.file])
        rows = origin.first_row + np.arange(count) if origin.row_numbers is None else origin.row_numbers
        return place_of(file, rows)

    def _refuse(self, file: str, bad: BadRow) -> None:
        said = {"file": file, "row": bad.row_number, "reason": bad.reason, "id": bad.id}
        said["value"] = bad.value if isinstance(bad.value, str | int | None) else repr(bad.value)
        self._bad.append(Message(0, Kind.BAD_ROW, said))
        if not self._work.skip_bad:
            raise _Refused


def range_bounds(ranges: int) -> Words:
    """Return the first words at which ranges begin, but for the first."""
    return np.array([2**64 * number // ranges for number in range(1, ranges)], dtype=np.uint64)


def bad_rows(messages: Sequence[Message]) -> list[tuple[str, BadRow]]:
    """Return bad rows as (file, row), in the order of the input."""
    said = [message.said for message in messages if message.kind is Kind.BAD_ROW]
    found = [(s["file"], BadRow(s["row"], s["value"], s["reason"], s["id"])) for s in said]
    return sorted(found, key=lambda pair: (pair[0], pair[1].row_number))
