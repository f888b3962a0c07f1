"""What was followed on a chain: blocks, events, and who may sign. Neither usage nor amounts of money."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, LargeBinary
from sqlmodel import Field

from meterbridge.adapters.tables.base import LedgerTable, WholeColumn


class ChainCursorRow(LedgerTable, table=True):
    """How far a contract was followed; it moves in the transaction that stores what was found."""

    __tablename__ = "chain_cursors"

    deployment: int = Field(primary_key=True, foreign_key="deployments.id")
    first_block: int = Field(sa_type=BigInteger)
    block: int = Field(sa_type=BigInteger)
    block_hash: bytes = Field(sa_type=LargeBinary)
    timestamp: int = Field(sa_type=BigInteger)
    final: int = Field(sa_type=BigInteger)
    verified: int = Field(sa_type=BigInteger)
    verified_hash: bytes = Field(sa_type=LargeBinary)


class ChainBlockRow(LedgerTable, table=True):
    """A block that was followed; those before the newest final one are forgotten."""

    __tablename__ = "chain_blocks"

    deployment: int = Field(primary_key=True, foreign_key="deployments.id")
    number: int = Field(primary_key=True, sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)


class ChainEventRow(LedgerTable, table=True):
    """One event of the contract: where it stands, whom it is about, and what else it says, as JSON.

    `subject` is the tariff's or split's id, or the provider. Its amount and its usage stand in tables of
    their own.
    """

    __tablename__ = "chain_events"
    __table_args__ = (Index(None, "deployment", "subject", "account", "block"),)

    deployment: int = Field(primary_key=True, foreign_key="deployments.id")
    block: int = Field(primary_key=True, sa_type=BigInteger)
    log_index: int = Field(primary_key=True)
    block_hash: bytes = Field(sa_type=LargeBinary)
    tx_hash: bytes = Field(sa_type=LargeBinary)
    name: str
    subject: bytes = Field(sa_type=LargeBinary)
    account: bytes | None = Field(default=None, sa_type=LargeBinary)
    rest: str


class ChainTariffRow(LedgerTable, table=True):
    """Which split a tariff pays, as an event told; its id fixes it, so no reorganisation changes it."""

    __tablename__ = "chain_tariffs"

    deployment: int = Field(primary_key=True, foreign_key="deployments.id")
    tariff_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    split_id: bytes = Field(sa_type=LargeBinary)


class ChainSignerRow(LedgerTable, table=True):
    """Until when a provider lets a signer sign, after a block; older rows stay until a newer one is final."""

    __tablename__ = "chain_signers"
    __table_args__ = (Index(None, "deployment", "block"),)

    deployment: int = Field(primary_key=True, foreign_key="deployments.id")
    provider: bytes = Field(primary_key=True, sa_type=LargeBinary)
    signer: bytes = Field(primary_key=True, sa_type=LargeBinary)
    block: int = Field(primary_key=True, sa_type=BigInteger)
    checked: bool
    until: int = Field(sa_type=WholeColumn)


class AlertNoticeRow(LedgerTable, table=True):
    """One message about an alert for one receiver; sent again until the receiver has confirmed it.

    `receiver` is a digest of its URL, which may hold a secret.
    """

    __tablename__ = "alert_notices"
    __table_args__ = (Index(None, "done_at", "next_at"),)

    id: str = Field(primary_key=True)
    alert: str = Field(foreign_key="alerts.id", index=True)
    receiver: str
    kind: str
    body: str
    created_at: int = Field(sa_type=BigInteger)
    next_at: int = Field(sa_type=BigInteger)
    attempts: int
    last_error: str
    done_at: int | None = Field(default=None, sa_type=BigInteger)
