"""The index of a seal's events: sorted keys, 24 bytes each, searched on disk.

Each entry is three words as they stand in memory: twelve bytes of the event's key as a big-endian number,
four of the account's number in its seal, eight of the receipt's leaf. Behind them stand the fences, the first
word of every 256th entry, and the number of entries. Only the fences are held in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from meterbridge.adapters.bulk.files import sync
from meterbridge.adapters.bulk.layout import EVENTS
from meterbridge.adapters.bulk.stores import Readable, SealFiles, open_local
from meterbridge.domain.arrays import Words
from meterbridge.services.ledger_errors import BadSegment

ENTRY_WORDS: Final = 3
ENTRY_BYTES: Final = 24
WINDOW: Final = 256
_WORD_BYTES: Final = 8
_GAP: Final = 16  # windows that are read in passing rather than by another call
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)


class EventIndexWriter:
    """Appends sorted entries; durable when `close` returns."""

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self._path = path
        self._file = path.open("wb")
        self._size = 0
        self._fences: list[Words] = []

    def append(self, entries: Words) -> None:
        """Append (n, 3) entries; none is before an earlier one."""
        self._file.write(np.ascontiguousarray(entries).data)
        self._fences.append(entries[-self._size % WINDOW :: WINDOW, 0].copy())
        self._size += len(entries)

    def abandon(self) -> None:
        """Close the file as it is; it is no index then."""
        self._file.close()

    def close(self) -> None:
        """Finish the file and wait until the disk has it."""
        for fences in self._fences:
            self._file.write(fences.data)
        self._file.write(self._size.to_bytes(_WORD_BYTES, "little"))
        self._file.close()
        sync(self._path)


Opening = Callable[[Any], AbstractContextManager[Readable]]


class EventIndex:
    """One seal's index; its file is open only while it is read."""

    def __init__(self, path: Path | str, opening: Opening = open_local) -> None:
        """Read the fences.

        Args:
            path: the file.
            opening: opens it.

        Raises:
            BadSegment: when the file is not as long as it says.
        """
        self._path, self._opening = path, opening
        with opening(path) as file:
            total = file.size
            size = file.read(max(0, total - _WORD_BYTES), _WORD_BYTES)
            self.size: Final = int.from_bytes(size, "little")
            fences = -(-self.size // WINDOW) * _WORD_BYTES
            if total != self.size * ENTRY_BYTES + fences + _WORD_BYTES:
                raise BadSegment(f"the index of events {path} is damaged: it has {total} bytes", total)
            data = file.read(self.size * ENTRY_BYTES, fences)
        self._fences = np.frombuffer(data, dtype=np.uint64)

    def around(self, firsts: Words) -> Words:
        """Return (m, 3) entries, sorted, among them all that have one of these first words.

        Args:
            firsts: (n,) ascending.
        """
        if not self.size or not len(firsts):
            return np.empty((0, ENTRY_WORDS), dtype=np.uint64)
        before = np.searchsorted(self._fences, firsts, "left") - 1  # equal words may begin a window earlier
        behind = np.searchsorted(self._fences, firsts, "right") - 1
        windows = np.unique(np.concatenate([_steps(before), _steps(behind)]).clip(0))
        runs = np.split(windows, np.flatnonzero(np.diff(windows) > _GAP) + 1)
        with self._opening(self._path) as file:
            return np.concatenate([self._read(file, int(run[0]), int(run[-1]) + 1) for run in runs])

    def find(self, key: bytes) -> tuple[int, bytes] | None:
        """Return the account's number and the leaf's first eight bytes of an event by its 16-byte key."""
        high, low = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:12], "big")
        entries = self.around(np.array([high], dtype=np.uint64))
        alike = (entries[:, 0] == np.uint64(high)) & (entries[:, 1] >> _HALF == np.uint64(low))
        for entry in entries[alike]:
            return int(entry[1] & _LOW), entry[2].tobytes()
        return None

    def _read(self, file: Readable, first: int, stop: int) -> Words:
        start, end = first * WINDOW, min(self.size, stop * WINDOW)
        data = file.read(start * ENTRY_BYTES, (end - start) * ENTRY_BYTES)
        return np.frombuffer(data, dtype=np.uint64).reshape(-1, ENTRY_WORDS)


def open_events(files: SealFiles, seal: str) -> EventIndex:
    """Open the index of a seal by its files and its name."""
    return EventIndex(f"{seal}/{EVENTS}", lambda _path: files.open(EVENTS))


def _steps(ascending: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the values of an ascending column, each once."""
    steps: npt.NDArray[np.intp] = ascending[np.diff(ascending, prepend=-2) != 0]
    return steps
