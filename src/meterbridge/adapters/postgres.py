"""PostgreSQL: the same ledger when several processes share the work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.types.string import BytesBinaryDumper
from sqlalchemy import BigInteger, Connection, Engine, Integer, LargeBinary, Table, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.types import TypeEngine

from meterbridge.adapters.migrations import migrate
from meterbridge.adapters.sql.database import Database
from meterbridge.adapters.tables.base import UsageColumn
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.ledger_errors import LedgerBusy

_WRITER_LOCK: Final = 0x6D657465_72777274  # "meterwrt"
_MIGRATION_LOCK: Final = 0x6D657465_726D6967
_POLL_SECONDS: Final = 0.05
_CONNECT_SECONDS: Final = 5
_POOL: Final = 8


class BadDatabaseUrl(MeterbridgeError):
    """The URL does not name a PostgreSQL database."""


class PostgresDatabase(Database):
    """A PostgreSQL database; locks between processes are its advisory locks, freed when a session dies."""

    @classmethod
    def open(cls, url: str) -> PostgresDatabase:
        """Connect and bring the schema up to date; several processes may do so at once.

        Raises:
            BadDatabaseUrl: when it is not a PostgreSQL URL.
            SchemaTooNew: when a later version of Meterbridge wrote it.
        """
        engine = _engine(url)
        database = cls(engine, Path())
        with database.write() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            migrate(connection)
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a transaction that sees one state of the database."""
        engine = self.engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.begin() as connection:
            yield connection

    @contextmanager
    def sole_writer(self, timeout: float) -> Iterator[None]:
        """Hold the advisory lock of the one writer, in a session of its own.

        Raises:
            LedgerBusy: when it stays taken for `timeout` seconds.
        """
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            deadline = time.monotonic() + timeout
            while not _try_lock(connection):
                if time.monotonic() >= deadline:
                    raise LedgerBusy(
                        f"another process has been sealing, correcting or signing for {timeout:g} seconds; "
                        "wait for it, or stop it",
                        self.engine.url.database,
                    )
                time.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _WRITER_LOCK})


def _engine(url: str) -> Engine:
    found = make_url(url)
    if found.get_backend_name() != "postgresql":
        raise BadDatabaseUrl(
            f"{found.render_as_string(hide_password=True)} is no PostgreSQL URL; give postgresql://user@host/name",
            found.get_backend_name(),
        )
    return create_engine(
        found.set(drivername="postgresql+psycopg"),
        pool_size=_POOL,
        max_overflow=_POOL,
        pool_pre_ping=True,  # a restart of the database must not fail the first request after it
        connect_args={"connect_timeout": _CONNECT_SECONDS},
    )


def _try_lock(connection: Connection) -> bool:
    return bool(
        connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _WRITER_LOCK}).scalar_one()
    )


def copy_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Insert rows by binary COPY, several times faster than INSERT, in the connection's transaction.

    Raises:
        IntegrityError: when a key exists.
        OperationalError: for a deadlock or a lost connection.
    """
    names = ", ".join(columns)
    cursor = connection.connection.cursor()
    # By type's name the driver would find its dumper for DB-API's Binary, which is not compiled.
    cursor.adapters.register_dumper(bytes, BytesBinaryDumper)
    statement = f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)"
    try:
        with cursor.copy(statement) as copy:
            copy.set_types([_type_name(table.c[column].type) for column in columns])
            for row in rows:
                copy.write_row(row)
    except psycopg.errors.UniqueViolation as error:
        raise IntegrityError(statement, None, error) from error
    except psycopg.OperationalError as error:
        raise OperationalError(statement, None, error) from error


def _type_name(kind: TypeEngine[Any]) -> str:
    if isinstance(kind, BigInteger):
        return "int8"
    if isinstance(kind, Integer):
        return "int4"
    return "bytea" if isinstance(kind, LargeBinary | UsageColumn) else "text"
