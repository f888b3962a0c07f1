"""Rows in shapes of their own: provider answers, CloudEvents, spend logs, spans, traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from meterbridge.adapters.formats.calls import Call
from meterbridge.adapters.formats.column_map import ROW_NUMBER, ColumnMap
from meterbridge.adapters.formats.errors import BadUsage, UnknownShape
from meterbridge.adapters.formats.records import USAGE_KEYS, calls_of
from meterbridge.adapters.formats.times import Millis, TimeUnit, epoch_millis, iso_millis
from meterbridge.adapters.formats.traces import MOONCAKE_KEYS, Mooncake
from meterbridge.adapters.formats.usage_objects import detect_shape
from meterbridge.adapters.formats.values import text
from meterbridge.domain.events import UsageEvent

RECORD_KEYS: Final = frozenset((*USAGE_KEYS, "specversion", "resourceSpans", "attributes"))


class Sources(NamedTuple):
    """Who reports rows that do not say so themselves.

    Attributes:
        of_named_events: where the event has an id of its own: the same whatever its file is called.
        of_numbered_rows: where only the row's number tells events apart: another one for each file.
    """

    of_named_events: str
    of_numbered_rows: str


class NativeRows:
    """Reads rows whose own keys say what they are; a column map may override id, time, payer and the like."""

    def __init__(self, sources: Sources, overrides: ColumnMap | None) -> None:
        """Take who reports, and the map, where there is one."""
        numbered = overrides is not None and overrides.id == ROW_NUMBER
        self._source = sources.of_numbered_rows if numbered else sources.of_named_events
        self._overrides = overrides
        self._mooncake = Mooncake(sources.of_numbered_rows)

    def knows(self, columns: Iterable[str]) -> bool:
        """Tell whether rows of a table with these columns could be understood."""
        names = set(columns)
        if names & RECORD_KEYS or names == MOONCAKE_KEYS:
            return True
        try:
            detect_shape(dict.fromkeys(names, 1))
        except UnknownShape:
            return False
        except BadUsage:  # ambiguous by its columns; its rows will tell
            return True
        return True

    def events(self, row_number: int, fields: Mapping[str, object]) -> Iterator[UsageEvent]:
        """Read one row.

        Raises:
            BadUsage: saying what is missing, broken, contradictory or ambiguous.
        """
        if fields.keys() == MOONCAKE_KEYS:
            yield self._mooncake.event(row_number, fields)
            return
        for call in calls_of(fields):
            yield self._overridden(row_number, fields, call).event(self._source)

    def _overridden(self, row_number: int, fields: Mapping[str, object], call: Call) -> Call:
        overrides = self._overrides
        if overrides is None:
            return call
        if overrides.id is not None:
            call.id = str(row_number) if overrides.id == ROW_NUMBER else self._text(fields, overrides.id)
        call.payer = self._text(fields, overrides.payer) or call.payer
        call.source = self._text(fields, overrides.source) or call.source
        named = {"model": overrides.model, **{column: column for column in overrides.details}}
        for name, column in named.items():
            value = self._text(fields, column)
            if value is not None:
                call.details[name] = value
        time = self._cell(fields, overrides.time)
        if time is not None:
            call.occurred_at = _time(time, overrides.time_unit)
        return call

    def _text(self, fields: Mapping[str, object], column: str | None) -> str | None:
        value = self._cell(fields, column)
        return None if value is None else text(f"column {column!r}", value)

    def _cell(self, fields: Mapping[str, object], column: str | None) -> object:
        """Return what a column holds, by its name or by dots; unless optional, it must hold something."""
        if column is None or column == ROW_NUMBER:
            return None
        value: object = fields
        if column in fields:
            value = fields[column]
        else:
            for part in column.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
        if (value is None or value == "") and self._overrides and column not in self._overrides.optional:
            raise BadUsage(f"column {column!r} is empty or missing", value)
        return None if value == "" else value


def _time(value: object, unit: TimeUnit) -> int:
    if unit is TimeUnit.ISO or isinstance(value, Millis):
        return iso_millis("time", value)
    return epoch_millis("time", value, unit)
