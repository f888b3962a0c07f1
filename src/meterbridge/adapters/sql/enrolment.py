"""Which statements need a delivery, and which deliveries need not go on since later statements cover them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    not_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from meterbridge.adapters.sql.assets import SUBMISSIONS
from meterbridge.adapters.sql.database import SqlSelect
from meterbridge.adapters.sql.outbox_statements import DELIVERIES, HERE
from meterbridge.adapters.sql.registry import DEPLOYMENTS, TARIFFS
from meterbridge.adapters.sql.statements import LINES, STATEMENTS
from meterbridge.domain.statements import Domain
from meterbridge.services.settling.records import OPEN, Delivery, DeliveryState

_UNSIGNED: Final = (DeliveryState.WAITING.value, DeliveryState.READY.value)
_FAILED: Final = DeliveryState.FAILED.value
_LOCK: Final = 0x6D657465_72656E72  # "meterenr"


def is_enrolled(connection: Connection, domain: Domain) -> bool:
    """Tell whether `enroll` would change nothing: most passes find it so, and wait for no writer."""
    here = {"on_chain": domain.chain_id, "at_contract": domain.verifying_contract.raw}
    return all(connection.execute(query, here).first() is None for query in _CHANGES)


def enroll(connection: Connection, domain: Domain, now: int) -> int:
    """Give each statement of a contract a delivery; close those that later statements cover."""
    if connection.dialect.name == "postgresql":
        # Two processes that close the same rows in different orders would wait for each other.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    here = {"on_chain": domain.chain_id, "at_contract": domain.verifying_contract.raw}
    insert_missing = _INSERT_MISSING[connection.dialect.name]
    added = len(connection.execute(insert_missing, here | {"enrolled_at": now}).all())
    paid = [row.id for row in connection.execute(_PAID_BY_OTHERS, here)]
    if paid:
        connection.execute(update(DELIVERIES).where(DELIVERIES.c.id.in_(paid)).values(owing=False))
    closing = connection.execute(_TO_CLOSE, here).all()
    if closing:
        closed = {
            "state": DeliveryState.SUPERSEDED.value,
            "reason": "later statements cover each of its lines",
            "lease_holder": None,
        }
        ids = [row.id for row in closing]
        connection.execute(update(DELIVERIES).where(DELIVERIES.c.id.in_(ids)).values(**closed))
    for row in closing:
        _pass_on_age(connection, bytes(row.digest), row.since)
    return added


def revive(connection: Connection, failed: Delivery) -> None:
    """Reopen what a delivery covered that has just failed, where nothing else covers it."""
    reopened = {"state": DeliveryState.WAITING.value, "reason": "", "next_at": 0}
    older = and_(
        DELIVERIES.c.tariff_id == failed.tariff_id,
        DELIVERIES.c.sealed_at < failed.sealed_at,
        DELIVERIES.c.state == DeliveryState.SUPERSEDED.value,
    )
    connection.execute(update(DELIVERIES).where(older, not_(covered())).values(**reopened))


def _insert_missing(dialect: str) -> ReturningInsert[tuple[int]]:
    now = bindparam("enrolled_at", type_=DELIVERIES.c.since.type)
    lines = select(func.count()).where(LINES.c.statement == STATEMENTS.c.id).scalar_subquery()
    settled = exists().where(SUBMISSIONS.c.digest == STATEMENTS.c.digest, SUBMISSIONS.c.state == "settled")
    values = {
        "chain_id": DEPLOYMENTS.c.chain_id,
        "contract": DEPLOYMENTS.c.contract,
        "tariff_id": TARIFFS.c.tariff_id,
        "digest": STATEMENTS.c.digest,
        "sealed_at": STATEMENTS.c.sealed_at,
        "part": STATEMENTS.c.part,
        "lines": lines,
        # What was settled before there was an outbox has been delivered.
        "state": case((settled, DeliveryState.FINAL.value), else_=DeliveryState.WAITING.value),
        "reason": literal(""),
        "since": case((STATEMENTS.c.sealed_at < now, STATEMENTS.c.sealed_at), else_=now),
        "failures": literal(0),
        "next_at": literal(0),
        "owing": settled,
        "lease_until": literal(0),
    }
    found = _missing().with_only_columns(*(column.label(name) for name, column in values.items()))
    if dialect == "postgresql":
        skipping: Insert = postgresql.insert(DELIVERIES).on_conflict_do_nothing()
    else:
        skipping = sqlite.insert(DELIVERIES).on_conflict_do_nothing()
    return skipping.from_select(list(values), found).returning(DELIVERIES.c.id)


def _missing() -> SqlSelect:
    """Select the statements of a contract that have no delivery, in the order in which they were stored."""
    known = exists().where(DELIVERIES.c.digest == STATEMENTS.c.digest)
    return (
        select(STATEMENTS.c.digest)
        .select_from(STATEMENTS)
        .join(TARIFFS, TARIFFS.c.id == STATEMENTS.c.tariff)
        .join(DEPLOYMENTS, DEPLOYMENTS.c.id == TARIFFS.c.deployment)
        .where(
            DEPLOYMENTS.c.chain_id == bindparam("on_chain"),
            DEPLOYMENTS.c.contract == bindparam("at_contract"),
            not_(known),
        )
        .order_by(STATEMENTS.c.id)
    )


def covered() -> ColumnElement[bool]:
    """Tell of a delivery's row whether each of its payers has a line in a later statement that can settle."""
    own, later = LINES.alias("own"), LINES.alias("later")
    mine, theirs = STATEMENTS.alias("mine"), STATEMENTS.alias("theirs")
    rival = DELIVERIES.alias("rival")
    covering = (
        exists()
        .where(
            later.c.account == own.c.account,
            later.c.sealed_at > own.c.sealed_at,
            theirs.c.id == later.c.statement,
            rival.c.digest == theirs.c.digest,
            rival.c.state != _FAILED,
        )
        .correlate(own)
    )
    uncovered = (
        exists()
        .where(mine.c.digest == DELIVERIES.c.digest, own.c.statement == mine.c.id, not_(covering))
        .correlate(DELIVERIES)
    )
    return not_(uncovered)


_TO_CLOSE: Final = select(DELIVERIES).where(HERE, DELIVERIES.c.state.in_(_UNSIGNED), covered())
"""What is not signed yet and need not be."""

_PAID_BY_OTHERS: Final = select(DELIVERIES).where(
    HERE, DELIVERIES.c.state == DeliveryState.FINAL.value, DELIVERIES.c.owing, covered()
)
"""Settled statements whose rest a later one draws."""

_CHANGES: Final = tuple(query.limit(1) for query in (_missing(), _TO_CLOSE, _PAID_BY_OTHERS))
_INSERT_MISSING: Final = {dialect: _insert_missing(dialect) for dialect in ("sqlite", "postgresql")}


def _pass_on_age(connection: Connection, digest: bytes, since: int) -> None:
    """Let what covers a delivery be as old as it: else each new statement would begin to wait anew."""
    own, later = LINES.alias("own"), LINES.alias("later")
    mine, theirs = STATEMENTS.alias("mine"), STATEMENTS.alias("theirs")
    covering = (
        select(theirs.c.digest)
        .join(later, later.c.statement == theirs.c.id)
        .join(own, and_(own.c.account == later.c.account, own.c.sealed_at < later.c.sealed_at))
        .join(mine, mine.c.id == own.c.statement)
        .where(mine.c.digest == digest)
    )
    heirs = and_(DELIVERIES.c.state.in_(OPEN), DELIVERIES.c.since > since, DELIVERIES.c.digest.in_(covering))
    connection.execute(update(DELIVERIES).where(heirs).values(since=since))
