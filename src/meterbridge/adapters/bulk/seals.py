"""The store of seals: written under a temporary name, synced and renamed, and never changed.

A seal counts once the ledger knows it; one that the ledger does not know is removed by the next sealing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from meterbridge.adapters.bulk.events import EventIndex, EventIndexWriter
from meterbridge.adapters.bulk.files import make_folder, sync
from meterbridge.adapters.bulk.layout import EVENTS, MANIFEST, NODES, part_name, seal_number, seals_folder
from meterbridge.adapters.bulk.manifest import Manifest, SealHeader, read_manifest, write_manifest
from meterbridge.adapters.bulk.parts import PartWriter, RowTexts
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.arrays import Words
from meterbridge.domain.receipt_rows import Nodes
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.bulk.ports import SealedBatch
from meterbridge.services.ledger_errors import LedgerBehindSegments
from meterbridge.services.records import AccountRecord, LogKey, TariffRecord


class SealFolder:
    """All seals below one folder of a local file system."""

    def __init__(
        self,
        folder: Path,
        known: Callable[[bytes], Sequence[str]],
        log_sizes: Callable[[bytes], Mapping[LogKey, int]],
        now: Callable[[], int],
    ) -> None:
        """Use the folder of the segments.

        Args:
            folder: it need not exist yet.
            known: the names of a tariff's seals that the ledger knows.
            log_sizes: the sizes of a tariff's logs.
            now: the time in milliseconds since 1970.
        """
        self._folder = folder
        self._known, self._log_sizes, self._now = known, log_sizes, now

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
        return read_manifest(self._folder / name / MANIFEST, name)

    def sweep(self, tariff_id: bytes) -> list[str]:
        """See `services.bulk.ports.SealStore`.

        Raises:
            LedgerBehindSegments: when the ledger lacks batches before those of a seal: it is older than they
                are, and removing the seal would lose receipts.
        """
        for path in self._base(tariff_id).glob(".*.tmp"):
            shutil.rmtree(path)
        known = set(self._known(tariff_id))
        orphans = [name for name in self._names(tariff_id) if name not in known]
        sizes = self._log_sizes(tariff_id) if orphans else {}
        for name in orphans:
            require_next(self._manifest(name), sizes)
        for name in orphans:
            shutil.rmtree(self._folder / name)
        return orphans

    def horizon(self, tariff_id: bytes, retention: int) -> int:
        """See `services.bulk.ports.SealStore`; counted from the last event, unless it lies in the future."""
        latest = [min(int(m.last_times.max()), m.sealed_at) for m in self.manifests(tariff_id)]
        return max([0, *(time - retention for time in latest)])

    def known_events(self, tariff_id: bytes, horizon: int) -> list[EventIndex]:
        """See `services.bulk.ports.SealStore`."""
        return [
            EventIndex(self._folder / manifest.name / EVENTS)
            for manifest in self.manifests(tariff_id)
            if manifest.last_times.max() >= horizon
        ]

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
        return FolderSealWriter(self._folder, path, record, accounts, texts, self._now())

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
    """One seal that is being written.

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
    ) -> None:
        """Make the temporary folder."""
        self.name = path.relative_to(root).as_posix()
        self._path, self._temporary = path, path.with_name(f".{path.name}.tmp")
        self._temporary.mkdir()
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
        sync(self._temporary)
        self._temporary.rename(self._path)
        sync(self._path.parent)

    def abandon(self) -> None:
        """See `services.bulk.ports.SealWriter`."""
        self._events.abandon()
        shutil.rmtree(self._temporary, ignore_errors=True)
