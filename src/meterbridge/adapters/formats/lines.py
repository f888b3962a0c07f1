"""Files as lines: gzip, byte order marks, line ends, and a bound on memory whatever the file holds."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meterbridge.adapters.formats.errors import BadFile
from meterbridge.adapters.formats.rows import BadRow

CHUNK_BYTES: Final = 1 << 16
LINE_BYTES_MAX: Final = 1 << 20
"""A longer line is no usage record; it is skipped without being held."""
GZIP_MAGIC: Final = b"\x1f\x8b"
PARQUET_MAGIC: Final = b"PAR1"
UTF8_MARK: Final = b"\xef\xbb\xbf"
WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class Opened:
    """A file that is open, through gzip where its content says so.

    Attributes:
        path: the file.
        packed: whether it is gzip.
        head: its first bytes, unpacked.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            BadFile: when it cannot be opened, is empty, is damaged from its start, or is UTF-16 or UTF-32.
        """
        self.path = path
        try:
            self._raw = path.open("rb")
        except OSError as error:
            raise BadFile(f"cannot read {path}: {error.strerror or error}", str(path)) from error
        try:
            self.packed = self._raw.peek(2)[:2] == GZIP_MAGIC
            self._stream = gzip.GzipFile(fileobj=self._raw) if self.packed else self._raw
            self.head = self.read()
            if not self.head:
                raise BadFile(f"{path} is empty", str(path))
            if self.head.startswith(WIDE_MARKS):
                raise BadFile(f"{path} is UTF-16 or UTF-32; save it as UTF-8", self.head[:2], 1)
        except BaseException:
            self._raw.close()
            raise

    def read(self) -> bytes:
        """Return the next bytes, as soon as there are any; none at the end.

        Raises:
            BadFile: when the file is damaged or breaks off here.
        """
        try:
            return self._stream.read1(CHUNK_BYTES)
        except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
            raise BadFile(f"{self.path} is damaged or breaks off: {error}", str(self.path)) from error

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


class Lines:
    """The physical lines of a stream, without their ends, numbered from 1 as an editor does.

    Iterating yields (number, bytes), or (number, BadRow) for a line that is too long and for the point where
    a damaged file breaks off, which is the last.
    """

    def __init__(self, file: Opened) -> None:
        """Take an open file that nobody has read from."""
        self._file = file

    def __iter__(self) -> Iterator[tuple[int, bytes | BadRow]]:
        number, rest, dropped = 1, b"", 0
        chunk = self._file.head.removeprefix(UTF8_MARK)
        while chunk:
            *whole, last = chunk.split(b"\n")
            for piece in whole:
                line, rest = rest + piece, b""
                too_long = dropped + len(line) > LINE_BYTES_MAX
                yield number, _too_long(number, line) if too_long else line.removesuffix(b"\r")
                number, dropped = number + 1, 0
            rest += last
            if len(rest) > LINE_BYTES_MAX:
                dropped, rest = dropped + len(rest), rest[:CHUNK_BYTES]
            try:
                chunk = self._file.read()
            except BadFile as error:
                # What was read of the line is no line: its end is missing, and a count may be cut in two.
                yield number, BadRow(number, rest[:80], f"{error}; this row and all after it are left out")
                return
        if rest:
            yield number, _too_long(number, rest) if dropped else rest


def _too_long(number: int, line: bytes) -> BadRow:
    return BadRow(number, line[:80], f"the line is longer than {LINE_BYTES_MAX} bytes")


def decode(number: int, line: bytes) -> str | BadRow:
    """Return a line's text, or what is wrong with its bytes."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        found = line[max(0, error.start - 20) : error.start + 20]
        reason = f"byte {error.start + 1} is 0x{line[error.start]:02x}; the text must be UTF-8"
        return BadRow(number, found, reason)
    if "\0" in text:
        at = text.index("\0")
        return BadRow(
            number, text[max(0, at - 20) : at + 20], f"character {at + 1} is NUL; is this a text file?"
        )
    return text
