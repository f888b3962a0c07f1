"""A bounded spool on disk: what could not be sent waits here, across restarts of the process."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from meterbridge.client.errors import SpoolFull

_SUFFIX: Final = ".ndjson"
_BAD: Final = ".refused"


class Spool:
    """Files of NDJSON in one folder; several processes may share it.

    A file is written under another name, synced and renamed: it is whole, or it is not there. Its events are
    removed only after the service has acknowledged them, so a crash in between sends them twice, which the
    service counts once.
    """

    def __init__(self, folder: Path, limit_bytes: int = 256 * 2**20) -> None:
        """Use a folder, which need not exist; it never holds more than `limit_bytes`."""
        self._folder = folder
        self._limit = limit_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, lines: Sequence[bytes]) -> None:
        """Keep lines durably.

        Raises:
            SpoolFull: when they would exceed the limit; they are kept nowhere.
        """
        data = b"".join(lines)
        if self.size() + len(data) > self._limit:
            raise SpoolFull(f"the spool in {self._folder} holds at most {self._limit} bytes", len(data))
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}{_SUFFIX}"
        temporary = self._folder / f".{name}.tmp"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / name)
        self._sync()

    def put_refused(self, lines: Sequence[bytes]) -> None:
        """Set lines aside that the service refuses, for a person to look at."""
        with (self._folder / f"events{_BAD}").open("ab") as file:
            file.writelines(lines)

    def size(self) -> int:
        """Return how many bytes wait."""
        total = 0
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue  # another process has just sent it
        return total

    def __len__(self) -> int:
        """Return how many files wait."""
        return sum(1 for _ in self._folder.glob(f"*{_SUFFIX}"))

    def oldest(self) -> tuple[Path, list[bytes]] | None:
        """Return the oldest file with its lines, or None."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                return path, path.read_bytes().splitlines(keepends=True)
            except FileNotFoundError:
                continue
        return None

    def remove(self, path: Path) -> None:
        """Remove a file whose events were acknowledged."""
        path.unlink(missing_ok=True)

    @contextmanager
    def draining(self) -> Iterator[bool]:
        """Give True to one process at a time: the others need not send the same files."""
        with (self._folder / ".lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
