"""What a scan of usage files hands over: columns of some ten thousand calls, repeated texts numbered."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from meterbridge.domain.arrays import Bytes, Ints, Words
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.keccak import DIGEST_BYTES, ZERO32, keccak256
from meterbridge.domain.receipts import SOURCE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of a chunk come from.

    Attributes:
        file: its name.
        first_row: the number of the chunk's first row, from 1, as a person counts.
        row_numbers: the number of each row, where some were left out in between; None where none was.
    """

    file: str
    first_row: int
    row_numbers: Ints | None = None

    def row(self, index: int) -> int:
        """Return the number of a row of the chunk in its file."""
        return self.first_row + index if self.row_numbers is None else int(self.row_numbers[index])


@dataclass(frozen=True, slots=True)
class UsageChunk:
    """Calls of one tariff, measured on its meters, checked, and assigned to accounts.

    Attributes:
        origin: where the rows stand in their file.
        accounts: (n,) numbers of accounts, in the order in which the ledger opened them.
        sources: (n,) numbers in the seal's `Texts` of sources.
        details: (n,) numbers in the seal's `Texts` of canonical JSON; 0 is no details.
        occurred_at: (n,) milliseconds since 1970.
        usage: (n, 8) lanes.
        event_bytes: UTF-8 of all event ids, one after another.
        event_offsets: (n + 1,) where they begin in it; the first need not be 0.
    """

    origin: Origin
    accounts: Ints
    sources: Ints
    details: Ints
    occurred_at: Ints
    usage: Ints
    event_bytes: Bytes
    event_offsets: Ints

    def __len__(self) -> int:
        return len(self.occurred_at)


TEXTS_MAX: Final = 2**20
TEXT_CHARS_MAX: Final = 2**28
"""Different texts, and their characters, that one seal holds in memory."""


class Texts:
    """Texts that repeat, numbered in the order in which they are first seen; many threads may use it.

    Attributes:
        kind: what they are, in errors.
        values: text by number.
    """

    kind = "texts"

    def __init__(self, first: Iterable[str] = ()) -> None:
        """Begin with some texts."""
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._chars = 0
        self.values: list[str] = []
        self.numbers(first)

    def numbers(self, texts: Iterable[str]) -> Ints:
        """Return the number of each text; new ones get the next.

        Raises:
            OutOfBounds: when there are more than memory is meant for.
        """
        with self._lock:
            return np.fromiter((self._number(text) for text in texts), dtype=np.int64)

    def _number(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            self._chars += len(text)
            if len(self.values) >= TEXTS_MAX or self._chars > TEXT_CHARS_MAX:
                raise OutOfBounds(
                    f"there are more than {len(self.values):,} different {self.kind} in one seal, too many "
                    "to hold; leave out of the column map what is different in each call",
                    text[:80],
                )
            number = self._numbers[text] = len(self.values)
            self.values.append(text)
        return number


class Sources(Texts):
    """Who reported; with the bytes that stand before an event id in what is hashed (protocol, section 3)."""

    kind = "sources"

    def prefixes(self) -> tuple[Bytes, Ints]:
        """Return uint16(length) and text of every source one after another, and where each begins.

        Raises:
            OutOfBounds: when a source is longer than 65,535 bytes.
        """
        encoded = [text.encode() for text in self.values]
        for text, data in zip(self.values, encoded, strict=False):
            if len(data) > SOURCE_BYTES_MAX:
                raise OutOfBounds(f"source is {len(data)} bytes long; at most {SOURCE_BYTES_MAX}", text[:80])
        parts = [len(data).to_bytes(2, "big") + data for data in encoded]
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return np.frombuffer(b"".join(parts), dtype=np.uint8), offsets


class Details(Texts):
    """Canonical JSON of details; number 0 is none. With the hash of each."""

    kind = "details"

    def __init__(self) -> None:
        """Begin with no details."""
        self._hashes: list[bytes] = []
        super().__init__([""])

    def hashes(self) -> Words:
        """Return (d, 4) words: the hash of each text as its bytes stand in memory; zero for none."""
        with self._lock:
            for text in self.values[len(self._hashes) :]:
                self._hashes.append(keccak256(text.encode()) if text else ZERO32)
            data = np.frombuffer(b"".join(self._hashes), dtype=np.uint64)
        return data.reshape(-1, DIGEST_BYTES // 8)
