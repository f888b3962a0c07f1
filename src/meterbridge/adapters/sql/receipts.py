"""Receipts in SQL: what awaits sealing, and the index that counts everything once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, LargeBinary, bindparam, func, insert, select, type_coerce, update

from meterbridge.adapters.sql.database import SqlRow, execute_many, in_slices
from meterbridge.adapters.sql.registry import ACCOUNTS, LOGS, SqlRegistry
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.usage import PendingReceiptRow, ReceiptIndexRow, SealedReceiptRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.arrays import cells, joined
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.receipts import ReceiptColumns
from meterbridge.domain.receipts import receipt_id as id_of_event
from meterbridge.domain.units import INT64_MAX, LANES, USAGE_BYTES, UsageVector
from meterbridge.services.ledger_errors import Conflict, HeadroomExceeded, UnknownAccount
from meterbridge.services.records import (
    ADDED,
    CONFLICT,
    REPEATED,
    AccountKey,
    Intake,
    LogKey,
    LogKind,
    Pending,
    Place,
    ReceiptTable,
)

INDEX: Final = table_of(ReceiptIndexRow)
PENDING: Final = table_of(PendingReceiptRow)
_RAW_USAGE: Final = type_coerce(PENDING.c.usage, LargeBinary)  # bulk reads make columns, not vectors
SEALED: Final = table_of(SealedReceiptRow)
INDEX_NAMES: Final = ("tariff", "event_key", "log", "content")
PENDING_NAMES: Final = (
    "log",
    "receipt_id",
    "occurred_at",
    "usage",
    "details_hash",
    "source",
    "event_id",
    "details",
)
_PENDING_COLUMNS: Final = (
    PENDING.c.arrival,
    PENDING.c.receipt_id,
    PENDING.c.occurred_at,
    _RAW_USAGE.label("usage"),
    PENDING.c.details_hash,
    PENDING.c.source,
    PENDING.c.event_id,
    PENDING.c.details,
)


class SealedElsewhere(Protocol):
    """Receipts that were sealed at once, of which the index has no rows."""

    def contents(
        self, connection: Connection, tariff: int, keys: Sequence[bytes], contents: Sequence[bytes]
    ) -> dict[bytes, bytes]:
        """Return, by event key, the contents of those that are sealed: the given one where it is the same."""

    def find(self, connection: Connection, log: LogKey, receipt_id: bytes) -> Place | None:
        """Tell where a receipt is."""

    def locate(
        self, connection: Connection, tariff: int, source: str, event_id: str
    ) -> tuple[LogKey, bytes] | None:
        """Return the log and the receipt id of an event, whoever pays for it."""


class SqlReceipts(SqlRegistry):
    """Receipts by identity. Bulk work is Core and columns; no object is made for a receipt.

    Attributes:
        seals: knows what was sealed at once; whoever opens the ledger sets it.
    """

    seals: SealedElsewhere | None = None

    def add_receipts(
        self, intake: Intake, headroom: UsageVector, *, whole: bool = False
    ) -> npt.NDArray[np.int8]:
        """See `ports.UsageLedger`."""
        tariff = self._tariff_row(intake.tariff_id)
        logs = [self._log_row(log) for log in intake.logs]
        keys = intake.keys or event_keys(intake.table.sources, intake.table.event_ids)
        with self._database.write() as connection:
            known = _known_contents(connection, tariff, keys)
            if self.seals is not None:  # asked within the transaction, so that no seal comes in between
                known |= self.seals.contents(connection, tariff, keys, intake.contents)
            outcome = _outcomes(keys, intake.contents, known)
            if whole and (outcome == CONFLICT).any():
                return outcome
            fresh = np.flatnonzero(outcome == ADDED)
            log_of = np.array(logs, dtype=np.int64)[intake.log_of]
            rows = log_of.tolist()
            pending = _rows_at(pending_rows(rows, intake.table), fresh)
            self._insert_new(connection, index_rows(tariff, rows, keys, intake, fresh), pending)
            grow_totals(connection, log_of[fresh], intake.table.receipts.usage[fresh], fresh, headroom)
        return outcome

    def _insert_new(
        self, connection: Connection, index: Sequence[tuple[Any, ...]], pending: Sequence[tuple[Any, ...]]
    ) -> None:
        added = execute_many(connection, self._database.insert_or_skip(INDEX), INDEX_NAMES, index)
        if added != len(index):  # never on SQLite, where one writer holds the database
            raise Conflict("another process stored some of these receipts just now; try again", added)
        execute_many(connection, insert(PENDING), PENDING_NAMES, pending)

    def replace_pending(self, log: LogKey, arrival: int, table: ReceiptTable) -> None:
        """See `ports.UsageLedger`."""
        row = self._log_row(log)
        values = dict(zip(PENDING_NAMES, next(pending_rows([row], table)), strict=True))
        same = (
            PENDING.c.arrival == arrival,
            PENDING.c.log == row,
            PENDING.c.receipt_id == values["receipt_id"],
        )
        with self._database.write() as connection:
            before = connection.execute(select(_RAW_USAGE).where(*same)).scalar_one_or_none()
            if before is None:
                raise Conflict("the receipt is not pending any more; correct it as a sealed one", arrival)
            total = connection.execute(select(LOGS.c.total).where(LOGS.c.id == row)).scalar_one()
            after = UsageVector.from_bytes(values["usage"])
            total = total - UsageVector.from_bytes(bytes(before)) + after
            connection.execute(update(LOGS).where(LOGS.c.id == row).values(total=total))
            connection.execute(update(PENDING).where(*same).values(**values))

    def find(self, log: LogKey, receipt_id: bytes) -> Place | None:
        """See `ports.UsageLedger`."""
        row = self._log_row(log)
        sealed = select(SEALED.c.seq, SEALED.c.batch_row)
        waiting = select(PENDING.c.arrival).where(PENDING.c.log == row, PENDING.c.receipt_id == receipt_id)
        with self._database.read() as connection:
            place = connection.execute(
                sealed.where(SEALED.c.log == row, SEALED.c.receipt_id == receipt_id)
            ).one_or_none()
            if place is not None:
                return Place(None, place.seq, place.batch_row)
            arrival = connection.execute(waiting).scalar_one_or_none()
            if arrival is not None:
                return Place(arrival, None, None)
            return None if self.seals is None else self.seals.find(connection, log, receipt_id)

    def locate(self, tariff_id: bytes, source: str, event_id: str) -> tuple[LogKey, bytes] | None:
        """See `ports.UsageLedger`."""
        query = (
            select(LOGS.c.kind, ACCOUNTS.c.payer, ACCOUNTS.c.blind)
            .join(LOGS, LOGS.c.id == INDEX.c.log)
            .join(ACCOUNTS, ACCOUNTS.c.id == LOGS.c.account)
            .where(
                INDEX.c.tariff == self._tariff_row(tariff_id),
                INDEX.c.event_key == event_keys([source], [event_id])[0],
            )
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
            if row is None and self.seals is not None:
                return self.seals.locate(connection, self._tariff_row(tariff_id), source, event_id)
        if row is None:
            return None
        account = AccountKey(self._domain(tariff_id), tariff_id, Address(bytes(row.payer)))
        return LogKey(account, LogKind(row.kind)), id_of_event(bytes(row.blind), source, event_id)

    def pending_logs(self, tariff_id: bytes) -> list[LogKey]:
        """See `ports.UsageLedger`."""
        domain = self._domain(tariff_id)
        waiting = select(PENDING.c.arrival).where(PENDING.c.log == LOGS.c.id).exists()
        query = (
            select(ACCOUNTS.c.payer, LOGS.c.kind)
            .join(LOGS, LOGS.c.account == ACCOUNTS.c.id)
            .where(ACCOUNTS.c.tariff == self._tariff_row(tariff_id), waiting)
            .order_by(ACCOUNTS.c.id, LOGS.c.kind)
        )
        with self._database.read() as connection:
            return [
                LogKey(AccountKey(domain, tariff_id, Address(bytes(r.payer))), LogKind(r.kind))
                for r in connection.execute(query)
            ]

    def pending(self, log: LogKey, limit: int | None = None) -> Pending:
        """See `ports.UsageLedger`."""
        query = select(*_PENDING_COLUMNS).where(PENDING.c.log == self._log_row(log))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(PENDING.c.arrival).limit(limit)).all()
        return _pending_of(rows)

    def pending_receipt(self, log: LogKey, arrival: int) -> ReceiptTable | None:
        """See `ports.UsageLedger`."""
        query = select(*_PENDING_COLUMNS).where(
            PENDING.c.log == self._log_row(log), PENDING.c.arrival == arrival
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return _pending_of(rows).table if rows else None

    def pending_count(self, tariff_id: bytes) -> int:
        """See `ports.UsageLedger`."""
        query = (
            select(func.count())
            .select_from(PENDING)
            .join(LOGS, LOGS.c.id == PENDING.c.log)
            .join(ACCOUNTS, ACCOUNTS.c.id == LOGS.c.account)
            .where(ACCOUNTS.c.tariff == self._tariff_row(tariff_id))
        )
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def total(self, log: LogKey) -> UsageVector:
        """See `ports.UsageLedger`."""
        query = select(LOGS.c.total).where(LOGS.c.id == self._log_row(log))
        with self._database.read() as connection:
            total: UsageVector = connection.execute(query).scalar_one()
        return total


def event_keys(sources: Sequence[str], event_ids: Sequence[str]) -> list[bytes]:
    """Return 16 bytes for each event that are equal where source and event id both are."""
    prefixes: dict[str, Any] = {}
    keys = []
    for source, event_id in zip(sources, event_ids, strict=True):
        if source not in prefixes:
            name = source.encode()
            prefixes[source] = hashlib.blake2b(len(name).to_bytes(2, "big") + name, digest_size=16)
        key = prefixes[source].copy()
        key.update(event_id.encode())
        keys.append(key.digest())
    return keys


def _known_contents(connection: Connection, tariff: int, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    known: dict[bytes, bytes] = {}
    for part in in_slices(keys):
        query = select(INDEX.c.event_key, INDEX.c.content).where(
            INDEX.c.tariff == tariff, INDEX.c.event_key.in_(part)
        )
        known.update((bytes(row.event_key), bytes(row.content)) for row in connection.execute(query))
    return known


def _outcomes(
    keys: Sequence[bytes], contents: Sequence[bytes], known: Mapping[bytes, bytes]
) -> npt.NDArray[np.int8]:
    seen = dict(known)
    outcome = np.empty(len(keys), dtype=np.int8)
    for i, (key, content) in enumerate(zip(keys, contents, strict=True)):
        first = seen.get(key)
        outcome[i] = ADDED if first is None else REPEATED if first == content else CONFLICT
        seen.setdefault(key, content)
    return outcome


def grow_totals(
    connection: Connection,
    logs: npt.NDArray[np.int64],
    usage: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    headroom: UsageVector,
) -> None:
    """Add usage to the totals of its logs; `places` names the rows in an error.

    Done last: other processes wait from here to the end of the transaction. Those that write to the same logs
    insert beside each other until then.

    Raises:
        HeadroomExceeded: naming all rows that do not fit.
        UnknownAccount: when a log is gone. No foreign key looks for it at each receipt; this does once.
    """
    by_log: dict[int, list[int]] = defaultdict(list)
    for i, log in enumerate(logs.tolist()):
        by_log[log].append(i)
    grown = []
    beyond: list[tuple[int, str]] = []
    missing = set(by_log)
    for log, total in _totals(connection, sorted(by_log)):
        missing.discard(log)
        rows = by_log[log]
        exact = [sum(column) for column in zip(total.lanes, *usage[rows].tolist(), strict=True)]
        lanes = zip(total.lanes, exact, headroom.lanes, strict=True)
        if any(before < after > limit for before, after, limit in lanes):  # a full lane blocks no other
            beyond += _beyond(total, usage, rows, places, headroom)
        elif not beyond:
            grown.append((UsageVector.of(exact).to_bytes(), log))
    if missing:
        raise UnknownAccount(f"the ledger has no log {min(missing)} any more; restart what uses it", missing)
    if beyond:
        index, message = min(beyond)
        raise HeadroomExceeded(index, message, message, tuple(sorted(beyond)))
    statement = update(LOGS).where(LOGS.c.id == bindparam("log_")).values(total=bindparam("total_"))
    execute_many(connection, statement, ("total_", "log_"), grown)


def _totals(connection: Connection, logs: Sequence[int]) -> Iterator[tuple[int, UsageVector]]:
    """Yield totals to be changed, always in one order, so that two processes cannot wait for each other."""
    for part in in_slices(logs):
        query = select(LOGS.c.id, LOGS.c.total).where(LOGS.c.id.in_(part)).order_by(LOGS.c.id)
        for row in connection.execute(query.with_for_update()).all():
            yield row.id, row.total


def _beyond(
    total: UsageVector,
    usage: npt.NDArray[np.int64],
    rows: Sequence[int],
    places: npt.NDArray[np.int64],
    headroom: UsageVector,
) -> Iterator[tuple[int, str]]:
    """Yield the rows of one log that do not fit beside those before them that do."""
    lanes = list(total.lanes)
    for row in rows:
        added = usage[row].tolist()
        after = [before + more for before, more in zip(lanes, added, strict=True)]
        over = [i for i in range(LANES) if added[i] and after[i] > headroom.lanes[i]]
        if not over:
            lanes = after
            continue
        limit = headroom.lanes[over[0]]
        what = "a signed 64-bit integer" if limit == INT64_MAX else "the tariff's headroom"
        said = f"the log's total of lane {over[0]} would become {after[over[0]]}; {what} ends at {limit}"
        yield int(places[row]), said


def index_rows(
    tariff: int,
    logs: Sequence[int],
    keys: Sequence[bytes],
    intake: Intake,
    places: npt.NDArray[np.int64] | None = None,
) -> list[tuple[Any, ...]]:
    """Return rows of the index of events, with the columns `INDEX_NAMES`; `logs` are rows of logs.

    They stand in the order of their keys: the tree takes them faster, and two processes that store the same
    events at once cannot wait for each other.
    """
    rows = zip(repeat(tariff), keys, logs, intake.contents, strict=False)
    return sorted(rows if places is None else _rows_at(rows, places))


def pending_rows(logs: Sequence[int], table: ReceiptTable) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of receipts that await sealing, with the columns `PENDING_NAMES`."""
    receipts = table.receipts
    return zip(
        logs,
        cells(receipts.ids.tobytes(), DIGEST_BYTES),
        receipts.occurred_at.tolist(),
        cells(receipts.usage.astype(">i8").tobytes(), USAGE_BYTES),
        cells(receipts.details.tobytes(), DIGEST_BYTES),
        table.sources,
        table.event_ids,
        table.details,
        strict=True,
    )


def _rows_at(rows: Iterable[tuple[Any, ...]], places: npt.NDArray[np.int64]) -> list[tuple[Any, ...]]:
    found = list(rows)
    return found if len(places) == len(found) else [found[i] for i in places.tolist()]


def _pending_of(rows: Sequence[SqlRow]) -> Pending:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 8
    arrivals, ids, times, usage, hashes, sources, event_ids, details = columns
    receipts = ReceiptColumns(
        ids=joined(ids, DIGEST_BYTES),
        occurred_at=np.array(times, dtype=np.int64),
        usage=np.frombuffer(b"".join(usage), dtype=">i8").astype(np.int64).reshape(-1, LANES),
        details=joined(hashes, DIGEST_BYTES),
    )
    return Pending(np.array(arrivals, dtype=np.int64), ReceiptTable(receipts, sources, event_ids, details))
