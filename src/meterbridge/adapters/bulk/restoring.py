"""Putting seals back into a ledger that lost them; see `services.recovery`."""

from __future__ import annotations

from pathlib import Path

from meterbridge.adapters.bulk.checking import check_seal
from meterbridge.adapters.bulk.layout import MANIFEST, seal_number
from meterbridge.adapters.bulk.ledger import BulkSqlLedger
from meterbridge.adapters.bulk.manifest import Manifest, read_manifest
from meterbridge.adapters.bulk.stores import POINTER, files_of
from meterbridge.services.bulk.logs import sealed_batch
from meterbridge.services.ledger_errors import Conflict
from meterbridge.services.records import BatchRecord


class LostSeals:
    """The seals of a folder that a ledger does not know; see `services.recovery.Seals`."""

    def __init__(self, ledger: BulkSqlLedger, folder: Path) -> None:
        """Take the ledger, whose tariffs are known again, and the folder of its segments."""
        self._ledger, self._folder = ledger, folder
        known = {name for record in ledger.tariffs() for name in ledger.seal_names(record.id)}
        found = [path.parent for mark in (MANIFEST, POINTER) for path in folder.glob(f"*/bulk/*/{mark}")]
        paths = [path for path in found if path.name.isdecimal()]
        names = {path.relative_to(folder).as_posix() for path in paths} - known
        self._waiting = sorted(names, key=lambda name: (name.partition("/")[0], seal_number(name)))

    def restore_next(self) -> list[BatchRecord]:
        """Check and put back the first seal all of whose batches follow on; return them, or none.

        Raises:
            BadSegment: when it is damaged.
            Conflict: when the ledger has another batch in the place of one.
        """
        for name in self._waiting:
            manifest = read_manifest(files_of(self._folder, name), name)
            if self._follows_on(manifest):
                self._restore(check_seal(self._folder, name))
                self._waiting.remove(name)
                return [manifest.batch(number) for number in range(len(manifest.sizes))]
        return []

    @property
    def waiting(self) -> list[str]:
        """The names of those that follow on batches which are missing."""
        return self._waiting[:]

    def _follows_on(self, manifest: Manifest) -> bool:
        sizes = self._ledger.log_sizes(manifest.tariff_id)
        for number in range(len(manifest.sizes)):
            batch = manifest.batch(number)
            size = sizes.get(batch.log, 0)
            if batch.seq < size:
                payer = batch.log.account.payer
                reason = f"the ledger has another batch {batch.seq} of {payer} than seal {manifest.name}"
                raise Conflict(reason, manifest.name)
            if batch.seq > size:
                return False
        return True

    def _restore(self, manifest: Manifest) -> None:
        numbers = range(len(manifest.sizes))
        for number in numbers:
            account = manifest.account(number)
            self._ledger.open_account(account.key, account.blind, account.customer)
        frontiers = self._ledger.frontiers(manifest.tariff_id)
        batches = []
        for number in numbers:
            batch = manifest.batch(number)
            times = int(manifest.first_times[number]), int(manifest.last_times[number])
            batches.append(sealed_batch(batch, frontiers[batch.log.account.payer.raw], times))
        self._ledger.commit_seal(manifest.name, batches, self._ledger.known_events(manifest.tariff_id))
