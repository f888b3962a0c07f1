"""Keep API keys and quarantined events.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("provider", sa.LargeBinary(), nullable=False),
        sa.Column("tariff_id", sa.LargeBinary(), nullable=True),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_provider", "api_keys", ["provider"])
    op.create_table(
        "quarantine",
        sa.Column("id", _BIG_KEY, nullable=False),
        sa.Column("provider", sa.LargeBinary(), nullable=False),
        sa.Column("tariff_id", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("incoming", sa.String(), nullable=False),
        sa.Column("stored", sa.String(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.CheckConstraint("state IN ('held', 'released', 'rejected')", name=op.f("ck_quarantine_state")),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
        sa.UniqueConstraint(
            "tariff_id",
            "source",
            "event_id",
            "content",
            name="uq_quarantine_tariff_id_source_event_id_content",
        ),
    )
    op.create_index("ix_quarantine_provider_state_id", "quarantine", ["provider", "state", "id"])


def downgrade() -> None:
    op.drop_table("quarantine")
    op.drop_table("api_keys")
