"""What is agreed: deployments, splits and their parties, tariffs, accounts. Neither usage nor assets."""

from __future__ import annotations

from sqlalchemy import LargeBinary, UniqueConstraint
from sqlmodel import Field

from meterbridge.adapters.tables.base import BIG_KEY, LedgerTable, WholeColumn


class DeploymentRow(LedgerTable, table=True):
    """One contract on one chain."""

    __tablename__ = "deployments"
    __table_args__ = (UniqueConstraint("chain_id", "contract"),)

    id: int | None = Field(default=None, primary_key=True)
    chain_id: int = Field(sa_type=WholeColumn)
    contract: bytes = Field(sa_type=LargeBinary)


class SplitRow(LedgerTable, table=True):
    """Who gets what share: the root of the parties."""

    __tablename__ = "splits"

    id: int | None = Field(default=None, primary_key=True)
    split_id: bytes = Field(sa_type=LargeBinary, unique=True)
    asset: bytes = Field(sa_type=LargeBinary)
    root: bytes = Field(sa_type=LargeBinary)
    total_shares: int = Field(sa_type=WholeColumn)


class PartyRow(LedgerTable, table=True):
    """One party of a split, in published order."""

    __tablename__ = "parties"

    split: int = Field(primary_key=True, foreign_key="splits.id")
    position: int = Field(primary_key=True)
    account: bytes = Field(sa_type=LargeBinary)
    role: int
    share: int = Field(sa_type=WholeColumn)


class TariffRow(LedgerTable, table=True):
    """One tariff. Its id is the key of everything that is metered under it."""

    __tablename__ = "tariffs"

    id: int | None = Field(default=None, primary_key=True)
    tariff_id: bytes = Field(sa_type=LargeBinary, unique=True)
    deployment: int = Field(foreign_key="deployments.id")
    split: int = Field(foreign_key="splits.id")
    provider: bytes = Field(sa_type=LargeBinary)
    rates: bytes = Field(sa_type=LargeBinary)
    scale: int
    thaw_period: int
    document: bytes = Field(sa_type=LargeBinary)


class AccountRow(LedgerTable, table=True):
    """A payer under a tariff: the secret blind of its logs, and the name that usage logs know it by."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("tariff", "payer"), UniqueConstraint("tariff", "customer"))

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    tariff: int = Field(foreign_key="tariffs.id")
    payer: bytes = Field(sa_type=LargeBinary)
    blind: bytes = Field(sa_type=LargeBinary)
    customer: str | None = None
