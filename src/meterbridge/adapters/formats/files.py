"""One way into every file of usage: rows as events, or as what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from meterbridge.adapters.formats.column_map import EXAMPLE, ROW_NUMBER, ColumnMap
from meterbridge.adapters.formats.csv_rows import CsvRows
from meterbridge.adapters.formats.errors import BadFile, BadUsage
from meterbridge.adapters.formats.lines import PARQUET_MAGIC, UTF8_MARK, Lines, Opened
from meterbridge.adapters.formats.mapped import MappedRows, canonical_map
from meterbridge.adapters.formats.native import NativeRows, Sources
from meterbridge.adapters.formats.ndjson_rows import ndjson_rows
from meterbridge.adapters.formats.rows import BadRow, RawRow, Row, UsageRow, snippet
from meterbridge.adapters.formats.traces import AZURE_COLUMNS, AZURE_MAP
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.events import UsageEvent

DEFAULT_SOURCE: Final = "log"
Reader = Callable[[int, Mapping[str, object]], Iterable[UsageEvent]]


def read_usage(
    path: str | os.PathLike[str],
    *,
    column_map: ColumnMap | None = None,
    source: str | None = None,
    latest: int | None = None,
) -> Iterator[Row]:
    """Read a file of usage row by row, with memory that does not grow with it.

    What kind of file it is, its content says: Parquet, CSV with a header, or NDJSON; the latter two also
    through gzip.

    Args:
        path: the file.
        column_map: what the columns mean. One without counts (`payer=team_id`) only overrides what a native
            shape says. Without one, columns must have our own names, or rows a native shape.
        source: who reports rows that do not say so themselves. By default `log`, whatever the file is called,
            so that the same calls in another file are the same calls; where a row's number is its id, the
            file's name without `.gz`.
        latest: milliseconds since 1970; a later time is a bad row. The clock is the caller's.

    Yields:
        A `UsageRow` for each event and a `BadRow` for each row that cannot be read, in the file's order. The
        caller stops at the first bad row or goes on; it is the last where the file is damaged from there on.

    Raises:
        BadFile: when the file cannot be read as usage at all: missing, empty, of an unknown kind, or with a
            header that is broken or does not fit the map.
    """
    file = Path(path)
    sources = Sources(source or DEFAULT_SOURCE, source or file.name.removesuffix(".gz"))
    rows, columns, finish = _open(file)
    try:
        reader = _reader(columns, column_map, sources)
        some = False
        for raw in rows:
            some = True
            yield from [raw] if isinstance(raw, BadRow) else _events(raw, reader, latest)
        if not some:
            raise BadFile(f"{file} has no rows", str(file))
    finally:
        finish()


def _open(path: Path) -> tuple[Iterable[RawRow | BadRow], list[str] | None, Callable[[], None]]:
    """Return the rows, the columns where the file names them once and for all, and how to close it."""
    file = Opened(path)
    try:
        if file.head.startswith(PARQUET_MAGIC):
            return (*_open_parquet(file), file.close)
        lines = Lines(file)
        if _first_character(file.head) in (b"{", b"["):
            return ndjson_rows(lines), None, file.close
        rows = CsvRows(lines)
    except BaseException:
        file.close()
        raise
    return rows, rows.columns, file.close


def _open_parquet(file: Opened) -> tuple[Iterable[RawRow | BadRow], list[str]]:
    if file.packed:
        advice = "gunzip it first, Parquet packs its own columns"
        raise BadFile(f"{file.path} is Parquet inside gzip; {advice}", str(file.path))
    from meterbridge.adapters.formats.parquet_rows import ParquetRows  # slow to import

    table = ParquetRows(file.path)
    return table, table.columns


def _first_character(head: bytes) -> bytes:
    return head.removeprefix(UTF8_MARK).lstrip()[:1]


def _reader(columns: list[str] | None, column_map: ColumnMap | None, sources: Sources) -> Reader:
    """Choose how rows become events: by the map, by the header, or each by its own shape."""
    if column_map is None and columns is not None:
        column_map = AZURE_MAP if set(columns) == AZURE_COLUMNS else canonical_map(columns)
    if column_map is None or not column_map.counts_columns:
        native = NativeRows(sources, column_map)
        if columns is not None:
            _require_native(columns, native)
        return native.events
    numbered = column_map.id == ROW_NUMBER
    mapped = MappedRows(column_map, sources.of_numbered_rows if numbered else sources.of_named_events)
    if columns is not None:
        try:
            mapped.require_columns(columns)
        except BadUsage as error:
            raise BadFile(str(error), error.value, 1) from error
    return lambda row_number, fields: (mapped.event(row_number, fields),)


def _require_native(columns: list[str], native: NativeRows) -> None:
    """Refuse a table at its header where no row of it could ever be understood."""
    if not native.knows(columns):
        found = snippet(", ".join(columns))
        raise BadFile(f"the columns {found} are of no known shape; map them, as in {EXAMPLE}", columns, 1)


def _events(raw: RawRow, reader: Reader, latest: int | None) -> Iterator[Row]:
    """Read one row's events; a row of several is taken whole or not at all."""
    try:
        events = list(reader(raw.row_number, raw.fields))
        for event in events:
            if latest is not None and event.occurred_at > latest:
                raise BadUsage(
                    f"the time, {event.occurred_at} ms since 1970, lies in the future", event.occurred_at
                )
    except MeterbridgeError as error:
        yield BadRow(raw.row_number, error.value, str(error))
        return
    for event in events:
        yield UsageRow(raw.row_number, event)
