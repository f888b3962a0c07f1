"""Narrow the receipt index: one tree of keys for what comes in, another of places for what is sealed.

A receipt that comes in is entered in one tree at random, where there were three.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PENDING = (
    *("arrival", "log", "receipt_id", "occurred_at", "usage"),
    *("details_hash", "source", "event_id", "details"),
)
_NAMES = ", ".join(_PENDING)


def upgrade() -> None:
    _create_sealed_receipts()
    op.execute(
        "INSERT INTO sealed_receipts (log, receipt_id, seq, batch_row) "
        "SELECT log, receipt_id, seq, batch_row FROM receipt_index WHERE seq IS NOT NULL"
    )
    op.execute("CREATE TABLE kept_index AS SELECT tariff, event_key, log, content FROM receipt_index")
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_pending_of_sqlite()
    else:
        op.drop_constraint("fk_pending_receipts_log_receipt_id", "pending_receipts", type_="foreignkey")
        op.drop_constraint("uq_pending_receipts_log_receipt_id", "pending_receipts", type_="unique")
        op.alter_column("pending_receipts", "log", type_=sa.BigInteger())
        op.create_foreign_key("fk_pending_receipts_log", "pending_receipts", "logs", ["log"], ["id"])
    op.drop_table("receipt_index")
    _create_receipt_index()
    op.execute(
        "INSERT INTO receipt_index (tariff, event_key, log, content) "
        "SELECT tariff, event_key, log, content FROM kept_index ORDER BY tariff, event_key"
    )
    op.drop_table("kept_index")


def _create_sealed_receipts() -> None:
    op.create_table(
        "sealed_receipts",
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("receipt_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("batch_row", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["log"], ["logs.id"], name="fk_sealed_receipts_log"),
        sa.PrimaryKeyConstraint("log", "receipt_id", name="pk_sealed_receipts"),
        sqlite_with_rowid=False,
    )


def _create_receipt_index() -> None:
    op.create_table(
        "receipt_index",
        sa.Column("tariff", sa.Integer(), nullable=False),
        sa.Column("event_key", sa.LargeBinary(), nullable=False),
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["tariff"], ["tariffs.id"], name="fk_receipt_index_tariff"),
        sa.ForeignKeyConstraint(["log"], ["logs.id"], name="fk_receipt_index_log"),
        sa.PrimaryKeyConstraint("tariff", "event_key", name="pk_receipt_index"),
        sqlite_with_rowid=False,
    )


def _rebuild_pending_of_sqlite() -> None:
    """SQLite drops no constraint; the counter of arrivals goes on where it was, so that none comes twice."""
    op.execute(f"CREATE TABLE kept_pending AS SELECT {_NAMES} FROM pending_receipts")
    op.execute("CREATE TABLE kept_counter AS SELECT seq FROM sqlite_sequence WHERE name = 'pending_receipts'")
    op.drop_table("pending_receipts")
    op.create_table(
        "pending_receipts",
        sa.Column("arrival", sa.Integer(), nullable=False),
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("receipt_id", sa.LargeBinary(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("usage", sa.LargeBinary(64), nullable=False),
        sa.Column("details_hash", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("details", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["log"], ["logs.id"], name="fk_pending_receipts_log"),
        sa.PrimaryKeyConstraint("arrival", name="pk_pending_receipts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_pending_receipts_log_arrival", "pending_receipts", ["log", "arrival"])
    op.execute(f"INSERT INTO pending_receipts ({_NAMES}) SELECT {_NAMES} FROM kept_pending ORDER BY arrival")
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'pending_receipts'")
    op.execute("INSERT INTO sqlite_sequence (name, seq) SELECT 'pending_receipts', seq FROM kept_counter")
    op.drop_table("kept_pending")
    op.drop_table("kept_counter")


def downgrade() -> None:
    """Go back, as long as nothing was metered: the receipt of an event key cannot be told from the key."""
    held = op.get_bind().execute(sa.text("SELECT count(*) FROM receipt_index")).scalar_one()
    if held:
        raise NotImplementedError(f"the index holds {held} receipts; restore a backup from before instead")
    op.drop_table("sealed_receipts")
    op.drop_table("pending_receipts")
    op.drop_table("receipt_index")
    op.create_table(
        "receipt_index",
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("receipt_id", sa.LargeBinary(), nullable=False),
        sa.Column("tariff", sa.Integer(), nullable=False),
        sa.Column("event_key", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("batch_row", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["log"], ["logs.id"], name="fk_receipt_index_log"),
        sa.ForeignKeyConstraint(["tariff"], ["tariffs.id"], name="fk_receipt_index_tariff"),
        sa.PrimaryKeyConstraint("log", "receipt_id", name="pk_receipt_index"),
        sa.UniqueConstraint("tariff", "event_key", name="uq_receipt_index_tariff_event_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pending_receipts",
        sa.Column("arrival", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("receipt_id", sa.LargeBinary(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("usage", sa.LargeBinary(64), nullable=False),
        sa.Column("details_hash", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("details", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["log", "receipt_id"],
            ["receipt_index.log", "receipt_index.receipt_id"],
            name="fk_pending_receipts_log_receipt_id",
        ),
        sa.PrimaryKeyConstraint("arrival", name="pk_pending_receipts"),
        sa.UniqueConstraint("log", "receipt_id", name="uq_pending_receipts_log_receipt_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_pending_receipts_log_arrival", "pending_receipts", ["log", "arrival"])
