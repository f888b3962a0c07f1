"""What keeps anvil and its state in order however the process that started it ends."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LOOK_SECONDS: Final = 1.0


def die_with_parent() -> Callable[[], None] | None:
    """Return what a child runs first, so that the kernel ends it when its parent dies; only Linux can.

    The signal is SIGTERM, on which anvil writes its state.
    """
    if sys.platform != "linux":
        return None
    library, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def prepare() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was told
            os._exit(1)

    return prepare


class AnvilState:
    """The file in which anvil keeps its chain, and the last whole copy of it.

    Anvil writes over its file in place. Where it is killed in the middle of that, half a file is left; then
    the copy is taken.

    Attributes:
        file: anvil's own.
        copy: made whenever the file was found whole.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder."""
        self.file: Final = folder / "anvil.json"
        self.copy: Final = folder / "anvil-last-whole.json"
        self._seen: tuple[int, int] | None = None

    def restore(self) -> None:
        """Put the copy in the place of a file that is not whole; keep what was there beside it."""
        if self.file.exists() and not _is_whole(self.file) and self.copy.exists():
            self.file.replace(self.file.with_suffix(".broken"))
            shutil.copyfile(self.copy, self.file)

    @contextmanager
    def kept_safe(self) -> Iterator[None]:
        """Copy the file whenever it has changed, while the block runs."""
        stopped = threading.Event()

        def watch() -> None:
            while not stopped.wait(_LOOK_SECONDS):
                self._copy_if_changed()

        watcher = threading.Thread(target=watch, name="anvil state", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stopped.set()
            watcher.join()

    def _copy_if_changed(self) -> None:
        try:
            found = self.file.stat()
        except FileNotFoundError:
            return
        now = (found.st_mtime_ns, found.st_size)
        if now == self._seen:
            return
        fresh = self.copy.with_suffix(".new")
        shutil.copyfile(self.file, fresh)
        if _is_whole(fresh):
            fresh.replace(self.copy)
            self._seen = now
        else:
            fresh.unlink()  # it was being written; the next look finds it whole


def _is_whole(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_bytes()), dict)
    except ValueError:
        return False
