"""Where tasks put what they write: a folder that all of them see, or the store behind an fsspec URL.

Each attempt at a file has a name of its own, so that a task which is run twice, retried or speculative,
never touches what another wrote. The driver takes the attempts that it heard of and removes all others.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from meterbridge.adapters.bulk.files import sync
from meterbridge.adapters.bulk.stores import StoreUnreachable, open_store

ATTEMPTS: Final = "attempts"


class Attempts(Protocol):
    """A place for files that are being made; tasks get a copy of this."""

    def writing(self, name: str) -> Any:
        """Give the path at which to write a file; it is kept, durably, when the block ends well."""

    def reading(self, attempt: str) -> Any:
        """Give a local path at which an attempt can be read, within the block."""


@dataclass(slots=True)
class Attempt:
    """One attempt at a file: where to write it, and the name under which it is found again."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class LocalAttempts:
    """Attempts below a folder that every worker sees at the same path."""

    folder: str

    @contextmanager
    def writing(self, name: str) -> Iterator[Attempt]:
        """See `Attempts`."""
        attempt = _new(name)
        path = Path(self.folder) / attempt
        if not path.parent.is_dir():
            raise StoreUnreachable(
                f"{path.parent} is not there on worker {os.uname().nodename}: give a folder that all workers "
                "share, or a store with --store URL",
                self.folder,
            )
        yield Attempt(attempt, path)
        sync(path)

    @contextmanager
    def reading(self, attempt: str) -> Iterator[Path]:
        """See `Attempts`."""
        yield Path(self.folder) / attempt


@dataclass(frozen=True, slots=True)
class RemoteAttempts:
    """Attempts below an fsspec URL: written on the worker's disk, then put where they belong in one go."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def writing(self, name: str) -> Iterator[Attempt]:
        """See `Attempts`."""
        attempt = _new(name)
        with tempfile.TemporaryDirectory(prefix="meterbridge-") as folder:
            path = Path(folder) / attempt
            yield Attempt(attempt, path)
            fs, base = open_store(self.url, self.options)
            fs.put_file(str(path), f"{base}/{attempt}")

    @contextmanager
    def reading(self, attempt: str) -> Iterator[Path]:
        """See `Attempts`."""
        with tempfile.TemporaryDirectory(prefix="meterbridge-") as folder:
            path = Path(folder) / attempt
            fs, base = open_store(self.url, self.options)
            fs.get_file(f"{base}/{attempt}", str(path))
            yield path


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, also while late tasks still write there."""
    shutil.rmtree(path, ignore_errors=True)


def _new(name: str) -> str:
    return f"{name}.{uuid.uuid4().hex}"
