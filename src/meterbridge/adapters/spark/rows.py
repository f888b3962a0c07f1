"""Rows that Spark read, as calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow.compute as pc

from meterbridge.adapters.bulk.blocks import JsonBlock, ParquetBlock
from meterbridge.adapters.bulk.chunks import ChunkMaker
from meterbridge.adapters.bulk.scan import Files, MappedBlocks
from meterbridge.adapters.formats.column_map import EXAMPLE, ROW_NUMBER, ColumnMap
from meterbridge.adapters.formats.errors import BadFile
from meterbridge.adapters.formats.mapped import canonical_map
from meterbridge.adapters.formats.native import NativeRows, Sources
from meterbridge.adapters.formats.rows import BadRow, RawRow, Row, UsageRow
from meterbridge.adapters.formats.traces import MOONCAKE_KEYS
from meterbridge.domain.arrays import Ints
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.bulk.chunk import UsageChunk
from meterbridge.services.bulk.sealing import Scanning
from meterbridge.services.records import BadRow as RefusedRow

FILE: Final = "__meterbridge_file"
ROW: Final = "__meterbridge_row"
CHANGE: Final = "__meterbridge_change"
"""What became of a row, where the connector reads changes of a table: one that came in is a call."""
NOT_CALLS: Final = (FILE, ROW, CHANGE)
VALUE: Final = "__meterbridge_value"
_DEFAULT_SOURCE: Final = "log"


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows by a column map, or records in JSON by that or by their own shape.

    Attributes:
        files: what rows mean.
        name: of the input, where a row does not know its file.
        columns: what rows have besides their places.
        is_json: whether the one column is a record in JSON.
    """

    files: Files
    name: str
    columns: Sequence[str]
    is_json: bool

    def chunks(self, scanning: Scanning, batches: Iterable[Any]) -> Iterator[UsageChunk]:
        """See `measuring.Reader`."""
        reading = _Reading(self, scanning, self._map())
        counted = 0
        for batch in batches:
            for run in _runs(batch, f"{self.name}, partition {_partition()}", counted):
                yield from reading.chunks(reading.calls_of(run))
            counted += batch.num_rows

    def _map(self) -> ColumnMap | None:
        """Return what the columns mean; None where each record has a shape of its own.

        Raises:
            BadFile: when nobody can tell.
        """
        column_map = self.files.column_map
        if self.is_json:
            return column_map if column_map is not None and column_map.counts_columns else None
        column_map = column_map or canonical_map(self.columns)
        if column_map is None or not column_map.counts_columns:
            found = ", ".join(self.columns)
            raise BadFile(f"the columns {found} need a map, as in --map {EXAMPLE!r}", self.columns)
        return column_map


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows of one file.

    Attributes:
        file: its name.
        numbers: of the rows.
        known: whether these are the rows' numbers wherever they are read, not only in this task.
        batch: their columns.
        changes: what became of each, or None where rows are calls.
    """

    file: str
    numbers: Ints
    known: bool
    batch: Any
    changes: Any | None = None

    def block(self, is_json: bool) -> JsonBlock | ParquetBlock:
        """Return the rows as a block."""
        first, gaps = int(self.numbers[0]), bool((np.diff(self.numbers) != 1).any())
        numbers = self.numbers if gaps else None
        if is_json:
            return JsonBlock(_lines(self.batch), first, numbers)
        return ParquetBlock(self.batch, first, numbers)


def _runs(batch: Any, name: str, counted: int) -> Iterator[_Run]:
    columns = [i for i, column in enumerate(batch.schema.names) if column not in NOT_CALLS]
    cells = batch.select(columns)
    files, rows = batch.column(FILE), batch.column(ROW)
    changes = batch.column(CHANGE) if CHANGE in batch.schema.names else None
    if not batch.num_rows:
        return
    codes = files.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    known = rows.null_count == 0
    numbers = rows.to_numpy(zero_copy_only=False) if known else counted + 1 + np.arange(batch.num_rows)
    cuts = (np.flatnonzero(np.diff(codes)) + 1).tolist()
    for first, stop in zip([0, *cuts], [*cuts, batch.num_rows], strict=True):
        file = files[first].as_py()
        where = name if file is None else _path_of(file)
        if file is not None and not known:
            where = f"{where}, rows counted in {name}"
        some = changes if changes is None else changes.slice(first, stop - first)
        yield _Run(where, numbers[first:stop], known, cells.slice(first, stop - first), some)


@dataclass(slots=True)
class _Reading:
    """Readers of one task, one for each file."""

    how: RowReader
    scanning: Scanning
    column_map: ColumnMap | None
    opened: dict[str, MappedBlocks] = field(default_factory=dict)

    def calls_of(self, run: _Run) -> _Run:
        """Refuse rows that were changed or deleted: what was sealed of them is corrected by credits."""
        if run.changes is None:
            return run
        came_in = pc.fill_null(pc.equal(pc.utf8_lower(run.changes), "insert"), False)
        for at in np.flatnonzero(~came_in.to_numpy(zero_copy_only=False)).tolist():
            change, number = run.changes[at].as_py(), int(run.numbers[at])
            reason = f"the row is a change ({change}) of one that came before; only inserted rows are calls"
            self.scanning.refuse(run.file, RefusedRow(number, change, reason, None))
        numbers = run.numbers[came_in.to_numpy(zero_copy_only=False)]
        return replace(run, numbers=numbers, batch=run.batch.filter(came_in), changes=None)

    def chunks(self, run: _Run) -> Iterable[UsageChunk]:
        if not len(run.numbers):
            return []
        numbered = self.how.files.column_map
        if numbered is not None and numbered.id == ROW_NUMBER and not run.known:
            raise BadFile(
                f"{run.file} does not number its rows, so id=#row would not be the same twice", None
            )
        if self.column_map is None:
            return self._native(run)
        return self._mapped(run.file, self.column_map).chunks(run.block(self.how.is_json))

    def _mapped(self, file: str, column_map: ColumnMap) -> MappedBlocks:
        if file not in self.opened:
            files, path = self.how.files, Path(file)
            maker = ChunkMaker(self.scanning, file, files.payer, files.latest)
            mapped = MappedBlocks.of(column_map, path, files, maker)
            if not self.how.is_json:
                mapped.require_columns(self.how.columns)
            self.opened[file] = mapped
        return self.opened[file]

    def _native(self, run: _Run) -> Iterator[UsageChunk]:
        files = self.how.files
        named = files.source or _DEFAULT_SOURCE
        native = NativeRows(Sources(named, files.source or Path(run.file).name), files.column_map)
        maker = ChunkMaker(self.scanning, run.file, files.payer, files.latest)
        rows = run.block(is_json=True).rows()
        yield maker.of_rows([event for row in rows for event in _events(native, row)])


def _events(native: NativeRows, row: RawRow | BadRow) -> Iterator[Row]:
    if isinstance(row, BadRow):
        yield row
        return
    if row.fields.keys() == MOONCAKE_KEYS:
        reason = "rows of this trace have no ids but their numbers: seal its file without --format"
        yield BadRow(row.row_number, None, reason)
        return
    try:
        events = list(native.events(row.row_number, row.fields))
    except MeterbridgeError as error:
        yield BadRow(row.row_number, error.value, str(error))
        return
    yield from (UsageRow(row.row_number, event) for event in events)


def _lines(batch: Any) -> bytes:
    """Return a column of JSON as lines, one for each record; one without a value is null.

    Ends of lines within a record become another blank of JSON, which no text in quotes may hold either.
    """
    blank = b" \t\r\n"
    values = (value and value.strip() and value.strip(blank) for value in batch.column(0).to_pylist())
    return b"".join((value or b"null").replace(b"\n", b"\r") + b"\n" for value in values)


def _path_of(url: str) -> str:
    """Return a local file's path, or the URL of any other."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else url


def _partition() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    return 0 if context is None else context.partitionId()
