"""The seals of a ledger as Spark writes them: to a folder that all workers share, or behind an fsspec URL.

Both look the same, and like those of one machine. A seal's files are made below `.<number>.tmp/attempts`; the
driver moves the attempts it heard of into place, the manifest last, and only then does the ledger learn of
the seal. What the ledger does not know is removed by the next sealing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from meterbridge.adapters.bulk.events import EventIndex
from meterbridge.adapters.bulk.files import sync
from meterbridge.adapters.bulk.layout import EVENTS, MANIFEST
from meterbridge.adapters.bulk.seals import SealFolder, places_of, put_tariff, require_free
from meterbridge.adapters.bulk.stores import Store, open_remote, write_pointer
from meterbridge.adapters.spark.files import ATTEMPTS, Attempts, LocalAttempts, RemoteAttempts, remove_folder
from meterbridge.services.records import TariffRecord

_MOVERS: Final = 8


@dataclass(frozen=True, slots=True)
class IndexPlace:
    """Where a task finds an index of events."""

    path: str
    options: Mapping[str, Any] | None = None

    def open(self) -> EventIndex:
        """Open it: of a remote one only what is asked for is fetched."""
        if self.options is None:
            return EventIndex(self.path)
        return EventIndex(self.path, lambda url: open_remote(url, self.options or {}))


class SealDraft(Protocol):
    """A seal that is being written.

    Attributes:
        name: the seal's.
        attempts: where tasks put its files.
    """

    name: str
    attempts: Attempts

    def index(self, attempt: str) -> IndexPlace:
        """Return where tasks find an attempt at an index of events."""

    def finish(self, files: Mapping[str, str], write_manifest: Callable[[Path], None]) -> None:
        """Give the named attempts their final names, add the manifest, and wait until all is durable."""

    def abandon(self) -> None:
        """Remove all of it."""


class SparkSeals:
    """All seals of a ledger; new ones go where those of one machine would go."""

    def __init__(self, seals: SealFolder) -> None:
        """Use the store of one machine."""
        self._seals = seals
        self.sweep, self.horizon = seals.sweep, seals.horizon

    def indexes(self, tariff_id: bytes, horizon: int) -> list[IndexPlace]:
        """Return the indexes of all seals with an event from `horizon` on."""
        return [self._index(name) for name in self._seals.recent(tariff_id, horizon)]

    def _index(self, name: str) -> IndexPlace:
        store = self._seals.store_of(name)
        if store is None:
            return IndexPlace(str(self._seals.folder.resolve() / name / EVENTS))
        return IndexPlace(f"{store.url}/{name}/{EVENTS}", store.options)

    def begin(self, record: TariffRecord) -> SealDraft:
        """Begin a seal."""
        root, path = self._seals.folder.resolve(), self._seals.next_place(record).resolve()
        if self._seals.store is None:
            return FolderDraft(root, path)
        return RemoteDraft(root, path, self._seals.store, record)


class FolderDraft:
    """A seal that is being written to a folder; see `SealDraft`."""

    def __init__(self, root: Path, path: Path) -> None:
        """Make the temporary folder."""
        self.name = path.relative_to(root).as_posix()
        self._path, self._temporary = path, path.with_name(f".{path.name}.tmp")
        self._attempts = self._temporary / ATTEMPTS
        self._attempts.mkdir(parents=True, mode=0o700)
        self.attempts: Attempts = LocalAttempts(str(self._attempts))

    def index(self, attempt: str) -> IndexPlace:
        """See `SealDraft`."""
        return IndexPlace(str(self._attempts / attempt))

    def finish(self, files: Mapping[str, str], write_manifest: Callable[[Path], None]) -> None:
        """See `SealDraft`."""
        for name, attempt in files.items():
            (self._attempts / attempt).rename(self._temporary / name)
        remove_folder(self._attempts)
        write_manifest(self._temporary / MANIFEST)
        _rename(self._temporary, self._path)

    def abandon(self) -> None:
        """See `SealDraft`."""
        remove_folder(self._temporary)


class RemoteDraft:
    """A seal that is being written to a store; see `SealDraft`. The folder points to it from the start."""

    def __init__(self, root: Path, path: Path, store: Store, record: TariffRecord) -> None:
        """Make the temporary folders, here and, where it has folders, in the store."""
        self.name = path.relative_to(root).as_posix()
        require_free(store, self.name)
        self._pointing, self._temporary = path, path.with_name(f".{path.name}.tmp")
        self._temporary.mkdir(mode=0o700)
        write_pointer(self._temporary, store)
        self._store, (self._making, _) = store, places_of(self.name)
        self._fs, base = store.open()
        put_tariff(store, record)
        self._path, self._attempts = f"{base}/{self.name}", f"{base}/{self._making}/{ATTEMPTS}"
        self._attempts_url = f"{store.url}/{self._making}/{ATTEMPTS}"
        self._fs.makedirs(self._attempts, exist_ok=True)
        self.attempts: Attempts = RemoteAttempts(self._attempts_url, store.options)

    def index(self, attempt: str) -> IndexPlace:
        """See `SealDraft`."""
        return IndexPlace(f"{self._attempts_url}/{attempt}", self._store.options)

    def finish(self, files: Mapping[str, str], write_manifest: Callable[[Path], None]) -> None:
        """See `SealDraft`; the manifest is put last, for without it there is no seal."""
        self._fs.makedirs(self._path, exist_ok=True)
        with ThreadPoolExecutor(_MOVERS) as movers:
            moves = [
                movers.submit(self._fs.mv, f"{self._attempts}/{attempt}", f"{self._path}/{name}")
                for name, attempt in files.items()
            ]
        for move in moves:
            move.result()
        with tempfile.TemporaryDirectory(prefix="meterbridge-") as folder:
            write_manifest(Path(folder) / MANIFEST)
            self._fs.put_file(str(Path(folder) / MANIFEST), f"{self._path}/{MANIFEST}")
        self._store.remove([self._making])
        _rename(self._temporary, self._pointing)

    def abandon(self) -> None:
        """See `SealDraft`."""
        if self._temporary.exists():
            self._store.remove([self._making, self.name])
        remove_folder(self._temporary)


def _rename(temporary: Path, path: Path) -> None:
    sync(temporary)
    temporary.rename(path)
    sync(path.parent)
