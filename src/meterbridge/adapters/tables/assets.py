"""What is paid: submissions and what they drew. No column here holds usage."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, LargeBinary
from sqlmodel import Field

from meterbridge.adapters.tables.base import BIG_KEY, AssetColumn, LedgerTable
from meterbridge.domain.units import AssetAmount


class SubmissionRow(LedgerTable, table=True):
    """One transaction that carried a statement.

    It names tariff and statement by their hashes and not by a row: whoever only has the signed statement may
    submit it, too.
    """

    __tablename__ = "submissions"
    __table_args__ = (CheckConstraint("state IN ('sent', 'settled', 'failed')", name="state"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    tariff_id: bytes = Field(sa_type=LargeBinary, index=True)
    digest: bytes = Field(sa_type=LargeBinary, index=True)
    sealed_at: int = Field(sa_type=BigInteger)
    tx_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    state: str
    block: int | None = Field(default=None, sa_type=BigInteger)


class DrawRow(LedgerTable, table=True):
    """What one line of a settled statement moved from a payer's escrow to the pot."""

    __tablename__ = "draws"

    submission: int = Field(primary_key=True, foreign_key="submissions.id", sa_type=BigInteger)
    position: int = Field(primary_key=True)
    payer: bytes = Field(sa_type=LargeBinary)
    drawn: AssetAmount = Field(sa_type=AssetColumn)
    skipped: bool
