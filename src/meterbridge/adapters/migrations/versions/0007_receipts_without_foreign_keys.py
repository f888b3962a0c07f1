"""Write rows of receipts without foreign keys: each cost a look-up, or three, for every event.

Whoever writes a receipt changes the row of its log in the same transaction, and notices when it is missing.
On PostgreSQL the keys took more of its time than all the rest of an insert.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEYS = (
    ("receipt_index", "tariff", "tariffs"),
    ("receipt_index", "log", "logs"),
    ("sealed_receipts", "log", "logs"),
    ("pending_receipts", "log", "logs"),
)
_PRIMARY = {
    "receipt_index": ("tariff", "event_key"),
    "sealed_receipts": ("log", "receipt_id"),
    "pending_receipts": ("arrival",),
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(with_keys=False)
        return
    for table, column, _ in _KEYS:
        op.drop_constraint(f"fk_{table}_{column}", table, type_="foreignkey")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(with_keys=True)
        return
    for table, column, parent in _KEYS:
        op.create_foreign_key(f"fk_{table}_{column}", table, parent, [column], ["id"])


def _columns() -> dict[str, tuple[sa.Column[Any], ...]]:
    return {
        "receipt_index": (
            sa.Column("tariff", sa.Integer(), nullable=False),
            sa.Column("event_key", sa.LargeBinary(), nullable=False),
            sa.Column("log", sa.BigInteger(), nullable=False),
            sa.Column("content", sa.LargeBinary(), nullable=False),
        ),
        "sealed_receipts": (
            sa.Column("log", sa.BigInteger(), nullable=False),
            sa.Column("receipt_id", sa.LargeBinary(), nullable=False),
            sa.Column("seq", sa.BigInteger(), nullable=False),
            sa.Column("batch_row", sa.BigInteger(), nullable=False),
        ),
        "pending_receipts": (
            sa.Column("arrival", sa.Integer(), nullable=False),
            sa.Column("log", sa.BigInteger(), nullable=False),
            sa.Column("receipt_id", sa.LargeBinary(), nullable=False),
            sa.Column("occurred_at", sa.BigInteger(), nullable=False),
            sa.Column("usage", sa.LargeBinary(64), nullable=False),
            sa.Column("details_hash", sa.LargeBinary(), nullable=False),
            sa.Column("source", sa.String(), nullable=False),
            sa.Column("event_id", sa.String(), nullable=False),
            sa.Column("details", sa.String(), nullable=False),
        ),
    }


def _rebuild(*, with_keys: bool) -> None:
    """SQLite drops and adds no constraint: each table is written anew, in the order of its tree."""
    for table, columns in _columns().items():
        made = f"new_{table}"
        keys = _KEYS if with_keys else ()
        op.create_table(
            made,
            *columns,
            *(
                sa.ForeignKeyConstraint([column], [f"{parent}.id"], name=f"fk_{table}_{column}")
                for child, column, parent in keys
                if child == table
            ),
            sa.PrimaryKeyConstraint(*_PRIMARY[table], name=f"pk_{table}"),
            **_kind(table),
        )
        names = ", ".join(column.name for column in columns)
        order = ", ".join(_PRIMARY[table])
        op.execute(f"INSERT INTO {made} ({names}) SELECT {names} FROM {table} ORDER BY {order}")
        if table == "pending_receipts":
            _keep_the_counter_of_arrivals(made)
        op.drop_table(table)
        op.rename_table(made, table)
    op.create_index("ix_pending_receipts_log_arrival", "pending_receipts", ["log", "arrival"])


def _kind(table: str) -> dict[str, bool]:
    return {"sqlite_autoincrement": True} if table == "pending_receipts" else {"sqlite_with_rowid": False}


def _keep_the_counter_of_arrivals(made: str) -> None:
    """No arrival comes twice, also where nothing is pending just now; a new table has no counter yet."""
    op.execute(f"DELETE FROM sqlite_sequence WHERE name = '{made}'")
    op.execute(
        f"INSERT INTO sqlite_sequence (name, seq) "
        f"SELECT '{made}', seq FROM sqlite_sequence WHERE name = 'pending_receipts'"
    )
