"""The ledger of a folder: SQLite by default, one database for registry, usage and assets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from meterbridge.adapters.bulk.known import SealsOfFolder
from meterbridge.adapters.sql.alerts import SqlAlerts
from meterbridge.adapters.sql.assets import SqlAssets
from meterbridge.adapters.sql.database import Database
from meterbridge.adapters.sql.following import SqlFollowing
from meterbridge.adapters.sql.guarding import SqlGuarding
from meterbridge.adapters.sql.outbox import SqlOutbox
from meterbridge.domain.tariffs import Tariff
from meterbridge.services.settling.records import Delivery

if TYPE_CHECKING:
    from meterbridge.adapters.segments import FolderSegments

DATABASE_NAME: Final = "ledger.db"
SEGMENTS_NAME: Final = "segments"


class SqlLedger(SqlGuarding, SqlAssets, SqlOutbox, SqlFollowing, SqlAlerts):
    """Everything that `ports.Ledger` asks for, on one database.

    Each call is one transaction; what a call has returned from survives a crash and a power cut.
    """

    seals: SealsOfFolder | None = None

    def tariff_of(self, delivery: Delivery) -> Tariff:
        """See `services.settling.ports.Outbox`."""
        return self.tariff(delivery.tariff_id).tariff

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> SqlLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def segments_beside(ledger: SqlLedger, folder: Path) -> FolderSegments:
    """Return the segments of a ledger's folder; ledger and segments read seals through one reader."""
    from meterbridge.adapters.segments import FolderSegments  # brings Arrow along

    seals = ledger.seals
    return FolderSegments(folder / SEGMENTS_NAME, None if seals is None else lambda: seals.reader)


def open_ledger(folder: Path) -> SqlLedger:
    """Open the ledger of a folder, creating the folder and the database where they are missing.

    Raises:
        SchemaTooNew: when a later version of Meterbridge wrote it.
    """
    ledger = SqlLedger(Database.open_sqlite(folder / DATABASE_NAME))
    ledger.seals = SealsOfFolder(folder / SEGMENTS_NAME)
    return ledger
