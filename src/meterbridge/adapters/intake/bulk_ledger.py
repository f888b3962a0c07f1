"""The ledger of a busy service: new receipts go in without being looked up first, past the ORM.

Nearly every request brings only new events. So they are inserted as new; the index's constraint tells when
one is not, the transaction is rolled back, and the ledger's careful way tells which. Identity rests on the
same constraint either way.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Table, event
from sqlalchemy.exc import IntegrityError, OperationalError

from meterbridge.adapters.ledger import DATABASE_NAME, SqlLedger
from meterbridge.adapters.postgres import PostgresDatabase, copy_rows
from meterbridge.adapters.sql.database import Database
from meterbridge.adapters.sql.receipts import (
    INDEX,
    INDEX_NAMES,
    PENDING,
    PENDING_NAMES,
    event_keys,
    grow_totals,
    index_rows,
    pending_rows,
)
from meterbridge.domain.units import UsageVector
from meterbridge.services.ledger_errors import Conflict
from meterbridge.services.records import ADDED, Intake

_RETRIED: Final = frozenset({"40001", "40P01"})  # PostgreSQL: serialisation failure, deadlock
TURNS_NAME: Final = "ledger.turns"
_CACHE_KIB: Final = 131_072
_CHECKPOINT_PAGES: Final = 16_384
"""A checkpoint every 64 MiB: each costs two syncs and a pass over the pages that changed."""


class BulkLedger(SqlLedger):
    """A ledger that many requests write to.

    Args:
        turns: a file on which the processes that share a SQLite database queue up for writing. SQLite itself
            lets waiters sleep and try again, so that one of them may wait for seconds.
    """

    def __init__(self, database: Database, turns: Path | None = None) -> None:
        """Work on an open database."""
        super().__init__(database)
        self._turns = None if turns is None else os.open(turns, os.O_RDWR | os.O_CREAT, 0o644)

    def close(self) -> None:
        """Close the database and the file of turns."""
        super().close()
        if self._turns is not None:
            os.close(self._turns)
            self._turns = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._turns is None:
            yield
            return
        fcntl.flock(self._turns, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    def add_receipts(
        self, intake: Intake, headroom: UsageVector, *, whole: bool = False
    ) -> npt.NDArray[np.int8]:
        """See `ports.UsageLedger`.

        Raises:
            Conflict: when another process stores some of the same receipts at this moment; try again.
        """
        keys = intake.keys or event_keys(intake.table.sources, intake.table.event_ids)
        if not whole and self._add_as_new(intake, headroom, keys):
            return np.full(len(keys), ADDED, dtype=np.int8)
        try:
            return super().add_receipts(intake, headroom, whole=whole)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) in _RETRIED:
                raise Conflict("another process holds what this needs; try again") from error
            raise

    def _add_as_new(self, intake: Intake, headroom: UsageVector, keys: Sequence[bytes]) -> bool:
        tariff = self._tariff_row(intake.tariff_id)
        logs = np.array([self._log_row(log) for log in intake.logs], dtype=np.int64)[intake.log_of]
        everything = np.arange(len(keys), dtype=np.int64)
        try:
            with self._turn(), self._database.write() as connection:
                if self.seals is not None and self.seals.contents(connection, tariff, keys, intake.contents):
                    return False
                rows = logs.tolist()
                _insert(connection, INDEX, INDEX_NAMES, index_rows(tariff, rows, keys, intake))
                _insert(connection, PENDING, PENDING_NAMES, pending_rows(rows, intake.table))
                grow_totals(connection, logs, intake.table.receipts.usage, everything, headroom)
        except IntegrityError:
            return False
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) in _RETRIED:
                return False
            raise
        return True


def open_bulk_sqlite(folder: Path) -> tuple[BulkLedger, Database]:
    """Open a folder's SQLite ledger for a service, with a cache that suits a large index."""
    database = Database.open_sqlite(folder / DATABASE_NAME)
    event.listen(database.engine, "connect", _tune_sqlite)
    database.engine.dispose()  # connections that are open already were not tuned
    return BulkLedger(database, folder / TURNS_NAME), database


def open_bulk_postgresql(url: str) -> tuple[BulkLedger, Database]:
    """Open a ledger on PostgreSQL, for several processes."""
    database = PostgresDatabase.open(url)
    return BulkLedger(database), database


def _tune_sqlite(connection: Any, _record: Any) -> None:
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")


def _insert(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    if connection.dialect.name == "postgresql":
        copy_rows(connection, table, columns, rows)
        return
    marks = ", ".join("?" * len(columns))
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})", list(rows)
    )
