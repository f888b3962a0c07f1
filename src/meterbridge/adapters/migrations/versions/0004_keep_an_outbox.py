"""Keep an outbox: deliveries of statements, their transactions, the nonces of senders.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STATES = "'waiting', 'ready', 'signed', 'sent', 'mined', 'final', 'failed', 'superseded'"


def upgrade() -> None:
    _create_deliveries()
    _create_attempts()
    op.create_table(
        "nonces",
        sa.Column("chain_id", sa.String(78), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "sender", name="pk_nonces"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", _BIG_KEY, nullable=False),
        sa.Column("chain_id", sa.String(78), nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("tariff_id", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=True),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("tx_hash", sa.LargeBinary(), nullable=True),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.LargeBinary(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("owing", sa.Boolean(), nullable=False),
        sa.Column("lease_holder", sa.String(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(f"state IN ({_STATES})", name=op.f("ck_deliveries_state")),
        sa.CheckConstraint("(sender IS NULL) = (nonce IS NULL)", name=op.f("ck_deliveries_nonce")),
        sa.CheckConstraint("(block IS NULL) = (block_hash IS NULL)", name=op.f("ck_deliveries_block")),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("digest", name="uq_deliveries_digest"),
    )
    op.create_index("ix_deliveries_state_next_at", "deliveries", ["state", "next_at"])
    op.create_index("ix_deliveries_tariff_id_sealed_at", "deliveries", ["tariff_id", "sealed_at"])


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", _BIG_KEY, nullable=False),
        sa.Column("delivery", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("gas", sa.BigInteger(), nullable=False),
        sa.Column("max_wei", sa.String(78), nullable=False),
        sa.Column("tip_wei", sa.String(78), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('settle', 'cancel')", name=op.f("ck_attempts_kind")),
        sa.CheckConstraint("state IN ('signed', 'sent', 'reverted', 'lost')", name=op.f("ck_attempts_state")),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.id"], name="fk_attempts_delivery"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
    )
    op.create_index("ix_attempts_delivery", "attempts", ["delivery"])


def downgrade() -> None:
    for table in ("nonces", "attempts", "deliveries"):
        op.drop_table(table)
