"""Columns of a block as a chunk, without an object a row.

Only what is plainly right is read here: whole numbers, plain texts, times in one form. A block with anything
else in it is left to the readers of rows, which know every form and name what is wrong; so both read alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterbridge.adapters.bulk.blocks import Block
from meterbridge.adapters.formats.column_map import INPUT_PARTS, OUTPUT_PARTS, ROW_NUMBER, ColumnMap
from meterbridge.adapters.formats.times import PER_SECOND, PLAUSIBLE_FROM, TimeUnit
from meterbridge.adapters.formats.values import TEXT_CHARS_MAX
from meterbridge.domain.arrays import Bytes, Ints
from meterbridge.domain.events import MeterMap
from meterbridge.domain.receipts import LANE_MAX, OCCURRED_AT_MAX
from meterbridge.domain.units import LANES

_ISO: Final = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:[0-5]\d(\.\d{1,9})?Z?$"
_DIGITS: Final = r"^\d{1,16}$"
_CONTROLS: Final = 0x20
_DELETE: Final = 0x7F
_ASCII: Final = 0x80


class NotPlain(Exception):
    """A column holds something that only the readers of rows can judge."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of few values: value i of a row is `values[codes[i]]`; None where there is none."""

    codes: Ints
    values: Sequence[object]


@dataclass(frozen=True, slots=True)
class PlainColumns:
    """The columns of a block.

    Attributes:
        event_bytes: UTF-8 of the event ids.
        event_offsets: (n + 1,) where they begin.
        occurred_at: (n,) milliseconds since 1970.
        usage: (n, 8) lanes.
        payers: who pays, as the file says it.
        sources: who reported, likewise.
        details: combinations of the columns that are kept as details, each a tuple of values.
        examples: a row of each combination.
    """

    event_bytes: Bytes
    event_offsets: Ints
    occurred_at: Ints
    usage: Ints
    payers: Coded
    sources: Coded
    details: Coded
    examples: Ints


class ColumnReader:
    """Reads blocks by a column map that says where the counts are."""

    def __init__(self, column_map: ColumnMap, meters: MeterMap, accepts: Callable[[Any], bool]) -> None:
        """Take the map and the meters; `accepts` tells whether all columns of a table are accounted for."""
        self._map, self._meters, self._accepts = column_map, meters, accepts

    def read(self, block: Block) -> PlainColumns | None:
        """Return a block's columns, or None where something in it is not plain."""
        table = block.table() if self._map.usage is None else None
        if table is None or not len(table) or not self._accepts(table):
            return None
        try:
            event_bytes, event_offsets = self._ids(table, block)
            details, examples = self._details(table)
            return PlainColumns(
                event_bytes=event_bytes,
                event_offsets=event_offsets,
                occurred_at=self._times(table),
                usage=self._usage(table),
                payers=self._coded(table, self._map.payer),
                sources=self._coded(table, self._map.source),
                details=details,
                examples=examples,
            )
        except (NotPlain, pa.ArrowException):
            return None

    def _ids(self, table: Any, block: Block) -> tuple[Bytes, Ints]:
        if self._map.id == ROW_NUMBER:
            numbers = block.first_row + np.arange(len(table)) if block.numbers is None else block.numbers
            ids = pc.cast(pa.array(numbers), pa.string())
        else:
            ids = _plain(self._column(table, self._map.id or ""))
            ids = pc.cast(ids, pa.string()) if pa.types.is_integer(ids.type) else ids
        return _require_plain_texts(ids)

    def _times(self, table: Any) -> Ints:
        column = self._column(table, self._map.time or "")
        if pa.types.is_timestamp(column.type):
            millis = _millis(column)
            low = 0
        elif self._map.time_unit is TimeUnit.ISO:
            millis, low = _iso_millis(column), 0
        else:
            per_second = PER_SECOND[self._map.time_unit]
            number = _whole_numbers(column, (OCCURRED_AT_MAX + 1) * per_second // 1000)
            millis = number * 1000 if per_second == 1 else number // (per_second // 1000)
            low = PLAUSIBLE_FROM
        if millis.min() < low or millis.max() > OCCURRED_AT_MAX:
            raise NotPlain
        return millis

    def _usage(self, table: Any) -> Ints:
        buckets = {b: self._count(table, column) for b, column in self._map.buckets.items()}
        for whole, rest, parts in (
            (self._map.input_total, "input", INPUT_PARTS),
            (self._map.output_total, "output", OUTPUT_PARTS),
        ):
            if whole is not None:
                buckets[rest] = self._count(table, whole) - _added(buckets, parts, len(table))
                if buckets[rest].min() < 0:
                    raise NotPlain
        if self._map.total is not None:
            added = _added(buckets, [b for b in buckets if b != "tool_requests"], len(table))
            if not np.array_equal(self._count(table, self._map.total), added):
                raise NotPlain
        usage = np.zeros((len(table), LANES), dtype=np.int64)
        for bucket, counts in buckets.items():
            if bucket in self._meters.meter_of:
                usage[:, self._meters.meter_of[bucket]] += counts
            elif counts.any():
                raise NotPlain
        if usage.max() > LANE_MAX:
            raise NotPlain
        return usage

    def _count(self, table: Any, name: str) -> Ints:
        column = self._column(table, name)
        if column.null_count:
            if name not in self._map.optional:
                raise NotPlain
            column = pc.fill_null(column, "0" if pa.types.is_string(column.type) else 0)
        return _whole_numbers(column, LANE_MAX)

    def _coded(self, table: Any, name: str | None) -> Coded:
        column = None if name is None else self._column(table, name)
        if column is not None and pa.types.is_floating(column.type):
            raise NotPlain  # several texts may have become one number
        if column is None or pa.types.is_null(column.type):
            return Coded(np.zeros(len(table), dtype=np.int64), [None])
        if not pa.types.is_dictionary(column.type):
            column = pc.dictionary_encode(column)
        values = column.dictionary.to_pylist()
        codes = pc.fill_null(column.indices, len(values)) if column.null_count else column.indices
        if column.null_count and name not in self._map.optional:
            raise NotPlain
        return Coded(codes.to_numpy(zero_copy_only=False).astype(np.int64), [*values, None])

    def _details(self, table: Any) -> tuple[Coded, Ints]:
        """Number the combinations of model and details."""
        names = [*([self._map.model] if self._map.model else []), *self._map.details]
        columns = [self._coded(table, name) for name in names]
        combined = np.zeros(len(table), dtype=np.int64)
        for column in columns:  # no product of two sizes exceeds the square of the rows
            combined = _renumbered(combined)[0] * len(column.values) + column.codes
        codes, examples = _renumbered(combined)
        values = [tuple(c.values[int(c.codes[row])] for c in columns) for row in examples.tolist()]
        return Coded(codes, values), examples

    def _column(self, table: Any, name: str) -> Any:
        if name not in table.schema.names:
            if name not in self._map.optional:
                raise NotPlain
            return pa.nulls(len(table), pa.int64())
        return _whole(table[name])


def _renumbered(numbers: Ints) -> tuple[Ints, Ints]:
    """Return numbers without gaps, in the same order, and the first row of each."""
    size = int(numbers.max()) + 1
    if size > 8 * len(numbers) + 64:  # few among many: sorting costs less than counting
        _, examples, codes = np.unique(numbers, return_index=True, return_inverse=True)
        return codes.astype(np.int64), examples.astype(np.int64)
    first = np.full(size, -1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # the last one written stays
    present = first >= 0
    codes = (np.cumsum(present) - 1)[numbers]
    return codes, first[present]


def _whole(column: Any) -> Any:
    """Return a column as one array."""
    found = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) and found.num_chunks == 1 else found


def _plain(column: Any) -> Any:
    """Return a column without its dictionary."""
    return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _whole_numbers(column: Any, high: int) -> Ints:
    column = _plain(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        if not pc.all(pc.match_substring_regex(column, _DIGITS)).as_py():
            raise NotPlain
    elif pa.types.is_null(column.type) or not pa.types.is_integer(column.type):
        raise NotPlain
    numbers: Ints = pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False)
    if numbers.dtype != np.int64 or (len(numbers) and (numbers.min() < 0 or numbers.max() > high)):
        raise NotPlain
    return numbers


def _iso_millis(column: Any) -> Ints:
    """Read texts of the one plain form; digits finer than a millisecond are cut off."""
    column = _plain(column)
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        raise NotPlain
    if column.null_count or not pc.all(pc.match_substring_regex(column, _ISO)).as_py():
        raise NotPlain
    return _millis(pc.cast(pc.utf8_rtrim(column, characters="Z"), pa.timestamp("ns")))


def _millis(column: Any) -> Ints:
    if column.null_count:
        raise NotPlain
    numbers: Ints = pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False)
    if column.type.unit == "s":
        return numbers * 1000
    return numbers // {"ms": 1, "us": 10**3, "ns": 10**6}[column.type.unit]


def _added(buckets: Mapping[str, Ints], parts: Any, rows: int) -> Ints:
    total = np.zeros(rows, dtype=np.int64)
    for part in parts:
        total += buckets.get(part, 0)
    return total


def _require_plain_texts(texts: Any) -> tuple[Bytes, Ints]:
    """Return the bytes of texts that are all there, not empty, of sound length and printable ASCII."""
    if pa.types.is_string(texts.type):
        width: npt.DTypeLike = np.int32
    elif pa.types.is_large_string(texts.type):
        width = np.int64
    else:
        raise NotPlain
    if texts.null_count:
        raise NotPlain
    _, offsets, data = texts.buffers()
    cuts = np.frombuffer(offsets, dtype=width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    lengths = np.diff(cuts)
    content = np.frombuffer(data, dtype=np.uint8)[: cuts[-1]]
    used = content[cuts[0] :]
    if lengths.min() < 1 or lengths.max() > TEXT_CHARS_MAX:
        raise NotPlain
    if used.min() < _CONTROLS or used.max() >= _ASCII or (used == _DELETE).any():
        raise NotPlain
    return content, cuts
