"""Keep seals: batches of many accounts that were sealed at once.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "seals",
        sa.Column("tariff", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["tariff"], ["tariffs.id"], name="fk_seals_tariff"),
        sa.PrimaryKeyConstraint("tariff", "number", name="pk_seals"),
        sa.UniqueConstraint("name", name="uq_seals_name"),
    )


def downgrade() -> None:
    op.drop_table("seals")
