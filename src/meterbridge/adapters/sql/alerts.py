"""Alerts and their notices in SQL."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, Table, and_, delete, func, insert, or_, select, update

from meterbridge.adapters.sql.database import Database, SqlRow
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.following import AlertNoticeRow
from meterbridge.adapters.tables.following_assets import AlertRow, GuardSampleRow
from meterbridge.domain.units import AssetAmount
from meterbridge.services.following.alerts import (
    LEASE_SECONDS,
    Alert,
    AlertChanges,
    Notice,
    NoticeKind,
    Severity,
    StoredAlert,
    notice_body,
)

ALERTS: Final = table_of(AlertRow)
NOTICES: Final = table_of(AlertNoticeRow)
SAMPLES: Final = table_of(GuardSampleRow)
_ERROR_CHARACTERS: Final = 300


class SqlAlerts:
    """See `services.following.alerts.AlertLedger`."""

    _database: Database

    def update_alerts(
        self,
        scope: str,
        found: Sequence[Alert],
        judged: Collection[str],
        receivers: Collection[str],
        now: int,
    ) -> AlertChanges:
        """See the port."""
        with self._database.write() as connection:
            known = {_key(one.alert): one for one in _open(connection, scope)}
            wanted = {_key(alert): alert for alert in found}
            opened = [
                made
                for key, alert in wanted.items()
                if key not in known and (made := self._insert(connection, scope, alert, now)) is not None
            ]
            changed, resolved = [], []
            for key, stored in known.items():
                if key in wanted:
                    if (after := _change(connection, stored, wanted[key], now)) is not None:
                        changed.append(after)
                elif stored.alert.guard in judged:
                    resolved.append(_resolve(connection, stored, now))
            _tell(connection, NoticeKind.CHANGED, changed, receivers, now)
            _tell(connection, NoticeKind.RESOLVED, resolved, receivers, now)
            # Also of what was open already, to receivers that were not there then.
            for stored in (*opened, *known.values()):
                _tell_newcomers(connection, stored, receivers, now)
        return AlertChanges(tuple(opened), tuple(changed), tuple(resolved))

    def open_alerts(self, scope: str | None = None) -> list[StoredAlert]:
        """See the port."""
        with self._database.read() as connection:
            return _open(connection, scope)

    def take_notices(self, receivers: Collection[str], now: int, limit: int) -> list[Notice]:
        """See the port."""
        c = NOTICES.c
        earlier = NOTICES.alias("earlier")
        first = and_(c.kind != NoticeKind.OPENED.value, earlier.c.kind == NoticeKind.OPENED.value)
        before = select(earlier.c.id).where(
            earlier.c.alert == c.alert,
            earlier.c.receiver == c.receiver,
            earlier.c.done_at.is_(None),
            or_(earlier.c.created_at < c.created_at, and_(earlier.c.created_at == c.created_at, first)),
        )
        # In the order in which things happened: nobody hears of an end before the beginning.
        due = select(NOTICES).where(c.done_at.is_(None), c.next_at <= now, c.receiver.in_(receivers))
        due = due.where(~before.exists())
        taken = []
        with self._database.write() as connection:
            for row in connection.execute(due.order_by(c.created_at, c.id).limit(limit)).all():
                mine = update(NOTICES).where(c.id == row.id, c.next_at == row.next_at, c.done_at.is_(None))
                if connection.execute(mine.values(next_at=now + LEASE_SECONDS)).rowcount:
                    taken.append(_notice(row))
        return taken

    def notice_received(self, notice: Notice, now: int) -> None:
        """See the port."""
        with self._database.write() as connection:
            mine = update(NOTICES).where(NOTICES.c.id == notice.id)
            connection.execute(mine.values(done_at=now, attempts=notice.attempts + 1, last_error=""))

    def notice_failed(self, notice: Notice, error: str, next_at: int) -> None:
        """See the port."""
        with self._database.write() as connection:
            mine = update(NOTICES).where(NOTICES.c.id == notice.id, NOTICES.c.done_at.is_(None))
            values = {"attempts": notice.attempts + 1, "last_error": error[:_ERROR_CHARACTERS]}
            connection.execute(mine.values(next_at=next_at, **values))

    def notices_waiting(self) -> int:
        """See the port."""
        query = select(func.count()).select_from(NOTICES).where(NOTICES.c.done_at.is_(None))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def add_sample(self, tariff_id: bytes, at: int, amount: AssetAmount, keep_since: int) -> None:
        """Keep what was unsettled at a time; forget what is older than `keep_since`."""
        with self._database.write() as connection:
            old = delete(SAMPLES).where(SAMPLES.c.tariff_id == tariff_id, SAMPLES.c.at < keep_since)
            connection.execute(old)
            connection.execute(insert(SAMPLES).values(tariff_id=tariff_id, at=at, amount=amount))

    def samples(self, tariff_id: bytes) -> list[tuple[int, AssetAmount]]:
        """Return what was unsettled at each time that is kept, the oldest first."""
        query = select(SAMPLES).where(SAMPLES.c.tariff_id == tariff_id).order_by(SAMPLES.c.at)
        with self._database.read() as connection:
            return [(row.at, row.amount) for row in connection.execute(query)]

    def _insert(self, connection: Connection, scope: str, alert: Alert, now: int) -> StoredAlert | None:
        """Open an alert; None where another process did so at this moment."""
        stored = StoredAlert(f"alert_{secrets.token_hex(12)}", scope, alert, now, now)
        values = {
            "id": stored.id,
            "open_key": f"{scope} {_key(alert)}",
            "scope": scope,
            "guard": alert.guard,
            "subject": alert.subject,
            "severity": alert.severity.value,
            "message": alert.message,
            "amount": alert.amount,
            "opened_at": now,
            "changed_at": now,
            "resolved_at": None,
        }
        added = connection.execute(self._database.insert_or_skip(ALERTS).values(**values)).rowcount
        return stored if added else None


def _key(alert: Alert) -> str:
    return f"{alert.guard} {alert.subject}"


def _open(connection: Connection, scope: str | None) -> list[StoredAlert]:
    query = select(ALERTS).where(ALERTS.c.resolved_at.is_(None))
    if scope is not None:
        query = query.where(ALERTS.c.scope == scope)
    return [_stored(row) for row in connection.execute(query.order_by(ALERTS.c.opened_at, ALERTS.c.id))]


def _stored(row: SqlRow) -> StoredAlert:
    alert = Alert(row.guard, row.subject, Severity(row.severity), row.message, row.amount)
    return StoredAlert(row.id, row.scope, alert, row.opened_at, row.changed_at, row.resolved_at)


def _change(connection: Connection, stored: StoredAlert, alert: Alert, now: int) -> StoredAlert | None:
    """Keep the newest message; a change of severity is told."""
    if alert == stored.alert:
        return None
    told = alert.severity is not stored.alert.severity
    values = {"message": alert.message, "amount": alert.amount, "severity": alert.severity.value}
    mine = update(ALERTS).where(ALERTS.c.id == stored.id)
    connection.execute(mine.values(changed_at=now if told else stored.changed_at, **values))
    return replace(stored, alert=alert, changed_at=now) if told else None


def _resolve(connection: Connection, stored: StoredAlert, now: int) -> StoredAlert:
    mine = update(ALERTS).where(ALERTS.c.id == stored.id)
    connection.execute(mine.values(open_key=None, resolved_at=now))
    return replace(stored, resolved_at=now)


def _tell(
    connection: Connection,
    kind: NoticeKind,
    alerts: Sequence[StoredAlert],
    receivers: Collection[str],
    now: int,
) -> None:
    for stored in alerts:
        # Whoever was told of the alert is told how it went on, also where this process knows them not.
        told = select(NOTICES.c.receiver).where(NOTICES.c.alert == stored.id).distinct()
        everybody = {*receivers, *connection.execute(told).scalars()}
        _insert_notices(connection, NOTICES, kind, stored, sorted(everybody), now)


def _tell_newcomers(
    connection: Connection, stored: StoredAlert, receivers: Collection[str], now: int
) -> None:
    told = select(NOTICES.c.receiver).where(NOTICES.c.alert == stored.id)
    missing = set(receivers) - set(connection.execute(told).scalars())
    _insert_notices(connection, NOTICES, NoticeKind.OPENED, stored, sorted(missing), now)


def _insert_notices(
    connection: Connection,
    table: Table,
    kind: NoticeKind,
    stored: StoredAlert,
    receivers: Sequence[str],
    now: int,
) -> None:
    rows = [
        {
            "id": f"msg_{secrets.token_hex(12)}",
            "alert": stored.id,
            "receiver": receiver,
            "kind": kind.value,
            "body": notice_body(kind, stored, now),
            "created_at": now,
            "next_at": now,
            "attempts": 0,
            "last_error": "",
            "done_at": None,
        }
        for receiver in receivers
    ]
    if rows:
        connection.execute(insert(table), rows)


def _notice(row: SqlRow) -> Notice:
    return Notice(row.id, row.receiver, NoticeKind(row.kind), row.body, row.attempts, row.created_at)
