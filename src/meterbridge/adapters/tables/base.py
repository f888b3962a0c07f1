"""Column types that say what they measure, and the base of all tables."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sqlalchemy import BigInteger, Dialect, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

from meterbridge.domain.units import AssetAmount, UsageVector

NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints, so that a migration can name what it alters."""

BIG_KEY: Final = BigInteger().with_variant(Integer, "sqlite")
"""A key that counts itself up; SQLite does so only for a plain INTEGER."""


class UsageColumn(TypeDecorator[UsageVector]):
    """Eight int64 lanes as the 64 bytes of the protocol; takes a vector or those bytes."""

    impl = LargeBinary(64)
    cache_ok = True

    def process_bind_param(self, value: UsageVector | bytes | None, _dialect: Dialect) -> bytes | None:
        """Write the bytes; bulk inserts bring them along."""
        return value.to_bytes() if isinstance(value, UsageVector) else value

    def process_result_value(self, value: Any, _dialect: Dialect) -> UsageVector | None:
        """Read a vector."""
        return None if value is None else UsageVector.from_bytes(bytes(value))


class AssetColumn(TypeDecorator[AssetAmount]):
    """Base units as a decimal string: 256 bits fit no integer column, and no float ever holds money."""

    impl = String(78)
    cache_ok = True

    def process_bind_param(self, value: AssetAmount | None, _dialect: Dialect) -> str | None:
        """Write decimal digits."""
        return None if value is None else str(value.base_units)

    def process_result_value(self, value: Any, _dialect: Dialect) -> AssetAmount | None:
        """Read an amount."""
        return None if value is None else AssetAmount(int(value))


class WholeColumn(TypeDecorator[int]):
    """A whole number beyond 64 bits, as a decimal string: chain ids and shares."""

    impl = String(78)
    cache_ok = True

    def process_bind_param(self, value: int | None, _dialect: Dialect) -> str | None:
        """Write decimal digits."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> int | None:
        """Read a number."""
        return None if value is None else int(value)


class LedgerTable(SQLModel):
    """Base of all tables of the ledger; its metadata holds nothing else."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)


def table_of(model: type[LedgerTable]) -> Table:
    """Return the Core table behind a model: bulk work goes past the ORM, which is 15 times slower."""
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel sets it on table models
    return table
