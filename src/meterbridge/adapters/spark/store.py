"""The seals of a ledger as Spark writes them: in a folder that all workers share, or behind an fsspec URL.

Both look the same, and like those of one machine. A seal's files are made below `.<number>.tmp/attempts`; the
driver moves the attempts it heard of into place, the manifest last, and only then does the ledger learn of
the seal. What the ledger does not know is removed by the next sealing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from meterbridge.adapters.bulk.events import EventIndex, Readable
from meterbridge.adapters.bulk.files import sync
from meterbridge.adapters.bulk.layout import EVENTS, MANIFEST, seal_number, seals_folder
from meterbridge.adapters.bulk.manifest import Manifest, read_manifest
from meterbridge.adapters.bulk.seals import SealFolder, require_next
from meterbridge.adapters.spark.files import (
    ATTEMPTS,
    Attempts,
    LocalAttempts,
    RemoteAttempts,
    open_store,
    remove_folder,
)
from meterbridge.services.exchange import canonical_json, tariff_record_to_json
from meterbridge.services.records import LogKey, TariffRecord

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
        return EventIndex(self.path, lambda url: _open_remote(url, self.options or {}))


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


class SparkSeals(Protocol):
    """All seals of a ledger; see `services.bulk.ports.SealStore`."""

    def sweep(self, tariff_id: bytes) -> list[str]:
        """Remove what an interrupted sealing left; return the names."""

    def horizon(self, tariff_id: bytes, retention: int) -> int:
        """Return the time before which events cannot be told to be new."""

    def indexes(self, tariff_id: bytes, horizon: int) -> list[IndexPlace]:
        """Return the indexes of all seals with an event from `horizon` on."""

    def begin(self, record: TariffRecord) -> SealDraft:
        """Begin a seal."""


class FolderSeals:
    """Seals in a folder."""

    def __init__(self, seals: SealFolder) -> None:
        """Use the store of one machine."""
        self._seals = seals
        self.sweep, self.horizon = seals.sweep, seals.horizon

    def indexes(self, tariff_id: bytes, horizon: int) -> list[IndexPlace]:
        """See `SparkSeals`."""
        folder = self._seals.folder.resolve()
        return [IndexPlace(str(folder / name / EVENTS)) for name in self._recent(tariff_id, horizon)]

    def begin(self, record: TariffRecord) -> FolderDraft:
        """See `SparkSeals`."""
        return FolderDraft(self._seals.folder.resolve(), self._seals.next_place(record).resolve())

    def _recent(self, tariff_id: bytes, horizon: int) -> list[str]:
        return [m.name for m in self._seals.manifests(tariff_id) if m.last_times.max() >= horizon]


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
        sync(self._temporary)
        self._temporary.rename(self._path)
        sync(self._path.parent)

    def abandon(self) -> None:
        """See `SealDraft`."""
        remove_folder(self._temporary)


class RemoteSeals:
    """Seals behind an fsspec URL."""

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any],
        known: Callable[[bytes], Sequence[str]],
        log_sizes: Callable[[bytes], Mapping[LogKey, int]],
    ) -> None:
        """Use a URL as the folder of segments; the rest is as for `SealFolder`."""
        self._url, self._options = url.rstrip("/"), options
        self._known, self._log_sizes = known, log_sizes
        self._fs, self._base = open_store(url, options)

    def sweep(self, tariff_id: bytes) -> list[str]:
        """See `SparkSeals`; what has no manifest never was a seal."""
        for path in self._folders(tariff_id):
            if path.rpartition("/")[2].startswith("."):
                self._fs.rm(path, recursive=True)
        known = set(self._known(tariff_id))
        orphans = [name for name in self._names(tariff_id) if name not in known]
        sizes = self._log_sizes(tariff_id) if orphans else {}
        for name in orphans:
            if self._fs.exists(f"{self._base}/{name}/{MANIFEST}"):
                require_next(self._manifest(name), sizes)
        for name in orphans:
            self._fs.rm(f"{self._base}/{name}", recursive=True)
        return orphans

    def horizon(self, tariff_id: bytes, retention: int) -> int:
        """See `SparkSeals`."""
        found = [self._manifest(name) for name in self._known(tariff_id)]
        return max([0, *(min(int(m.last_times.max()), m.sealed_at) - retention for m in found)])

    def indexes(self, tariff_id: bytes, horizon: int) -> list[IndexPlace]:
        """See `SparkSeals`."""
        found = (self._manifest(name) for name in self._known(tariff_id))
        names = [m.name for m in found if m.last_times.max() >= horizon]
        return [IndexPlace(f"{self._url}/{name}/{EVENTS}", self._options) for name in names]

    def begin(self, record: TariffRecord) -> RemoteDraft:
        """See `SparkSeals`."""
        self._fs.makedirs(f"{self._base}/{seals_folder(record.id)}", exist_ok=True)
        data = canonical_json(tariff_record_to_json(record))
        self._fs.pipe_file(f"{self._base}/{record.id.hex()[:8]}/tariff.json", data)
        number = max(map(seal_number, self._names(record.id)), default=-1) + 1
        return RemoteDraft(self._url, self._options, f"{seals_folder(record.id)}/{number:08d}")

    def _manifest(self, name: str) -> Manifest:
        with tempfile.TemporaryDirectory(prefix="meterbridge-") as folder:
            path = Path(folder) / MANIFEST
            self._fs.get_file(f"{self._base}/{name}/{MANIFEST}", str(path))
            return read_manifest(path, name)

    def _folders(self, tariff_id: bytes) -> list[str]:
        base = f"{self._base}/{seals_folder(tariff_id)}"
        self._fs.invalidate_cache()
        if not self._fs.exists(base):
            return []
        return [str(path).rstrip("/") for path in self._fs.ls(base, detail=False)]

    def _names(self, tariff_id: bytes) -> list[str]:
        last = (path.rpartition("/")[2] for path in self._folders(tariff_id))
        return [f"{seals_folder(tariff_id)}/{number}" for number in sorted(last) if number.isdecimal()]


class RemoteDraft:
    """A seal that is being written behind a URL; see `SealDraft`."""

    def __init__(self, url: str, options: Mapping[str, Any], name: str) -> None:
        """Make the temporary folder, where the store has folders."""
        self.name = name
        base, _, number = name.rpartition("/")
        self._url, self._options = url, options
        self._fs, root = open_store(url, options)
        self._path, self._attempts = f"{root}/{name}", f"{root}/{base}/.{number}.tmp/{ATTEMPTS}"
        self._attempts_url = f"{url}/{base}/.{number}.tmp/{ATTEMPTS}"
        self._fs.makedirs(self._attempts, exist_ok=True)
        self.attempts: Attempts = RemoteAttempts(self._attempts_url, options)

    def index(self, attempt: str) -> IndexPlace:
        """See `SealDraft`."""
        return IndexPlace(f"{self._attempts_url}/{attempt}", self._options)

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
        self._remove(self._attempts.rpartition("/")[0])

    def abandon(self) -> None:
        """See `SealDraft`."""
        self._remove(self._attempts.rpartition("/")[0])
        self._remove(self._path)

    def _remove(self, path: str) -> None:
        self._fs.invalidate_cache()
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)


@dataclass(frozen=True, slots=True)
class _RemoteFile:
    """A file of a store, read in ranges."""

    fs: Any
    path: str

    @property
    def size(self) -> int:
        return int(self.fs.size(self.path))

    def read(self, start: int, count: int) -> bytes:
        return bytes(self.fs.cat_file(self.path, start, start + count)) if count else b""


@contextmanager
def _open_remote(url: str, options: Mapping[str, Any]) -> Iterator[Readable]:
    fs, path = open_store(url, options)
    yield _RemoteFile(fs, path)
