"""Rows of plain files to events, as a column map says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from meterbridge.adapters.formats.column_map import INPUT_PARTS, OUTPUT_PARTS, ROW_NUMBER, ColumnMap
from meterbridge.adapters.formats.errors import BadUsage, Contradiction
from meterbridge.adapters.formats.times import Millis, TimeUnit, epoch_millis, iso_millis
from meterbridge.adapters.formats.usage_objects import read_usage_object
from meterbridge.adapters.formats.values import count, evidence, parse_json, text
from meterbridge.domain.events import BUCKETS, UsageEvent

USAGE_WORDS: Final = ("token", "usage", "prompt", "completion", "input", "output", "cache", "length", "count")
"""A column with one of these in its name may be usage: it is never ignored in passing."""


class MappedRows:
    """Reads rows by a column map that says where the counts are."""

    def __init__(self, column_map: ColumnMap, source: str) -> None:
        """Take the map, and who reports rows that do not say so themselves."""
        self._map = column_map
        self._source = source
        self._named = {column for _, column in column_map.columns()} | column_map.ignored
        self._flat = False

    def require_columns(self, columns: Iterable[str]) -> None:
        """Check a header: what the map names is there, and what is there the map knows.

        Raises:
            BadUsage: naming the column.
        """
        present = set(columns)
        for name, column in self._map.columns():
            if not _covered(column, present) and column not in self._map.optional:
                raise BadUsage(f"there is no column {column!r}, which the map gives to {name!r}", column)
        for column in present:
            self._require_known(column)
        self._flat = self._named >= present  # then no row holds anything that this check has not seen

    def event(self, row_number: int, fields: Mapping[str, object]) -> UsageEvent:
        """Read one row.

        Raises:
            BadUsage, or what the domain refuses: naming the column and what was found.
        """
        cells = fields if self._flat else self._known_cells(fields)
        buckets, details = self._usage(cells)
        for column in self._map.details:
            value = self._cell(cells, column)
            if value is not None:
                details[column] = _detail(column, value)
        model = self._text(cells, "model", self._map.model)
        if model is not None:
            details["model"] = model
        return UsageEvent(
            source=self._text(cells, "source", self._map.source) or self._source,
            id=self._id(row_number, cells),
            occurred_at=self._time(cells),
            payer=self._text(cells, "payer", self._map.payer),
            buckets=buckets,
            details=details,
        )

    def _known_cells(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        cells = self._flatten(fields)
        for column in cells.keys() - self._named:
            self._require_known(column)
        return cells

    def _flatten(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Give nested fields dotted names; an object that the map names as a whole stays whole."""
        cells: dict[str, object] = {}
        for key, value in fields.items():
            if isinstance(value, Mapping) and key not in self._named:
                cells.update(self._flatten({f"{key}.{inner}": value[inner] for inner in value}))
            else:
                cells[key] = value
        return cells

    def _require_known(self, column: str) -> None:
        if column in self._named or any(name.startswith(f"{column}.") for name in self._named):
            return
        sounds_like_usage = any(word in column.lower() for word in USAGE_WORDS)
        if self._map.ignore_rest and not sounds_like_usage:
            return
        advice = f"map it, keep it with detail={column}, or leave it out with ignore={column}"
        raise BadUsage(f"column {column!r} is not in the column map; {advice}", column)

    def _cell(self, cells: Mapping[str, object], column: str) -> object:
        value = cells.get(column)
        if (value is None or value == "") and column not in self._map.optional:
            state = "is empty" if column in cells else "is missing"
            raise BadUsage(f"column {column!r} {state}; if it may be, write a ? after the mapped name", value)
        return None if value == "" else value

    def _text(self, cells: Mapping[str, object], name: str, column: str | None) -> str | None:
        value = None if column is None else self._cell(cells, column)
        return None if value is None else text(f"{name} (column {column!r})", value)

    def _id(self, row_number: int, cells: Mapping[str, object]) -> str:
        if self._map.id == ROW_NUMBER:
            return str(row_number)
        return self._text(cells, "id", self._map.id) or ""

    def _time(self, cells: Mapping[str, object]) -> int:
        column = self._map.time or ""
        value = self._cell(cells, column)
        name = f"time (column {column!r})"
        if self._map.time_unit is TimeUnit.ISO or isinstance(value, Millis):
            return iso_millis(name, value)
        return epoch_millis(name, value, self._map.time_unit)

    def _count(self, cells: Mapping[str, object], column: str | None) -> int:
        value = None if column is None else self._cell(cells, column)
        return 0 if value is None else count(f"column {column!r}", value)

    def _usage(self, cells: Mapping[str, object]) -> tuple[dict[str, int], dict[str, object]]:
        if self._map.usage is None:
            buckets = {bucket: self._count(cells, column) for bucket, column in self._map.buckets.items()}
            details: dict[str, object] = {}
            self._take_rest(cells, buckets, self._map.input_total, "input", INPUT_PARTS)
            self._take_rest(cells, buckets, self._map.output_total, "output", OUTPUT_PARTS)
        else:
            value = self._cell(cells, self._map.usage)
            usage = parse_json(value) if isinstance(value, str) else value
            reading = read_usage_object(usage)
            buckets, details = dict(reading.buckets), dict(reading.details)
        self._require_total(cells, buckets)
        return {bucket: number for bucket, number in buckets.items() if number}, details

    def _take_rest(
        self,
        cells: Mapping[str, object],
        buckets: dict[str, int],
        column: str | None,
        rest: str,
        parts: tuple[str, ...],
    ) -> None:
        """Set a bucket to what its whole leaves when the other parts are taken away."""
        if column is None:
            return
        whole = self._count(cells, column)
        taken = sum(buckets.get(part, 0) for part in parts)
        if taken > whole:
            raise Contradiction(f"column {column!r} is {whole}, less than its parts, {taken} in all", whole)
        buckets[rest] = whole - taken

    def _require_total(self, cells: Mapping[str, object], buckets: Mapping[str, int]) -> None:
        value = None if self._map.total is None else self._cell(cells, self._map.total)
        if value is None:
            return
        total = count(f"column {self._map.total!r}", value)
        added = sum(number for bucket, number in buckets.items() if bucket != "tool_requests")
        if total != added:
            raise Contradiction(
                f"column {self._map.total!r} is {total}; the buckets add up to {added}", total
            )


def _covered(column: str, present: set[str]) -> bool:
    """Tell whether a column, or a column that it lies inside of, is present."""
    while column not in present:
        column, dot, _ = column.rpartition(".")
        if not dot:
            return False
    return True


def _detail(column: str, value: object) -> object:
    """Return a JSON value without floats for the receipt's details."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float | Decimal):
        return evidence(column, value)
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)  # canonical JSON has no larger integers
    if isinstance(value, int):
        return int(value)
    return text(f"column {column!r}", value)


CANONICAL: Final = frozenset(("id", "time", "payer", "source", "model", "total", *BUCKETS))
"""A table whose columns all have these names needs no map."""


def canonical_map(columns: Iterable[str]) -> ColumnMap | None:
    """Return the map of a table that uses our own names, or None where it does not."""
    names = list(columns)
    if not {"id", "time"} <= set(names) <= CANONICAL or not set(names) & set(BUCKETS):
        return None
    return ColumnMap.of([(name if name in {"id", "time"} else f"{name}?", name) for name in names])
