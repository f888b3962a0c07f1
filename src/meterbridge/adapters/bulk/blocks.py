"""Blocks: some ten thousand rows of a file, as Arrow columns and, where those will not do, row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from itertools import chain, count
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from meterbridge.adapters.formats.csv_rows import CsvRows
from meterbridge.adapters.formats.lines import LINE_BYTES_MAX
from meterbridge.adapters.formats.ndjson_rows import ndjson_rows
from meterbridge.adapters.formats.parquet_rows import exact_values
from meterbridge.adapters.formats.rows import BadRow, RawRow
from meterbridge.domain.arrays import Ints

NumberedLine = tuple[int, bytes | BadRow]


class Block(Protocol):
    """Rows that follow each other in a file.

    Attributes:
        first_row: number of the first, as in `UsageRow`.
        numbers: of each row, where others stood between them; None where none did.
    """

    @property
    def first_row(self) -> int:
        """The number of the first row."""

    @property
    def numbers(self) -> Ints | None:
        """The number of each row, where they do not just follow each other."""

    def table(self) -> Any | None:
        """Return a pyarrow Table with one line a row; None where only `rows` tells right."""

    def rows(self) -> Iterable[RawRow | BadRow]:
        """Return the rows one by one."""

    def row(self, index: int) -> RawRow | BadRow:
        """Return one row by its place in the table."""


@dataclass(frozen=True, slots=True)
class ParquetBlock:
    """A slice of a row group, or of what a connector read."""

    batch: Any
    first_row: int
    numbers: Ints | None = None

    def table(self) -> Any:
        """See `Block`."""
        return pa.Table.from_batches([self.batch])

    def rows(self) -> Iterator[RawRow]:
        """See `Block`."""
        names = self.batch.schema.names
        columns = [exact_values(column) for column in self.batch.columns]
        for number, cells in zip(_numbered(self), zip(*columns, strict=True), strict=False):
            yield RawRow(number, dict(zip(names, cells, strict=True)))

    def row(self, index: int) -> RawRow:
        """See `Block`."""
        return next(ParquetBlock(self.batch.slice(index, 1), _number_at(self, index)).rows())


@dataclass(frozen=True, slots=True)
class CsvBlock:
    """Whole lines of a CSV file without its header.

    Attributes:
        data: the lines, none empty but the last.
        columns: the header.
    """

    data: bytes
    first_row: int
    columns: Sequence[str]
    numbers: None = None

    def table(self) -> Any | None:
        """See `Block`: all cells are texts. Quotes and odd lines are left to the rows."""
        if b'"' in self.data or b"\0" in self.data:
            return None
        text = pa.string()
        try:
            found = pyarrow.csv.read_csv(
                pa.py_buffer(self.data),
                pyarrow.csv.ReadOptions(
                    use_threads=False, block_size=len(self.data) + 1, column_names=list(self.columns)
                ),
                pyarrow.csv.ParseOptions(quote_char=False),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(self.columns, text), null_values=[""], strings_can_be_null=True
                ),
            )
        except (pa.ArrowException, ValueError):  # the rows will say what is wrong
            return None
        return found if len(found) == _count_lines(self.data) else None

    def rows(self) -> Iterator[RawRow | BadRow]:
        """See `Block`."""
        return csv_rows(self.columns, split_lines(self.data, count(self.first_row)))

    def row(self, index: int) -> RawRow | BadRow:
        """See `Block`."""
        line = self.data.split(b"\n", index + 1)[index].removesuffix(b"\r")
        return next(csv_rows(self.columns, [(self.first_row + index, line)]))


@dataclass(frozen=True, slots=True)
class JsonBlock:
    """Whole lines of NDJSON."""

    data: bytes
    first_row: int
    numbers: Ints | None = None

    def table(self) -> Any | None:
        """See `Block`; nested objects become columns with dotted names, and texts stay texts."""
        if not self.data or not _is_plain(self.data):
            return None
        try:
            found = pyarrow.json.read_json(
                BytesIO(self.data),
                pyarrow.json.ReadOptions(use_threads=False, block_size=len(self.data) + 1),
                pyarrow.json.ParseOptions(explicit_schema=pa.schema(_texts_of(self._first_object()))),
            )
        except (pa.ArrowException, ValueError, RecursionError):
            return None
        if len(found) != _count_lines(self.data):
            return None
        while any(pa.types.is_struct(field.type) for field in found.schema):
            found = found.flatten()
        # Texts that look like times, in a column whose first row has none.
        return None if any(pa.types.is_temporal(field.type) for field in found.schema) else found

    def _first_object(self) -> dict[str, Any]:
        found = json.loads(self.data[: self.data.find(b"\n") + 1 or None])
        return found if isinstance(found, dict) else {}

    def rows(self) -> Iterator[RawRow | BadRow]:
        """See `Block`."""
        return json_rows(split_lines(self.data, _numbered(self)))

    def row(self, index: int) -> RawRow | BadRow:
        """See `Block`."""
        line = self.data.split(b"\n", index + 1)[index]
        return next(json_rows([(_number_at(self, index), line)]))


def csv_rows(columns: Sequence[str], lines: Iterable[NumberedLine]) -> Iterator[RawRow | BadRow]:
    """Read lines as rows of a CSV file with this header."""
    header = StringIO()
    csv.writer(header, lineterminator="").writerow(columns)
    first: NumberedLine = (1, header.getvalue().encode())
    return iter(CsvRows(cast(Any, chain([first], lines))))


def header_columns(line: bytes) -> list[str]:
    """Return the columns of a CSV header without quotes.

    Raises:
        BadFile: when it is unreadable, or names a column twice or not at all.
    """
    return CsvRows(cast(Any, [(1, line)])).columns


def json_rows(lines: Iterable[NumberedLine]) -> Iterator[RawRow | BadRow]:
    """Read lines as rows of NDJSON."""
    return ndjson_rows(cast(Any, lines))


def split_lines(data: bytes, numbers: Iterable[int]) -> Iterator[NumberedLine]:
    """Yield whole lines without their ends, with their numbers."""
    for number, line in zip(numbers, data.removesuffix(b"\n").split(b"\n"), strict=False):
        if len(line) > LINE_BYTES_MAX:
            yield number, BadRow(number, line[:80], f"the line is longer than {LINE_BYTES_MAX} bytes")
        else:
            yield number, line.removesuffix(b"\r")


def _texts_of(value: dict[str, Any]) -> list[Any]:
    """Return the fields of an object that are texts: left to itself, Arrow makes times of some."""
    found = []
    for name, cell in value.items():
        if isinstance(cell, str):
            found.append(pa.field(name, pa.string()))
        elif isinstance(cell, dict) and (inner := _texts_of(cell)):
            found.append(pa.field(name, pa.struct(inner)))
    return found


def _is_plain(data: bytes) -> bool:
    """Say whether each line is one object or several, and nothing is there that only Arrow lets pass.

    Arrow reads values whatever lines they are on, passes over blank lines, ends the process at a first line
    that holds null, and looks neither at the encoding nor at the length of lines. Lines that begin and end as
    an object does hold whole ones; where a line holds two, their count is not that of the lines.
    """
    if b"NaN" in data or b"Inf" in data:  # within a text too: that costs time and no more
        return False
    try:
        data.isascii() or data.decode()
    except UnicodeDecodeError:
        return False
    text = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    if lengths.min() < len(b"{}") or lengths.max() > LINE_BYTES_MAX:
        return False
    last = np.where(text[ends - 1] == ord("\r"), text[ends - 2], text[ends - 1])
    return bool((text[starts] == ord("{")).all() and (last == ord("}")).all())


def _numbered(block: Block) -> Iterable[int]:
    return count(block.first_row) if block.numbers is None else block.numbers.tolist()


def _number_at(block: Block, index: int) -> int:
    return block.first_row + index if block.numbers is None else int(block.numbers[index])


def _count_lines(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n"))
