"""What was followed on a chain, as far as it is usage. No column here holds money."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKeyConstraint
from sqlmodel import Field

from meterbridge.adapters.tables.base import LedgerTable, UsageColumn
from meterbridge.domain.units import UsageVector


class ChainUsageRow(LedgerTable, table=True):
    """The cumulative usage of a line that was settled."""

    __tablename__ = "chain_usage"
    __table_args__ = (
        ForeignKeyConstraint(
            ["deployment", "block", "log_index"],
            ["chain_events.deployment", "chain_events.block", "chain_events.log_index"],
        ),
    )

    deployment: int = Field(primary_key=True)
    block: int = Field(primary_key=True, sa_type=BigInteger)
    log_index: int = Field(primary_key=True)
    usage: UsageVector = Field(sa_type=UsageColumn)
