"""Blocks: some ten thousand rows of a file, as Arrow columns and, where those will not do, row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from itertools import chain, count
from typing import Any, Protocol, cast

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
        """See `Block`; nested objects become columns with dotted names."""
        if not _one_object_a_line(self.data):
            return None
        try:
            found = pyarrow.json.read_json(
                BytesIO(self.data), pyarrow.json.ReadOptions(use_threads=False, block_size=len(self.data) + 1)
            )
        except (pa.ArrowException, ValueError):
            return None
        if len(found) != _count_lines(self.data):
            return None
        while any(pa.types.is_struct(field.type) for field in found.schema):
            found = found.flatten()
        return found

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


def _numbered(block: Block) -> Iterable[int]:
    return count(block.first_row) if block.numbers is None else block.numbers.tolist()


def _number_at(block: Block, index: int) -> int:
    return block.first_row + index if block.numbers is None else int(block.numbers[index])


def _count_lines(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n"))


def _one_object_a_line(data: bytes) -> bool:
    """Say whether each line begins and ends as an object does, so that no object goes on in the next.

    Arrow reads values whatever lines they are on, passes over blank lines, and ends the process at a first
    line that holds null. Lines that hold two objects are told by their count.
    """
    lines = _count_lines(data)
    begins = data.startswith(b"{") + data.count(b"\n{")
    ends = data.count(b"}\n") + data.count(b"}\r\n") + data.endswith(b"}")
    return begins == lines and ends == lines
