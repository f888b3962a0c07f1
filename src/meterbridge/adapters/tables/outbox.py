"""Statements on their way to the chain: deliveries, their transactions, nonces. Neither usage nor assets."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary
from sqlmodel import Field

from meterbridge.adapters.tables.base import BIG_KEY, LedgerTable, WholeColumn


class DeliveryRow(LedgerTable, table=True):
    """One statement and how far it is; who holds it, and until when. Times are seconds since 1970.

    It names the statement by its digest and not by a row, as submissions do.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint(
            "state IN ('waiting', 'ready', 'signed', 'sent', 'mined', 'final', 'failed', 'superseded')",
            name="state",
        ),
        CheckConstraint("(sender IS NULL) = (nonce IS NULL)", name="nonce"),
        CheckConstraint("(block IS NULL) = (block_hash IS NULL)", name="block"),
        Index(None, "state", "next_at"),
        Index(None, "tariff_id", "sealed_at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    chain_id: int = Field(sa_type=WholeColumn)
    contract: bytes = Field(sa_type=LargeBinary)
    tariff_id: bytes = Field(sa_type=LargeBinary)
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    sealed_at: int = Field(sa_type=BigInteger)
    part: int
    lines: int
    state: str
    reason: str
    since: int = Field(sa_type=BigInteger)
    sender: bytes | None = Field(default=None, sa_type=LargeBinary)
    nonce: int | None = Field(default=None, sa_type=BigInteger)
    tx_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    block: int | None = Field(default=None, sa_type=BigInteger)
    block_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    failures: int
    next_at: int = Field(sa_type=BigInteger)
    owing: bool
    lease_holder: str | None = None
    lease_until: int = Field(sa_type=BigInteger)


class AttemptRow(LedgerTable, table=True):
    """One transaction, stored before it leaves: what is broadcast again after a crash is these very bytes.

    `max_wei` and `tip_wei` are wei for a unit of gas, not base units of any asset. The hash is null only
    while a node that signs itself has not answered.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint("kind IN ('settle', 'cancel')", name="kind"),
        CheckConstraint("state IN ('signed', 'sent', 'reverted', 'lost')", name="state"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    delivery: int = Field(foreign_key="deliveries.id", sa_type=BigInteger, index=True)
    kind: str
    sender: bytes = Field(sa_type=LargeBinary)
    nonce: int = Field(sa_type=BigInteger)
    tx_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    raw: bytes | None = Field(default=None, sa_type=LargeBinary)
    gas: int = Field(sa_type=BigInteger)
    max_wei: int = Field(sa_type=WholeColumn)
    tip_wei: int = Field(sa_type=WholeColumn)
    created_at: int = Field(sa_type=BigInteger)
    block: int = Field(sa_type=BigInteger)
    state: str
    sent_at: int | None = Field(default=None, sa_type=BigInteger)


class NonceRow(LedgerTable, table=True):
    """The next nonce of a sender on a chain: taken in the transaction that stores what uses it."""

    __tablename__ = "nonces"

    chain_id: int = Field(primary_key=True, sa_type=WholeColumn)
    sender: bytes = Field(primary_key=True, sa_type=LargeBinary)
    next: int = Field(sa_type=BigInteger)
