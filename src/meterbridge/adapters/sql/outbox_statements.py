"""The outbox's SQL, put together once: what a pass asks for each statement, it asks thousands of times."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Update, and_, bindparam, case, func, or_, select, update

from meterbridge.adapters.sql.database import SqlSelect
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.outbox import AttemptRow, DeliveryRow, NonceRow
from meterbridge.services.settling.records import IN_FLIGHT, OPEN, DeliveryState

DELIVERIES: Final = table_of(DeliveryRow)
ATTEMPTS: Final = table_of(AttemptRow)
NONCES: Final = table_of(NonceRow)

HERE: Final = and_(
    DELIVERIES.c.chain_id == bindparam("on_chain"),
    DELIVERIES.c.contract == bindparam("at_contract"),
)
_MINE: Final = and_(DELIVERIES.c.id == bindparam("number"), DELIVERIES.c.lease_holder == bindparam("holder"))


def _due() -> SqlSelect:
    final = DELIVERIES.c.state == DeliveryState.FINAL.value
    due = and_(
        HERE,
        or_(DELIVERIES.c.state.in_([state.value for state in OPEN]), and_(final, DELIVERIES.c.owing)),
        DELIVERIES.c.next_at <= bindparam("by"),
        or_(DELIVERIES.c.lease_holder.is_(None), DELIVERIES.c.lease_until <= bindparam("now")),
        DELIVERIES.c.id.not_in(bindparam("passed", expanding=True)),
    )
    first = case((DELIVERIES.c.nonce.is_(None), 1), else_=0)
    order = (first, DELIVERIES.c.nonce, DELIVERIES.c.sealed_at, DELIVERIES.c.part)
    # Rows that another process is just taking are passed over, not waited for. SQLite has one writer.
    found = select(DELIVERIES).where(due).order_by(*order).limit(bindparam("limit"))
    return found.with_for_update(skip_locked=True)


DUE: Final = _due()
LEASE: Final = (
    update(DELIVERIES)
    .where(DELIVERIES.c.id.in_(bindparam("ids", expanding=True)))
    .values(lease_holder=bindparam("lease_holder"), lease_until=bindparam("lease_until"))
)
RENEW: Final = update(DELIVERIES).where(_MINE).values(lease_until=bindparam("lease_until"))
RELEASE: Final = (
    update(DELIVERIES)
    .where(_MINE)
    .values(
        lease_holder=None,
        lease_until=0,
        next_at=bindparam("next_at"),
        reason=bindparam("reason"),
        failures=bindparam("failures"),
    )
)
_MOVED: Final = (
    *("state", "reason", "since", "sender", "nonce", "tx_hash", "block", "block_hash"),
    *("failures", "next_at", "owing", "lease_holder", "lease_until"),
)
MOVE: Final[Update] = (
    update(DELIVERIES)
    .where(_MINE, DELIVERIES.c.state == bindparam("before"))
    .values({name: bindparam(name) for name in _MOVED})
)
COUNTS: Final = select(DELIVERIES.c.state, func.count()).where(HERE).group_by(DELIVERIES.c.state)
HELD_NONCES: Final = select(DELIVERIES.c.nonce).where(
    DELIVERIES.c.chain_id == bindparam("on_chain"),
    DELIVERIES.c.sender == bindparam("of_sender"),
    DELIVERIES.c.state.in_([state.value for state in IN_FLIGHT]),
)

MARK: Final = (
    update(ATTEMPTS)
    .where(ATTEMPTS.c.id == bindparam("number"))
    .values({name: bindparam(name) for name in ("state", "sent_at", "tx_hash")})
)
ATTEMPTS_OF: Final = (
    select(ATTEMPTS).where(ATTEMPTS.c.delivery == bindparam("delivery")).order_by(ATTEMPTS.c.id)
)

_ROW: Final = and_(NONCES.c.chain_id == bindparam("on_chain"), NONCES.c.sender == bindparam("of_sender"))
NEXT_NONCE: Final = select(NONCES.c.next).where(_ROW)
TAKE_NONCE: Final = (
    update(NONCES).where(_ROW, NONCES.c.next == bindparam("seen")).values(next=bindparam("then"))
)
