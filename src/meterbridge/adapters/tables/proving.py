"""What proofs need at hand."""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary
from sqlmodel import Field

from meterbridge.adapters.tables.base import LedgerTable


class LineHashesRow(LedgerTable, table=True):
    """The EIP-712 struct hashes of a statement's lines, 32 bytes each, one after another.

    They follow from the lines; hashing a thousand of them for one proof takes longer than all the rest of it.
    """

    __tablename__ = "line_hashes"

    statement: int = Field(primary_key=True, foreign_key="statements.id", sa_type=BigInteger)
    hashes: bytes = Field(sa_type=LargeBinary)
