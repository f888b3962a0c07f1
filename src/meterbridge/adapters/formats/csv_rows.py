"""CSV: a header line, commas, double quotes; one row a record."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from typing import Final

from meterbridge.adapters.formats.errors import BadFile
from meterbridge.adapters.formats.lines import LINE_BYTES_MAX, Lines, decode
from meterbridge.adapters.formats.rows import BadRow, RawRow, snippet

RECORD_LINES_MAX: Final = 100
"""A quoted cell may span lines; one that spans more is a quote that was never closed."""

OPEN: Final = "open"
"""The problem of a record whose quote has not closed yet."""

Record = tuple[int, list[str] | BadRow]


class CsvRows:
    """The rows of a CSV file, each a header's columns and their cells; an empty cell is None.

    Attributes:
        columns: the header.
    """

    def __init__(self, lines: Lines) -> None:
        """Read the header.

        Raises:
            BadFile: when there is none, or it is unreadable, or names a column twice or not at all.
        """
        self._lines = iter(lines)
        self._again = deque[tuple[int, bytes | BadRow]]()
        self._width: int | None = None
        self._records = self._read_records()
        number, header = next(self._records, (1, None))
        if header is None:
            raise BadFile("the file holds nothing but blank lines", None)
        if isinstance(header, BadRow):
            raise BadFile(f"the header cannot be read: {header.reason}", header.value, header.row_number)
        self.columns = [name.strip(" ") for name in header]
        _require_header(number, self.columns)
        self._width = len(self.columns)

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        columns, width = self.columns, len(self.columns)
        for number, cells in self._records:
            if isinstance(cells, BadRow):
                yield cells
            elif len(cells) != width:
                reason = f"the row has {len(cells)} cells; the header has {width}"
                yield BadRow(number, ",".join(cells)[:80], reason)
            else:
                yield RawRow(number, dict(zip(columns, [cell or None for cell in cells], strict=True)))

    def _read_records(self) -> Iterator[Record]:
        """Yield records, each under the number of its first line; blank lines are none."""
        while (item := self._next_line()) is not None:
            number, line = item
            text = line if isinstance(line, BadRow) else decode(number, line)
            if isinstance(text, BadRow):
                yield number, text
            elif '"' not in text:
                if text and not text.isspace():
                    yield number, text.split(",")
            else:
                yield number, self._quoted(number, text)

    def _next_line(self) -> tuple[int, bytes | BadRow] | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _quoted(self, number: int, text: str) -> list[str] | BadRow:
        """Parse a record with quotes in it, over as many lines as they span.

        A quote that never closes costs its own line only: the lines read in search of its end are read again,
        also where a later quote seems to close it and the cells do not fit the header.
        """
        record, ahead = text, list[tuple[int, bytes | BadRow]]()
        cells, problem = _parse(record)
        while problem == OPEN and len(ahead) < RECORD_LINES_MAX and len(record) < LINE_BYTES_MAX:
            item = self._next_line()
            if item is None:
                break
            ahead.append(item)
            more = item[1] if isinstance(item[1], BadRow) else decode(item[0], item[1])
            if isinstance(more, BadRow):
                break
            record = f"{record}\n{more}"
            cells, problem = _parse(record)
        if cells is not None and (not ahead or self._width in (None, len(cells))):
            return cells
        self._again.extendleft(reversed(ahead))
        reason = f"the quotes are wrong: {problem}" if problem and problem != OPEN else "a quote never closes"
        return BadRow(number, text[:80], reason)


def _require_header(number: int, columns: list[str]) -> None:
    for position, name in enumerate(columns, 1):
        if not name:
            raise BadFile(f"column {position} of the header has no name", ",".join(columns)[:80], number)
        if columns.index(name) != position - 1:
            raise BadFile(f"column {name!r} stands twice in the header; which of them counts?", name, number)
        for separator in (";", "\t", "\r"):
            if separator in name:
                found = {";": "semicolons", "\t": "tabs", "\r": "bare carriage returns"}[separator]
                reason = (
                    f"the header {snippet(name)} holds {found}: separate columns by commas, lines by newlines"
                )
                raise BadFile(reason, name, number)


def _parse(record: str) -> tuple[list[str] | None, str]:
    try:
        return next(csv.reader([record], strict=True), []), ""
    except csv.Error as error:
        return None, OPEN if "unexpected end of data" in str(error) else str(error)
