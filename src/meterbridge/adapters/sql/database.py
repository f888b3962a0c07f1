"""One database: how it is opened, locked and migrated."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Insert,
    Row,
    Select,
    Table,
    UpdateBase,
    create_engine,
    event,
    insert,
)
from sqlalchemy.dialects import postgresql, sqlite

from meterbridge.adapters.migrations import migrate
from meterbridge.services.ledger_errors import LedgerBusy

T = TypeVar("T")
SqlRow: TypeAlias = Row[*tuple[Any, ...]]
SqlSelect: TypeAlias = Select[*tuple[Any, ...]]
BUSY_SECONDS: Final = 30
PARAMETERS_MAX: Final = 5_000
"""Values in one IN list: below SQLite's limit of 32,766."""
_POLL_SECONDS: Final = 0.02
_WRITES: Final = "meterbridge_writes"


class Database:
    """An engine with two kinds of transactions and a lock between processes."""

    def __init__(self, engine: Engine, lock_file: Path) -> None:
        """Take an engine whose schema is up to date."""
        self.engine: Final = engine
        self._writers = engine.execution_options(**{_WRITES: True})
        self._lock_file = lock_file

    @classmethod
    def open_sqlite(cls, path: Path) -> Database:
        """Open or create a SQLite database and bring its schema up to date.

        Raises:
            SchemaTooNew: when a later version of Meterbridge wrote it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        # It holds the blinds of all logs. What SQLite lays beside it gets the same mode.
        path.touch(mode=0o600)
        engine = create_engine(f"sqlite:///{path}")
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin_sqlite)
        database = cls(engine, path.with_name(path.name + ".lock"))
        with database.write() as connection:
            migrate(connection)
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a transaction that sees one state of the database."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction that may write; it commits at the end or, on any error, never happened."""
        with self._writers.begin() as connection:
            yield connection

    @contextmanager
    def sole_writer(self, timeout: float) -> Iterator[None]:
        """Hold a lock between processes; the kernel frees it when a process dies, however it dies.

        Raises:
            LedgerBusy: when it stays taken for `timeout` seconds.
        """
        with self._lock_file.open("ab") as file:
            deadline = time.monotonic() + timeout
            while not _try_lock(file.fileno()):
                if time.monotonic() >= deadline:
                    raise LedgerBusy(
                        f"another process has been sealing or signing in {self._lock_file.parent} "
                        f"for {timeout:g} seconds; wait for it, or stop it",
                        str(self._lock_file),
                    )
                time.sleep(_POLL_SECONDS)
            yield  # closing the file frees the lock

    def insert_or_skip(self, table: Table) -> Insert:
        """Return an INSERT that leaves out rows whose key exists."""
        if self.engine.dialect.name == "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing()
        return sqlite.insert(table).on_conflict_do_nothing()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, DDL included
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",  # what is committed survives a power cut
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: two that begin by reading could each wait for the other.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def execute_many(
    connection: Connection, statement: UpdateBase, names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> int:
    """Run a statement once for each row of plain values; return how many rows of the table it touched.

    Goes to the driver past SQLAlchemy's work on each value, which takes longer than the database's: values
    must be what the driver takes (bytes, whole numbers, texts), in the order of `names`.
    """
    if not rows:
        return 0
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(names))
    if not compiled.positional:
        return connection.exec_driver_sql(
            str(compiled), [dict(zip(names, row, strict=True)) for row in rows]
        ).rowcount
    if list(compiled.positiontup or ()) != list(names):
        raise ValueError(f"the statement takes {compiled.positiontup}, not {list(names)}")
    return connection.exec_driver_sql(str(compiled), rows).rowcount


def insert_row(connection: Connection, table: Table, **values: Any) -> int:
    """Insert one row and return the number that the database gave it."""
    key = connection.execute(insert(table), values).inserted_primary_key
    if key is None:
        raise LookupError(f"{table.name} gives its rows no key")
    return int(key[0])


def in_slices(values: Sequence[T], size: int = PARAMETERS_MAX) -> Iterator[Sequence[T]]:
    """Cut values into slices that fit one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
