"""Where the files of a seal are: in the ledger's folder, or in a store behind an fsspec URL.

A seal in a store leaves a file in the ledger's folder that points there, at the place where its own files
would be. So whoever has the folder finds every seal, and they are numbered together, wherever they are. What
a store must be told to let us in (keys, an endpoint) is in METERBRIDGE_STORE_OPTIONS, not in the pointer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from meterbridge.adapters.bulk.files import sync
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.ledger_errors import BadSegment

POINTER: Final = "store.json"
OPTIONS_VARIABLE: Final = "METERBRIDGE_STORE_OPTIONS"
_LOCAL: Final = ("file", "local")
_S3: Final = "s3"


class StoreUnreachable(MeterbridgeError):
    """The store of the segments cannot be used from here."""


def environment_options() -> dict[str, Any]:
    """Return what the environment says that stores need.

    Raises:
        StoreUnreachable: when that is no JSON object.
    """
    return parse_options(os.environ.get(OPTIONS_VARIABLE) or "{}", OPTIONS_VARIABLE)


def parse_options(text: str, said_by: str) -> dict[str, Any]:
    """Return the options of a store from JSON.

    Raises:
        StoreUnreachable: when it is no JSON object, naming what said it.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise StoreUnreachable(f"{said_by} is not JSON: {error}", said_by) from error
    if not isinstance(found, dict):
        raise StoreUnreachable(f"{said_by} is not a JSON object", said_by)
    return found


class Readable(Protocol):
    """A file that is read here and there."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def read(self, start: int, count: int) -> bytes:
        """Return bytes from a place on, fewer at its end."""


@dataclass(frozen=True, slots=True)
class Store:
    """A place for segments behind a URL.

    Attributes:
        url: any that fsspec opens, without a slash at its end.
        options: what fsspec needs to open it; by default what the environment says.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=environment_options)

    def open(self) -> tuple[Any, str]:
        """Return the file system and the path in it; see `open_store`."""
        return open_store(self.url, self.options)

    def remove(self, names: Sequence[str]) -> None:
        """Remove folders, if they are there."""
        fs, base = self.open()
        fs.invalidate_cache()
        for path in (f"{base}/{name}" for name in names):
            if fs.exists(path):
                fs.rm(path, recursive=True)


class SealFiles(Protocol):
    """The files of one seal."""

    def whole(self, name: str) -> bytes:
        """Return a small file."""

    def part(self, name: str) -> Any:
        """Return what pyarrow opens as a Parquet file."""

    def open(self, name: str) -> AbstractContextManager[Readable]:
        """Open a file for reading."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """A seal in the ledger's folder."""

    folder: Path

    def whole(self, name: str) -> bytes:
        """See `SealFiles`."""
        return (self.folder / name).read_bytes()

    def part(self, name: str) -> Any:
        """See `SealFiles`."""
        return self.folder / name

    def open(self, name: str) -> AbstractContextManager[Readable]:
        """See `SealFiles`."""
        return open_local(self.folder / name)


@dataclass(frozen=True, slots=True)
class StoreFiles:
    """A seal in a store.

    Attributes:
        seal: its name.
    """

    store: Store
    seal: str

    def whole(self, name: str) -> bytes:
        """See `SealFiles`."""
        fs, base = self.store.open()
        return bytes(fs.cat_file(f"{base}/{self.seal}/{name}"))

    def part(self, name: str) -> Any:
        """See `SealFiles`: ranges are fetched as they are asked for."""
        fs, base = self.store.open()
        return fs.open(f"{base}/{self.seal}/{name}", "rb", cache_type="none")

    def open(self, name: str) -> AbstractContextManager[Readable]:
        """See `SealFiles`."""
        return open_remote(f"{self.store.url}/{self.seal}/{name}", self.store.options)


def files_of(folder: Path, seal: str) -> SealFiles:
    """Return the files of a seal by its name below the folder of the segments, wherever they are.

    Raises:
        BadSegment: when its pointer is damaged.
    """
    store = store_of(folder / seal)
    return LocalFiles(folder / seal) if store is None else StoreFiles(store, seal)


def store_of(place: Path) -> Store | None:
    """Return the store that a folder points to, or None where the folder itself holds the files."""
    pointer = place / POINTER
    try:
        found = json.loads(pointer.read_bytes())
        return Store(str(found["url"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BadSegment(f"{pointer} names no store: {error!r}", str(pointer)) from error


def write_pointer(place: Path, store: Store) -> None:
    """Let a folder point to a store, durably."""
    path = place / POINTER
    path.write_text(json.dumps({"url": store.url}) + "\n", encoding="utf-8")
    sync(path)
    sync(place)


def open_store(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of an fsspec URL and the path in it.

    Where s3fs is not installed, Arrow's own client of S3 takes its place, with options of its own
    (`endpoint_override`, `access_key`, `secret_key`, `region`, ...).

    Raises:
        StoreUnreachable: naming what to install, or what the store said.
    """
    try:
        import fsspec
    except ImportError as error:
        raise StoreUnreachable(
            'stores behind URLs need fsspec: pip install "meterbridge[spark]"', url
        ) from error
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        if not url.startswith(f"{_S3}://"):
            raise StoreUnreachable(f"{url} cannot be opened: {error}", url) from error
        fs, path = _arrow_s3(url, options)
    except (ValueError, OSError) as error:
        raise StoreUnreachable(f"{url} cannot be opened: {error}", url) from error
    return fs, str(path).rstrip("/")


def _arrow_s3(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    try:
        from meterbridge.adapters.bulk.arrow_s3 import open_arrow_s3
    except ImportError as error:  # a build of Arrow without S3
        raise StoreUnreachable(f"{url} cannot be opened: {error}; pip install s3fs", url) from error
    return open_arrow_s3(url, dict(options)), url.removeprefix(f"{_S3}://")


def is_local(url: str) -> bool:
    """Tell whether a store is a plain folder."""
    scheme, mark, _ = url.partition("://")
    return not mark or scheme in _LOCAL


class _LocalFile:
    """An open file of this machine."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, start: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, start)


@contextmanager
def open_local(path: Path | str) -> Iterator[Readable]:
    """Open a file of this machine for reading."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield _LocalFile(descriptor)
    finally:
        os.close(descriptor)


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
def open_remote(url: str, options: Mapping[str, Any]) -> Iterator[Readable]:
    """Open a file of a store for reading."""
    fs, path = open_store(url, options)
    yield _RemoteFile(fs, path)
