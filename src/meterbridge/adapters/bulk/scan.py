"""Files of usage of any size, as jobs that read them on all cores.

Parquet is read by row group, CSV and NDJSON by blocks of whole lines, each parsed on the core that measures
it. Arrow reads: 0.1 us a row and core, batch by batch; DuckDB took ten times as long to hand over its rows,
Polars four times, and all at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.blocks import (
    Block,
    CsvBlock,
    JsonBlock,
    NumberedLine,
    ParquetBlock,
    csv_rows,
    header_columns,
    json_rows,
    split_lines,
)
from meterbridge.adapters.bulk.chunks import ChunkMaker, column_reader
from meterbridge.adapters.formats import read_usage
from meterbridge.adapters.formats.column_map import ROW_NUMBER, ColumnMap
from meterbridge.adapters.formats.errors import BadFile, BadUsage
from meterbridge.adapters.formats.files import DEFAULT_SOURCE
from meterbridge.adapters.formats.lines import PARQUET_MAGIC, UTF8_MARK, Opened
from meterbridge.adapters.formats.mapped import MappedRows, canonical_map
from meterbridge.adapters.formats.rows import BadRow, RawRow, Row, UsageRow
from meterbridge.adapters.formats.traces import AZURE_COLUMNS, AZURE_MAP
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.bulk.chunk import UsageChunk
from meterbridge.services.bulk.intake import Job
from meterbridge.services.bulk.sealing import Scan, Scanning

BLOCK_ROWS: Final = 65_536
BLOCK_BYTES: Final = 4 << 20
_SLOW_ROWS: Final = 8_192
_LINE_MAX: Final = 16 * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Files:
    """What to scan.

    Attributes:
        paths: the files.
        column_map: what their columns mean; without it they have our own names, or rows in a native shape.
        source: who reports rows that do not say so; by default `log`, and the file's name where only the
            number of a row tells it from others, as in `adapters.formats.read_usage`.
        payer: who pays for all rows, a customer or an address; without it, whom each row names.
        latest: milliseconds since 1970; later events are refused.
    """

    paths: Sequence[Path]
    column_map: ColumnMap | None = None
    source: str | None = None
    payer: str | None = None
    latest: int | None = None


def scan_files(files: Files) -> Scan:
    """Return the scan of some files.

    Raises, when it is run:
        BadFile: when one cannot be read as usage at all.
    """

    def scan(scanning: Scanning) -> Iterator[Job]:
        for path in files.paths:
            yield from _jobs(path, files, scanning)

    return scan


def _jobs(path: Path, files: Files, scanning: Scanning) -> Iterator[Job]:
    maker = ChunkMaker(scanning, str(path), files.payer, files.latest)
    opened = Opened(path)
    try:
        if opened.head.startswith(PARQUET_MAGIC) and not opened.packed:
            opened.close()
            yield from _parquet_jobs(path, files, maker)
            return
        reading = _reading_of_lines(opened, files, maker)
        if reading is None:
            opened.close()
            yield partial(_native, path, files, maker)
        else:
            yield from reading.jobs(opened)
    finally:
        opened.close()


@dataclass(frozen=True, slots=True)
class MappedBlocks:
    """Reads the blocks of one source of rows, by column or by row."""

    maker: ChunkMaker
    mapped: MappedRows
    read: Callable[[Block], UsageChunk | None]

    @classmethod
    def of(cls, column_map: ColumnMap, path: Path, files: Files, maker: ChunkMaker) -> MappedBlocks:
        """Read by a map that counts columns; `path` names who reported where nothing else does."""
        numbered = column_map.id == ROW_NUMBER  # rows of two files are told apart by the files' names then
        source = files.source or (path.name.removesuffix(".gz") if numbered else DEFAULT_SOURCE)
        mapped = MappedRows(column_map, source)
        # Told the columns of a table, a reader of rows expects no nested ones: so another is told.
        reader = column_reader(column_map, maker.scanning, MappedRows(column_map, source))

        def read(block: Block) -> UsageChunk | None:
            columns = reader.read(block)
            return None if columns is None else maker.of_columns(block, columns, mapped, source)

        return cls(maker, mapped, read)

    def require_columns(self, columns: Sequence[str]) -> None:
        """Refuse a header that does not fit the map."""
        try:
            self.mapped.require_columns(columns)
        except BadUsage as error:
            raise BadFile(str(error), error.value, 1) from error

    def chunks(self, block: Block) -> Iterable[UsageChunk]:
        """Yield the chunks of a block."""
        chunk = self.read(block)
        return [chunk] if chunk is not None else self.slow(block.rows())

    def slow(self, rows: Iterable[RawRow | BadRow]) -> Iterator[UsageChunk]:
        """Yield the chunks of rows, one by one read."""
        return _slow((self._row(row) for row in rows), self.maker)

    def _row(self, row: RawRow | BadRow) -> Row:
        if isinstance(row, BadRow):
            return row
        try:
            return UsageRow(row.row_number, self.mapped.event(row.row_number, row.fields))
        except MeterbridgeError as error:
            return BadRow(row.row_number, error.value, str(error))


def _native(path: Path, files: Files, maker: ChunkMaker) -> Iterator[UsageChunk]:
    """Yield the chunks of a file whose rows each have a shape of their own."""
    return _slow(read_usage(path, column_map=files.column_map, source=files.source), maker)


def _slow(rows: Iterable[Row], maker: ChunkMaker) -> Iterator[UsageChunk]:
    source = iter(rows)
    while some := list(itertools.islice(source, _SLOW_ROWS)):
        yield maker.of_rows(some)


def _parquet_jobs(path: Path, files: Files, maker: ChunkMaker) -> Iterator[Job]:
    try:
        with pq.ParquetFile(path) as file:
            metadata, columns = file.metadata, list(file.schema_arrow.names)
            texts = [f.name for f in file.schema_arrow if pa.types.is_string(f.type)]
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"{path} is not a Parquet file that can be read: {error}", str(path)) from error
    column_map = files.column_map or canonical_map(columns)
    if column_map is None or not column_map.counts_columns:
        yield partial(_native, path, files, maker)
        return
    mapped = MappedBlocks.of(column_map, path, files, maker)
    mapped.require_columns(columns)
    if not metadata.num_rows:
        raise BadFile(f"{path} has no rows", str(path))
    numbered = [name for name in texts if name != column_map.id]
    first = 1
    for group in range(metadata.num_row_groups):
        yield _row_group_job(path, group, first, numbered, mapped)
        first += metadata.row_group(group).num_rows


def _row_group_job(path: Path, group: int, first: int, numbered: list[str], mapped: MappedBlocks) -> Job:
    def job() -> Iterator[UsageChunk]:
        at = first
        try:
            with pq.ParquetFile(path, read_dictionary=numbered, page_checksum_verification=True) as file:
                for batch in file.iter_batches(BLOCK_ROWS, row_groups=[group], use_threads=False):
                    yield from mapped.chunks(ParquetBlock(batch, at))
                    at += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise BadFile(f"{path} is damaged: {error}", str(path), at) from error

    return job


@dataclass(frozen=True, slots=True)
class _Lines:
    """How the lines of one file become blocks, and rows where blocks will not do."""

    mapped: MappedBlocks
    block: Callable[[bytes, int], Block]
    rows: Callable[[Iterable[NumberedLine]], Iterator[RawRow | BadRow]]
    first: int
    skip: int
    quotes: bool

    def jobs(self, opened: Opened) -> Iterator[Job]:
        """Cut the file into blocks of whole lines.

        Raises:
            BadFile: when it has no line ends, or breaks off.
        """
        number, rest = self.first, b""
        pieces = _large_pieces(opened, self.skip)
        for piece in pieces:
            if self.quotes and piece.count(b'"') % 2:  # a cell may span lines: no end of a line is sure
                lines = _lines(itertools.chain([rest + piece], pieces), number)
                for chunk in self.mapped.slow(self.rows(lines)):
                    yield partial(iter, [chunk])
                return
            cut = piece.rfind(b"\n") + 1
            if not cut:
                rest += piece
                if len(rest) > _LINE_MAX:
                    raise BadFile(f"{opened.path} has no end of a line in {len(rest)} bytes", number)
                continue
            whole, rest = rest + piece[:cut], piece[cut:]
            yield partial(self._chunks, whole, number)
            number += whole.count(b"\n")
        if rest:
            yield partial(self._chunks, rest, number)
        elif number == self.first:
            raise BadFile(f"{opened.path} has no rows", str(opened.path))

    def _chunks(self, data: bytes, number: int) -> Iterable[UsageChunk]:
        return self.mapped.chunks(self.block(data, number))


def _reading_of_lines(opened: Opened, files: Files, maker: ChunkMaker) -> _Lines | None:
    """Return how a file of lines is read by blocks, or None where it must be read row by row."""
    head = opened.head.removeprefix(UTF8_MARK)
    mark = len(opened.head) - len(head)
    column_map = files.column_map
    if head.lstrip()[:1] in (b"{", b"["):
        if column_map is None or not column_map.counts_columns:
            return None
        return _Lines(
            MappedBlocks.of(column_map, opened.path, files, maker), JsonBlock, json_rows, 1, mark, False
        )
    line, newline, _ = head.partition(b"\n")
    if not newline or b'"' in line or not line.strip():
        return None
    columns = header_columns(line.removesuffix(b"\r"))
    column_map = column_map or (AZURE_MAP if set(columns) == AZURE_COLUMNS else canonical_map(columns))
    if column_map is None or not column_map.counts_columns:
        return None
    mapped = MappedBlocks.of(column_map, opened.path, files, maker)
    mapped.require_columns(columns)
    return _Lines(
        mapped,
        lambda data, number: CsvBlock(data, number, columns),
        lambda lines: csv_rows(columns, lines),
        2,
        mark + len(line) + 1,
        True,
    )


def _large_pieces(opened: Opened, skip: int) -> Iterator[bytes]:
    """Yield a file in large pieces, cut anywhere, without the first `skip` bytes of its head."""
    pieces, size = [opened.head[skip:]], 0
    while piece := opened.read():
        pieces.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join(pieces)


def _lines(pieces: Iterable[bytes], first: int) -> Iterator[NumberedLine]:
    """Yield numbered lines of pieces that are cut anywhere."""
    number, rest = first, b""
    for piece in pieces:
        cut = piece.rfind(b"\n") + 1
        if not cut:
            rest += piece
            continue
        whole, rest = rest + piece[:cut], piece[cut:]
        yield from split_lines(whole, itertools.count(number))
        number += whole.count(b"\n")
    if rest:
        yield from split_lines(rest, itertools.count(number))
