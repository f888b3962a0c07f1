"""What was followed on a chain, as far as it is money. No column here holds usage."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, LargeBinary
from sqlmodel import Field

from meterbridge.adapters.tables.base import BIG_KEY, AssetColumn, LedgerTable, WholeColumn
from meterbridge.domain.units import AssetAmount


class ChainAmountRow(LedgerTable, table=True):
    """The amount of an event that has one."""

    __tablename__ = "chain_amounts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["deployment", "block", "log_index"],
            ["chain_events.deployment", "chain_events.block", "chain_events.log_index"],
        ),
    )

    deployment: int = Field(primary_key=True)
    block: int = Field(primary_key=True, sa_type=BigInteger)
    log_index: int = Field(primary_key=True)
    amount: AssetAmount = Field(sa_type=AssetColumn)


class ChainEscrowRow(LedgerTable, table=True):
    """A payer's account after a block; older rows stay until a newer one is final."""

    __tablename__ = "chain_escrows"
    __table_args__ = (Index(None, "deployment", "block"),)

    deployment: int = Field(primary_key=True, foreign_key="deployments.id")
    tariff_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    payer: bytes = Field(primary_key=True, sa_type=LargeBinary)
    block: int = Field(primary_key=True, sa_type=BigInteger)
    checked: bool
    arrived_amount: AssetAmount = Field(sa_type=AssetColumn)
    withdrawn_amount: AssetAmount = Field(sa_type=AssetColumn)
    settled_amount: AssetAmount = Field(sa_type=AssetColumn)
    sealed_at: int = Field(sa_type=BigInteger)
    thawing_amount: AssetAmount = Field(sa_type=AssetColumn)
    thaw_end: int = Field(sa_type=WholeColumn)


class ChainPotRow(LedgerTable, table=True):
    """A pot after a block; older rows stay until a newer one is final."""

    __tablename__ = "chain_pots"
    __table_args__ = (Index(None, "deployment", "block"),)

    deployment: int = Field(primary_key=True, foreign_key="deployments.id")
    split_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    block: int = Field(primary_key=True, sa_type=BigInteger)
    checked: bool
    drawn_amount: AssetAmount = Field(sa_type=AssetColumn)
    funded_amount: AssetAmount = Field(sa_type=AssetColumn)
    claimed_amount: AssetAmount = Field(sa_type=AssetColumn)


class ChainStakeRow(LedgerTable, table=True):
    """A party that proved its share, after a block; older rows stay until a newer one is final."""

    __tablename__ = "chain_stakes"
    __table_args__ = (Index(None, "deployment", "block"),)

    deployment: int = Field(primary_key=True, foreign_key="deployments.id")
    split_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    offset: int = Field(primary_key=True, sa_type=WholeColumn)
    account: bytes = Field(primary_key=True, sa_type=LargeBinary)
    block: int = Field(primary_key=True, sa_type=BigInteger)
    checked: bool
    role: int
    share: int = Field(sa_type=WholeColumn)
    claimed_amount: AssetAmount = Field(sa_type=AssetColumn)


class AlertRow(LedgerTable, table=True):
    """Something that a person should know. `open_key` is unique while it is open, and null afterwards."""

    __tablename__ = "alerts"

    id: str = Field(primary_key=True)
    open_key: str | None = Field(default=None, unique=True)
    guard: str = Field(index=True)
    scope: str
    subject: str
    severity: str
    message: str
    amount: AssetAmount | None = Field(default=None, sa_type=AssetColumn)
    opened_at: int = Field(sa_type=BigInteger)
    changed_at: int = Field(sa_type=BigInteger)
    resolved_at: int | None = Field(default=None, sa_type=BigInteger)


class GuardSampleRow(LedgerTable, table=True):
    """What was unsettled under a tariff at a time; a guard looks back on these."""

    __tablename__ = "guard_samples"
    __table_args__ = (Index(None, "tariff_id", "at"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    tariff_id: bytes = Field(sa_type=LargeBinary)
    at: int = Field(sa_type=BigInteger)
    amount: AssetAmount = Field(sa_type=AssetColumn)
