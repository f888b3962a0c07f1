"""A ledger folder, opened for bulk sealing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from meterbridge.adapters.bulk.ledger import BulkSqlLedger
from meterbridge.adapters.bulk.seals import SealFolder
from meterbridge.adapters.bulk.spill import SpillFolder
from meterbridge.adapters.bulk.stores import Store
from meterbridge.adapters.ledger import DATABASE_NAME, SEGMENTS_NAME
from meterbridge.adapters.sql.database import Database
from meterbridge.services.bulk.sealing import MEMORY_BYTES, BulkSealing

SPILL_NAME: Final = "spill"


@dataclass(frozen=True, slots=True)
class BulkFolder:
    """The ledger and the seals of a folder."""

    ledger: BulkSqlLedger
    seals: SealFolder
    spilling: SpillFolder

    @property
    def sealing(self) -> BulkSealing:
        """Seal files into them."""
        return BulkSealing(self.ledger, self.seals, self.spilling)

    def onto(self, store: Store | None) -> BulkFolder:
        """Return the same, where new seals go to a store, or to the folder."""
        return replace(self, seals=self.seals.onto(store))


@contextmanager
def open_bulk(folder: Path) -> Iterator[BulkFolder]:
    """Open the ledger of a folder with its seals."""
    segments = folder / SEGMENTS_NAME
    ledger = BulkSqlLedger(Database.open_sqlite(folder / DATABASE_NAME), segments)
    seals = SealFolder(segments, ledger.seal_names, ledger.log_sizes, _now)
    with ledger:
        yield BulkFolder(ledger, seals, SpillFolder(folder / SPILL_NAME))


def default_memory() -> int:
    """Return how many bytes receipts may take in memory: 3 GiB, or half of what a smaller machine has."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not a system that tells
        return MEMORY_BYTES
    return min(MEMORY_BYTES, whole // 2)


def _now() -> int:
    return time.time_ns() // 1_000_000
