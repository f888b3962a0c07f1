"""Keep what was followed on a chain, and alerts.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_events()
    _create_states()
    _create_alerts()


def _create_events() -> None:
    op.create_table(
        "chain_blocks",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name=op.f("fk_chain_blocks_deployment")),
        sa.PrimaryKeyConstraint("deployment", "number", name=op.f("pk_chain_blocks")),
    )
    op.create_table(
        "chain_cursors",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("first_block", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("final", sa.BigInteger(), nullable=False),
        sa.Column("verified", sa.BigInteger(), nullable=False),
        sa.Column("verified_hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name=op.f("fk_chain_cursors_deployment")),
        sa.PrimaryKeyConstraint("deployment", name=op.f("pk_chain_cursors")),
    )
    op.create_table(
        "chain_events",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=True),
        sa.Column("rest", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name=op.f("fk_chain_events_deployment")),
        sa.PrimaryKeyConstraint("deployment", "block", "log_index", name=op.f("pk_chain_events")),
    )
    op.create_index(
        op.f("ix_chain_events_deployment_subject_account_block"),
        "chain_events",
        ["deployment", "subject", "account", "block"],
        unique=False,
    )
    op.create_table(
        "chain_tariffs",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("tariff_id", sa.LargeBinary(), nullable=False),
        sa.Column("split_id", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name=op.f("fk_chain_tariffs_deployment")),
        sa.PrimaryKeyConstraint("deployment", "tariff_id", name=op.f("pk_chain_tariffs")),
    )
    op.create_table(
        "chain_amounts",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("amount", sa.String(78), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment", "block", "log_index"],
            ["chain_events.deployment", "chain_events.block", "chain_events.log_index"],
            name=op.f("fk_chain_amounts_deployment_block_log_index"),
        ),
        sa.PrimaryKeyConstraint("deployment", "block", "log_index", name=op.f("pk_chain_amounts")),
    )
    op.create_table(
        "chain_usage",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("usage", sa.LargeBinary(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment", "block", "log_index"],
            ["chain_events.deployment", "chain_events.block", "chain_events.log_index"],
            name=op.f("fk_chain_usage_deployment_block_log_index"),
        ),
        sa.PrimaryKeyConstraint("deployment", "block", "log_index", name=op.f("pk_chain_usage")),
    )


def _create_states() -> None:
    op.create_table(
        "chain_escrows",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("tariff_id", sa.LargeBinary(), nullable=False),
        sa.Column("payer", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.Boolean(), nullable=False),
        sa.Column("arrived_amount", sa.String(78), nullable=False),
        sa.Column("withdrawn_amount", sa.String(78), nullable=False),
        sa.Column("settled_amount", sa.String(78), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("thawing_amount", sa.String(78), nullable=False),
        sa.Column("thaw_end", sa.String(78), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name=op.f("fk_chain_escrows_deployment")),
        sa.PrimaryKeyConstraint("deployment", "tariff_id", "payer", "block", name=op.f("pk_chain_escrows")),
    )
    op.create_index(
        op.f("ix_chain_escrows_deployment_block"), "chain_escrows", ["deployment", "block"], unique=False
    )
    op.create_table(
        "chain_pots",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("split_id", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.Boolean(), nullable=False),
        sa.Column("drawn_amount", sa.String(78), nullable=False),
        sa.Column("funded_amount", sa.String(78), nullable=False),
        sa.Column("claimed_amount", sa.String(78), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name=op.f("fk_chain_pots_deployment")),
        sa.PrimaryKeyConstraint("deployment", "split_id", "block", name=op.f("pk_chain_pots")),
    )
    op.create_index(
        op.f("ix_chain_pots_deployment_block"), "chain_pots", ["deployment", "block"], unique=False
    )
    op.create_table(
        "chain_signers",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("provider", sa.LargeBinary(), nullable=False),
        sa.Column("signer", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.Boolean(), nullable=False),
        sa.Column("until", sa.String(78), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name=op.f("fk_chain_signers_deployment")),
        sa.PrimaryKeyConstraint("deployment", "provider", "signer", "block", name=op.f("pk_chain_signers")),
    )
    op.create_index(
        op.f("ix_chain_signers_deployment_block"), "chain_signers", ["deployment", "block"], unique=False
    )
    op.create_table(
        "chain_stakes",
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("split_id", sa.LargeBinary(), nullable=False),
        sa.Column("offset", sa.String(78), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.Boolean(), nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.Column("share", sa.String(78), nullable=False),
        sa.Column("claimed_amount", sa.String(78), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name=op.f("fk_chain_stakes_deployment")),
        sa.PrimaryKeyConstraint(
            "deployment", "split_id", "offset", "account", "block", name=op.f("pk_chain_stakes")
        ),
    )
    op.create_index(
        op.f("ix_chain_stakes_deployment_block"), "chain_stakes", ["deployment", "block"], unique=False
    )


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("open_key", sa.String(), nullable=True),
        sa.Column("guard", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("amount", sa.String(78), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("open_key", name=op.f("uq_alerts_open_key")),
    )
    op.create_index(op.f("ix_alerts_guard"), "alerts", ["guard"], unique=False)
    op.create_table(
        "guard_samples",
        sa.Column("id", _BIG_KEY, nullable=False),
        sa.Column("tariff_id", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.String(78), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guard_samples")),
    )
    op.create_index(op.f("ix_guard_samples_tariff_id_at"), "guard_samples", ["tariff_id", "at"], unique=False)
    op.create_table(
        "alert_notices",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("alert", sa.String(), nullable=False),
        sa.Column("receiver", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.String(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["alert"], ["alerts.id"], name=op.f("fk_alert_notices_alert")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_notices")),
    )
    op.create_index(op.f("ix_alert_notices_alert"), "alert_notices", ["alert"], unique=False)
    op.create_index(
        op.f("ix_alert_notices_done_at_next_at"), "alert_notices", ["done_at", "next_at"], unique=False
    )


def downgrade() -> None:
    for table in (
        "chain_usage",
        "chain_amounts",
        "chain_tariffs",
        "chain_stakes",
        "chain_signers",
        "chain_pots",
        "chain_events",
        "chain_escrows",
        "chain_cursors",
        "chain_blocks",
        "alert_notices",
        "guard_samples",
        "alerts",
    ):
        op.drop_table(table)
