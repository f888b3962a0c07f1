"""Keep the hashes of a statement's lines, so that a proof reads them rather than hashing a thousand lines.

Statements that are there already have none; their lines are hashed when a proof needs them.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "line_hashes",
        sa.Column("statement", sa.BigInteger(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["statement"], ["statements.id"], name="fk_line_hashes_statement"),
        sa.PrimaryKeyConstraint("statement", name="pk_line_hashes"),
    )


def downgrade() -> None:
    op.drop_table("line_hashes")
