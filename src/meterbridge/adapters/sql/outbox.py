"""The outbox in SQL: who may move a delivery on, and each of its transitions as one transaction.

A transition names the lease and the state that it starts from, and happens only where both still hold: a
process that was paused beyond its lease, or that runs beside another by mistake, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Connection, and_, insert, not_, select
from sqlalchemy.exc import IntegrityError

from meterbridge.adapters.sql import outbox_statements as sql
from meterbridge.adapters.sql.assets import store_submission
from meterbridge.adapters.sql.database import Database, SqlRow, insert_row
from meterbridge.adapters.sql.enrolment import covered, enroll, is_enrolled, revive
from meterbridge.adapters.sql.outbox_statements import ATTEMPTS, DELIVERIES, NONCES
from meterbridge.adapters.sql.whole_statements import read_parcel
from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Domain, SignedStatement
from meterbridge.services.ledger_errors import UnknownStatement
from meterbridge.services.settling.parcels import Parcel
from meterbridge.services.settling.ports import LeaseLost, NonceTaken
from meterbridge.services.settling.records import (
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

_END_OF_TIME: Final = 2**62


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

    def take(
        self, domain: Domain, lease: Lease, limit: int, *, hurry: bool = False, passed: Collection[int] = ()
    ) -> list[Delivery]:
        """See `Outbox`."""
        due = _named(domain) | {
            "now": lease.now,
            "by": _END_OF_TIME if hurry else lease.now,
            "limit": limit,
            "passed": list(passed),
        }
        with self._database.write() as connection:
            rows = connection.execute(sql.DUE, due).all()
            if rows:
                taken = [row.id for row in rows]
                connection.execute(
                    sql.LEASE, {"ids": taken, "lease_holder": lease.holder, "lease_until": lease.until}
                )
        return [_delivery(row) for row in rows]

    def renew(self, delivery: Delivery, lease: Lease) -> None:
        """See `Outbox`."""
        to = _held(delivery, lease) | {"lease_until": lease.until}
        with self._database.write() as connection:
            _require_one(connection.execute(sql.RENEW, to).rowcount, delivery)

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
                connection.execute(sql.MARK, known | {"number": mark.id})
            if change.after.state is DeliveryState.FAILED:
                revive(connection, change.after)
            if change.submission is not None:
                store_submission(connection, change.submission)
        return change.after

    def release(self, lease: Lease, delivery: Delivery) -> None:
        """See `Outbox`."""
        values = {"next_at": delivery.next_at, "reason": delivery.reason, "failures": delivery.failures}
        with self._database.write() as connection:
            connection.execute(sql.RELEASE, _held(delivery, lease) | values)

    def next_nonce(self, chain_id: int, sender: Address) -> int | None:
        """See `Outbox`."""
        whose = {"on_chain": chain_id, "of_sender": sender.raw}
        with self._database.read() as connection:
            found: int | None = connection.execute(sql.NEXT_NONCE, whose).scalar_one_or_none()
        return found

    def attempts(self, delivery: Delivery) -> list[Attempt]:
        """See `Outbox`."""
        with self._database.read() as connection:
            return [_attempt(row) for row in connection.execute(sql.ATTEMPTS_OF, {"delivery": delivery.id})]

    def held_nonces(self, chain_id: int, sender: Address) -> set[int]:
        """See `Outbox`."""
        whose = {"on_chain": chain_id, "of_sender": sender.raw}
        with self._database.read() as connection:
            return set(connection.execute(sql.HELD_NONCES, whose).scalars())

    def deliveries(
        self, domain: Domain | None = None, states: Collection[DeliveryState] | None = None
    ) -> list[Delivery]:
        """See `Outbox`."""
        query = select(DELIVERIES).order_by(DELIVERIES.c.sealed_at, DELIVERIES.c.part, DELIVERIES.c.id)
        if domain is not None:
            query = query.where(sql.HERE)
        if states is not None:
            query = query.where(DELIVERIES.c.state.in_(states))
        named = {} if domain is None else _named(domain)
        with self._database.read() as connection:
            return [_delivery(row) for row in connection.execute(query, named)]

    def signed_statement(self, delivery: Delivery) -> SignedStatement:
        """See `Outbox`."""
        return self.parcel(delivery).signed()

    def parcel(self, delivery: Delivery) -> Parcel:
        """See `Outbox`."""
        with self._database.read() as connection:
            found = read_parcel(connection, delivery.domain, delivery.tariff_id, delivery.digest)
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
        with self._database.read() as connection:
            return {DeliveryState(row[0]): row[1] for row in connection.execute(sql.COUNTS, _named(domain))}


def _named(domain: Domain) -> dict[str, Any]:
    return {"on_chain": domain.chain_id, "at_contract": domain.verifying_contract.raw}


def _held(delivery: Delivery, lease: Lease) -> dict[str, Any]:
    return {"number": delivery.id, "holder": lease.holder}


def _require_one(touched: int, delivery: Delivery) -> None:
    if touched != 1:
        raise LeaseLost(
            f"another process has taken over the statement 0x{delivery.digest.hex()}", delivery.digest
        )


def _move(connection: Connection, lease: Lease, before: Delivery, after: Delivery) -> None:
    wanted = _held(before, lease) | {"before": before.state.value}
    values = _delivery_values(after) | {"lease_until": lease.until}
    values["lease_holder"] = lease.holder if after.state in OPEN else None
    _require_one(connection.execute(sql.MOVE, wanted | values).rowcount, before)


def _take_nonce(connection: Connection, chain_id: int, attempt: Attempt, seen: int | None) -> None:
    """Compare and set: of two processes that saw the same row, the second one does not get here."""
    mine = {"on_chain": chain_id, "of_sender": attempt.sender.raw}
    then = attempt.nonce + 1
    if seen is None:
        try:
            connection.execute(insert(NONCES).values(chain_id=chain_id, sender=attempt.sender.raw, next=then))
        except IntegrityError as error:
            raise _nonce_taken(attempt) from error
    elif connection.execute(sql.TAKE_NONCE, mine | {"seen": seen, "then": then}).rowcount != 1:
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
