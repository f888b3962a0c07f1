"""The store of seals: written under a temporary name, synced and renamed, and never changed.

A seal counts once the ledger knows it; one that the ledger does not know is removed by the next sealing. One
whose files go to a store is announced in the folder before anything is put there, so that nothing is left
behind that nobody knows of: `.<number>.tmp` or `<number>` points to the store, which has the files there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from meterbridge.adapters.bulk.events import EventIndex, EventIndexWriter, open_events
from meterbridge.adapters.bulk.files import make_folder, sync
from meterbridge.adapters.bulk.layout import EVENTS, MANIFEST, NODES, part_name, seal_number, seals_folder
from meterbridge.adapters.bulk.manifest import Manifest, SealHeader, read_manifest, write_manifest
from meterbridge.adapters.bulk.parts import PartWriter, RowTexts
from meterbridge.adapters.bulk.stores import POINTER, SealFiles, Store, files_of, store_of, write_pointer
from meterbridge.adapters.segments import TARIFF, FolderSegments
from meterbridge.domain.arrays import Words
from meterbridge.domain.receipt_rows import Nodes
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.bulk.ports import SealedBatch
from meterbridge.services.exchange import canonical_json, tariff_record_to_json
from meterbridge.services.ledger_errors import Conflict, LedgerBehindSegments
from meterbridge.services.records import AccountRecord, LogKey, TariffRecord

_MOVERS: Final = 8


class SealFolder:
    """All seals below one folder of a local file system."""

    def __init__(
        self,
        folder: Path,
        known: Callable[[bytes], Sequence[str]],
        log_sizes: Callable[[bytes], Mapping[LogKey, int]],
        now: Callable[[], int],
        store: Store | None = None,
    ) -> None:
        """Use the folder of the segments.

        Args:
            folder: it need not exist yet.
            known: the names of a tariff's seals that the ledger knows.
            log_sizes: the sizes of a tariff's logs.
            now: the time in milliseconds since 1970.
            store: where new seals go instead; earlier ones are read where they are.
        """
        self._folder, self.store = folder, store
        self._known, self._log_sizes, self._now = known, log_sizes, now

    def onto(self, store: Store | None) -> SealFolder:
        """Return the same seals, of which new ones go to a store, or to the folder."""
        return SealFolder(self._folder, self._known, self._log_sizes, self._now, store)

    def last_store(self, tariff_id: bytes) -> str | None:
        """Return the URL of the store to which the last seal of a tariff went, or None for the folder."""
        for name in reversed(self._known(tariff_id)):
            store = self.store_of(name)
            return None if store is None else store.url
        return None

    @property
    def folder(self) -> Path:
        """The folder of the segments."""
        return self._folder

    def manifests(self, tariff_id: bytes) -> list[Manifest]:
        """Return all seals of a tariff that the ledger knows, in the order in which they were made.

        Raises:
            BadSegment: when one is missing or damaged.
        """
        return [self._manifest(name) for name in self._known(tariff_id)]

    def _manifest(self, name: str) -> Manifest:
        return read_manifest(self._files(name), name)

    def _files(self, name: str) -> SealFiles:
        return files_of(self._folder, name)

    def sweep(self, tariff_id: bytes) -> list[str]:
        """See `services.bulk.ports.SealStore`.

        Raises:
            LedgerBehindSegments: when the ledger lacks batches before those of a seal: it is older than they
                are, and removing the seal would lose receipts.
        """
        for path in self._base(tariff_id).glob(".*.tmp"):
            self._remove(path)
        known = set(self._known(tariff_id))
        orphans = [name for name in self._names(tariff_id) if name not in known]
        sizes = self._log_sizes(tariff_id) if orphans else {}
        for name in orphans:
            require_next(self._manifest(name), sizes)
        for name in orphans:
            self._remove(self._folder / name)
        return orphans

    def store_of(self, name: str) -> Store | None:
        """Return the store that has a seal, or None where the folder has it."""
        return store_of(self._folder / name)

    def _remove(self, path: Path) -> None:
        """Remove a seal, or what there is of it: from the store first, for the folder points there."""
        store = self.store_of(path.relative_to(self._folder).as_posix())
        if store is not None:
            store.remove(places_of(path.relative_to(self._folder).as_posix()))
        shutil.rmtree(path)

    def horizon(self, tariff_id: bytes, retention: int) -> int:
        """See `services.bulk.ports.SealStore`; counted from the last event, unless it lies in the future."""
        latest = [min(int(m.last_times.max()), m.sealed_at) for m in self.manifests(tariff_id)]
        return max([0, *(time - retention for time in latest)])

    def known_events(self, tariff_id: bytes, horizon: int) -> list[EventIndex]:
        """See `services.bulk.ports.SealStore`."""
        return [open_events(self._files(name), name) for name in self.recent(tariff_id, horizon)]

    def recent(self, tariff_id: bytes, horizon: int) -> list[str]:
        """Return the names of all seals with an event from `horizon` on."""
        return [m.name for m in self.manifests(tariff_id) if m.last_times.max() >= horizon]

    def begin(
        self,
        record: TariffRecord,
        accounts: Sequence[AccountRecord],
        sources: Sequence[str],
        details: Sequence[str],
    ) -> FolderSealWriter:
        """See `services.bulk.ports.SealStore`."""
        path = self.next_place(record)
        texts = RowTexts([str(account.key.payer) for account in accounts], sources, details)
        if self.store is not None:
            require_free(self.store, path.relative_to(self._folder).as_posix())
        return FolderSealWriter(self._folder, path, record, accounts, texts, self._now(), self.store)

    def next_place(self, record: TariffRecord) -> Path:
        """Return the folder of the next seal of a tariff, which is not there yet; that around it is."""
        FolderSegments(self._folder).put_tariff(record)
        base = self._base(record.id)
        make_folder(base)
        number = max(map(seal_number, self._names(record.id)), default=-1) + 1
        return base / f"{number:08d}"

    def _base(self, tariff_id: bytes) -> Path:
        return self._folder / seals_folder(tariff_id)

    def _names(self, tariff_id: bytes) -> list[str]:
        base = self._base(tariff_id)
        found = sorted((path for path in base.glob("*") if path.name.isdecimal()), key=lambda p: int(p.name))
        return [path.relative_to(self._folder).as_posix() for path in found]


def require_next(manifest: Manifest, sizes: Mapping[LogKey, int]) -> None:
    """Refuse to take a seal for an orphan whose batches are not the next ones of their logs.

    Raises:
        LedgerBehindSegments: when the ledger lacks batches before those of the seal.
    """
    for number in range(len(manifest.sizes)):
        batch = manifest.batch(number)
        size = sizes.get(batch.log, 0)
        if batch.seq != size:
            raise LedgerBehindSegments(
                f"seal {manifest.name} holds batch {batch.seq} of {batch.log.account.payer}, whose log "
                f"has {size}: the ledger is older than its segments; rebuild it from them",
                manifest.name,
            )


class FolderSealWriter:
    """One seal that is being written, in the folder even if it goes to a store in the end.

    Attributes:
        name: the seal's.
    """

    def __init__(
        self,
        root: Path,
        path: Path,
        record: TariffRecord,
        accounts: Sequence[AccountRecord],
        texts: RowTexts,
        now: int,
        store: Store | None,
    ) -> None:
        """Make the temporary folder."""
        self.name = path.relative_to(root).as_posix()
        self._path, self._temporary, self._store = path, path.with_name(f".{path.name}.tmp"), store
        self._temporary.mkdir()
        if store is not None:
            write_pointer(self._temporary, store)
        self._record, self._accounts, self._texts, self._now = record, accounts, texts, now
        self._events = EventIndexWriter(self._temporary / EVENTS)

    def part(self, number: int) -> PartWriter:
        """See `services.bulk.ports.SealWriter`."""
        return PartWriter(self._temporary / part_name(number), self._texts)

    def append_events(self, entries: Words) -> None:
        """See `services.bulk.ports.SealWriter`."""
        self._events.append(entries)

    def finish(self, plan: SealPlan, nodes: Nodes, batches: Sequence[SealedBatch]) -> None:
        """See `services.bulk.ports.SealWriter`."""
        self._events.close()
        path = self._temporary / NODES
        with path.open("wb") as file:
            file.write(nodes.data)
        sync(path)
        part_rows = [*(blocks[0].first for blocks in plan.parts()), plan.rows]
        header = SealHeader(self._record.domain, self._record.id, self._now, part_rows)
        write_manifest(self._temporary / MANIFEST, header, plan, self._accounts, self._texts.payers, batches)
        if self._store is not None:
            self._put(self._store)
        sync(self._temporary)
        self._temporary.rename(self._path)
        sync(self._path.parent)

    def _put(self, store: Store) -> None:
        """Put all files into the store, the manifest last, for without it there is no seal."""
        fs, base = store.open()
        files = [path for path in self._temporary.iterdir() if path.name != POINTER]
        put_tariff(store, self._record)
        fs.makedirs(f"{base}/{self.name}", exist_ok=True)
        with ThreadPoolExecutor(_MOVERS) as movers:
            others = (path for path in files if path.name != MANIFEST)
            list(movers.map(lambda path: fs.put_file(str(path), f"{base}/{self.name}/{path.name}"), others))
        fs.put_file(str(self._temporary / MANIFEST), f"{base}/{self.name}/{MANIFEST}")
        for path in files:
            path.unlink()

    def abandon(self) -> None:
        """See `services.bulk.ports.SealWriter`."""
        self._events.abandon()
        if self._store is not None and self._temporary.exists():
            self._store.remove([self.name])
        shutil.rmtree(self._temporary, ignore_errors=True)


def require_free(store: Store, name: str) -> None:
    """Refuse to write over a seal that is none of ours.

    Raises:
        Conflict: when the store has one of this name already.
    """
    fs, base = store.open()
    fs.invalidate_cache()
    if fs.exists(f"{base}/{name}/{MANIFEST}"):
        raise Conflict(
            f"{store.url} holds a seal {name} of which this ledger knows nothing: another ledger seals "
            "there, or this one was lost; use a store for each ledger",
            name,
        )


def put_tariff(store: Store, record: TariffRecord) -> None:
    """Keep a tariff beside its seals in a store."""
    fs, base = store.open()
    fs.makedirs(f"{base}/{seals_folder(record.id)}", exist_ok=True)
    fs.pipe_file(f"{base}/{record.id.hex()[:8]}/{TARIFF}", canonical_json(tariff_record_to_json(record)))


def places_of(name: str) -> list[str]:
    """Return where a store may have something of a seal: while it is made, and when it is whole."""
    base, _, last = name.rpartition("/")
    number = last.removeprefix(".").removesuffix(".tmp")
    return [f"{base}/.{number}.tmp", f"{base}/{number}"]
