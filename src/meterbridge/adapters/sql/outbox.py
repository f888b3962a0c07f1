"""The outbox in SQL: who may move a delivery on, and each of its transitions as one transaction.

A transition names the lease and the state that it starts from, and happens only where both still hold: a
process that was paused beyond its lease, or that runs beside another by mistake, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, not_, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from meterbridge.adapters.sql.assets import store_submission
from meterbridge.adapters.sql.database import Database, SqlRow, insert_row
from meterbridge.adapters.sql.enrolment import DELIVERIES, covered, enroll, is_enrolled, revive
from meterbridge.adapters.sql.whole_statements import read_statement
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.outbox import AttemptRow, NonceRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Domain, SignedStatement
from meterbridge.services.ledger_errors import UnknownStatement
from meterbridge.services.settling.ports import LeaseLost, NonceTaken
from meterbridge.services.settling.records import (
    IN_FLIGHT,
    OPEN,
    Attempt,
    AttemptKind,
    AttemptState,
    Change,
    Delivery,
    DeliveryState,
    Lease,
    MinedIn,
)

ATTEMPTS: Final = table_of(AttemptRow)
NONCES: Final = table_of(NonceRow)


class SqlOutbox:
    """See `services.settling.ports.Outbox`."""

    _database: Database

    def enroll(self, domain: Domain, now: int) -> int:
        """See `Outbox`."""
        with self._database.read() as connection:
            if is_enrolled(connection, domain):
                return 0
        with self._database.write() as connection:
            return enroll(connection, domain, now)

    def take(self, domain: Domain, lease: Lease, limit: int, *, hurry: bool = False) -> list[Delivery]:
        """See `Outbox`."""
        due = and_(
            _of(domain),
            or_(DELIVERIES.c.state.in_(OPEN), and_(DELIVERIES.c.state == "final", DELIVERIES.c.owing)),
            true() if hurry else DELIVERIES.c.next_at <= lease.now,
            or_(DELIVERIES.c.lease_holder.is_(None), DELIVERIES.c.lease_until <= lease.now),
        )
        first = case((DELIVERIES.c.nonce.is_(None), 1), else_=0)
        order = (first, DELIVERIES.c.nonce, DELIVERIES.c.sealed_at, DELIVERIES.c.part)
        # Rows that another process is just taking are passed over, not waited for. SQLite has one writer.
        query = select(DELIVERIES).where(due).order_by(*order).limit(limit).with_for_update(skip_locked=True)
        with self._database.write() as connection:
            rows = connection.execute(query).all()
            held = update(DELIVERIES).where(DELIVERIES.c.id.in_([row.id for row in rows]))
            connection.execute(held.values(lease_holder=lease.holder, lease_until=lease.until))
        return [_delivery(row) for row in rows]

    def renew(self, delivery: Delivery, lease: Lease) -> None:
        """See `Outbox`."""
        held = update(DELIVERIES).where(_held(delivery, lease)).values(lease_until=lease.until)
        with self._database.write() as connection:
            _require_one(connection.execute(held).rowcount, delivery)

    def change(self, lease: Lease, before: Delivery, change: Change) -> Delivery:
        """See `Outbox`."""
        with self._database.write() as connection:
            _move(connection, lease, before, change.after)
            if change.takes_nonce and change.attempt is not None:
                _take_nonce(connection, before.domain.chain_id, change.attempt, change.nonce_seen)
            if change.attempt is not None:
                insert_row(connection, ATTEMPTS, delivery=before.id, **_attempt_values(change.attempt))
            for mark in change.marks:
                known = {"state": mark.state.value, "sent_at": mark.sent_at, "tx_hash": mark.tx_hash}
                connection.execute(update(ATTEMPTS).where(ATTEMPTS.c.id == mark.id).values(**known))
            if change.after.state is DeliveryState.FAILED:
                revive(connection, change.after)
            if change.submission is not None:
                store_submission(connection, change.submission)
        return change.after

    def release(self, lease: Lease, delivery: Delivery) -> None:
        """See `Outbox`."""
        values = {
            "lease_holder": None,
            "lease_until": 0,
            "next_at": delivery.next_at,
            "reason": delivery.reason,
            "failures": delivery.failures,
        }
        with self._database.write() as connection:
            connection.execute(update(DELIVERIES).where(_held(delivery, lease)).values(**values))

    def next_nonce(self, chain_id: int, sender: Address) -> int | None:
        """See `Outbox`."""
        query = select(NONCES.c.next).where(NONCES.c.chain_id == chain_id, NONCES.c.sender == sender.raw)
        with self._database.read() as connection:
            found: int | None = connection.execute(query).scalar_one_or_none()
        return found

    def attempts(self, delivery: Delivery) -> list[Attempt]:
        """See `Outbox`."""
        query = select(ATTEMPTS).where(ATTEMPTS.c.delivery == delivery.id).order_by(ATTEMPTS.c.id)
        with self._database.read() as connection:
            return [_attempt(row) for row in connection.execute(query)]

    def held_nonces(self, chain_id: int, sender: Address) -> set[int]:
        """See `Outbox`."""
        query = select(DELIVERIES.c.nonce).where(
            DELIVERIES.c.chain_id == chain_id,
            DELIVERIES.c.sender == sender.raw,
            DELIVERIES.c.state.in_(IN_FLIGHT),
        )
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def deliveries(
        self, domain: Domain | None = None, states: Collection[DeliveryState] | None = None
    ) -> list[Delivery]:
        """See `Outbox`."""
        query = select(DELIVERIES).order_by(DELIVERIES.c.sealed_at, DELIVERIES.c.part, DELIVERIES.c.id)
        if domain is not None:
            query = query.where(_of(domain))
        if states is not None:
            query = query.where(DELIVERIES.c.state.in_(states))
        with self._database.read() as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def signed_statement(self, delivery: Delivery) -> SignedStatement:
        """See `Outbox`."""
        with self._database.read() as connection:
            found = read_statement(connection, delivery.domain, delivery.tariff_id, delivery.digest)
        if found is None:
            raise UnknownStatement(
                f"the ledger does not have the statement 0x{delivery.digest.hex()}", delivery.digest
            )
        return found

    def failed_statements(self, tariff_id: bytes) -> list[SignedStatement]:
        """See `ports.StatementLedger`."""
        failed = and_(DELIVERIES.c.tariff_id == tariff_id, DELIVERIES.c.state == DeliveryState.FAILED.value)
        query = select(DELIVERIES).where(failed, not_(covered())).order_by(DELIVERIES.c.sealed_at)
        with self._database.read() as connection:
            found = [_delivery(row) for row in connection.execute(query)]
        return [self.signed_statement(delivery) for delivery in found]

    def counts(self, domain: Domain) -> Mapping[DeliveryState, int]:
        """See `Outbox`."""
        query = select(DELIVERIES.c.state, func.count()).where(_of(domain)).group_by(DELIVERIES.c.state)
        with self._database.read() as connection:
            return {DeliveryState(row[0]): row[1] for row in connection.execute(query)}


def _of(domain: Domain) -> ColumnElement[bool]:
    return and_(
        DELIVERIES.c.chain_id == domain.chain_id, DELIVERIES.c.contract == domain.verifying_contract.raw
    )


def _held(delivery: Delivery, lease: Lease) -> ColumnElement[bool]:
    return and_(DELIVERIES.c.id == delivery.id, DELIVERIES.c.lease_holder == lease.holder)


def _require_one(touched: int, delivery: Delivery) -> None:
    if touched != 1:
        raise LeaseLost(
            f"another process has taken over the statement 0x{delivery.digest.hex()}", delivery.digest
        )


def _move(connection: Connection, lease: Lease, before: Delivery, after: Delivery) -> None:
    wanted = and_(_held(before, lease), DELIVERIES.c.state == before.state.value)
    values = _delivery_values(after) | {"lease_until": lease.until}
    if after.state not in OPEN:
        values["lease_holder"] = None
    _require_one(connection.execute(update(DELIVERIES).where(wanted).values(**values)).rowcount, before)


def _take_nonce(connection: Connection, chain_id: int, attempt: Attempt, seen: int | None) -> None:
    """Compare and set: of two processes that saw the same row, the second one does not get here."""
    values = {"next": attempt.nonce + 1}
    mine = and_(NONCES.c.chain_id == chain_id, NONCES.c.sender == attempt.sender.raw)
    if seen is None:
        try:
            connection.execute(insert(NONCES).values(chain_id=chain_id, sender=attempt.sender.raw, **values))
        except IntegrityError as error:
            raise _nonce_taken(attempt) from error
    elif connection.execute(update(NONCES).where(mine, NONCES.c.next == seen).values(**values)).rowcount != 1:
        raise _nonce_taken(attempt)


def _nonce_taken(attempt: Attempt) -> NonceTaken:
    return NonceTaken(f"another process took nonce {attempt.nonce} of {attempt.sender} first", attempt.nonce)


def _delivery_values(delivery: Delivery) -> dict[str, Any]:
    mined = delivery.mined
    return {
        "state": delivery.state.value,
        "reason": delivery.reason,
        "since": delivery.since,
        "sender": None if delivery.sender is None else delivery.sender.raw,
        "nonce": delivery.nonce,
        "tx_hash": None if mined is None else mined.tx_hash,
        "block": None if mined is None else mined.block,
        "block_hash": None if mined is None else mined.block_hash,
        "failures": delivery.failures,
        "next_at": delivery.next_at,
        "owing": delivery.owing,
    }


def _delivery(row: SqlRow) -> Delivery:
    mined = None
    if row.block is not None:
        mined = MinedIn(bytes(row.tx_hash), row.block, bytes(row.block_hash))
    return Delivery(
        id=row.id,
        domain=Domain(row.chain_id, Address(bytes(row.contract))),
        tariff_id=bytes(row.tariff_id),
        digest=bytes(row.digest),
        sealed_at=row.sealed_at,
        part=row.part,
        lines=row.lines,
        state=DeliveryState(row.state),
        reason=row.reason,
        since=row.since,
        sender=None if row.sender is None else Address(bytes(row.sender)),
        nonce=row.nonce,
        mined=mined,
        failures=row.failures,
        next_at=row.next_at,
        owing=row.owing,
    )


def _attempt_values(attempt: Attempt) -> dict[str, Any]:
    return {
        "kind": attempt.kind.value,
        "sender": attempt.sender.raw,
        "nonce": attempt.nonce,
        "tx_hash": attempt.tx_hash,
        "raw": attempt.raw,
        "gas": attempt.gas,
        "max_wei": attempt.max_wei,
        "tip_wei": attempt.tip_wei,
        "created_at": attempt.created_at,
        "block": attempt.block,
        "state": attempt.state.value,
        "sent_at": attempt.sent_at,
    }


def _attempt(row: SqlRow) -> Attempt:
    return Attempt(
        kind=AttemptKind(row.kind),
        sender=Address(bytes(row.sender)),
        nonce=row.nonce,
        tx_hash=None if row.tx_hash is None else bytes(row.tx_hash),
        raw=None if row.raw is None else bytes(row.raw),
        gas=row.gas,
        max_wei=row.max_wei,
        tip_wei=row.tip_wei,
        created_at=row.created_at,
        block=row.block,
        state=AttemptState(row.state),
        sent_at=row.sent_at,
        id=row.id,
    )
