"""Create the ledger: registry, usage, assets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for create in _TABLES.values():
        create()


def downgrade() -> None:
    for name in reversed(_TABLES):
        op.drop_table(name)


def _create_deployments() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("chain_id", sa.String(78), nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
        sa.UniqueConstraint("chain_id", "contract", name="uq_deployments_chain_id_contract"),
    )


def _create_splits() -> None:
    op.create_table(
        "splits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("split_id", sa.LargeBinary(), nullable=False),
        sa.Column("asset", sa.LargeBinary(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("total_shares", sa.String(78), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_splits"),
        sa.UniqueConstraint("split_id", name="uq_splits_split_id"),
    )


def _create_parties() -> None:
    op.create_table(
        "parties",
        sa.Column("split", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.Column("share", sa.String(78), nullable=False),
        sa.ForeignKeyConstraint(["split"], ["splits.id"], name="fk_parties_split"),
        sa.PrimaryKeyConstraint("split", "position", name="pk_parties"),
    )


def _create_tariffs() -> None:
    op.create_table(
        "tariffs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tariff_id", sa.LargeBinary(), nullable=False),
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("split", sa.Integer(), nullable=False),
        sa.Column("provider", sa.LargeBinary(), nullable=False),
        sa.Column("rates", sa.LargeBinary(), nullable=False),
        sa.Column("scale", sa.Integer(), nullable=False),
        sa.Column("thaw_period", sa.Integer(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["deployment"], ["deployments.id"], name="fk_tariffs_deployment"),
        sa.ForeignKeyConstraint(["split"], ["splits.id"], name="fk_tariffs_split"),
        sa.PrimaryKeyConstraint("id", name="pk_tariffs"),
        sa.UniqueConstraint("tariff_id", name="uq_tariffs_tariff_id"),
    )


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tariff", sa.Integer(), nullable=False),
        sa.Column("payer", sa.LargeBinary(), nullable=False),
        sa.Column("blind", sa.LargeBinary(), nullable=False),
        sa.Column("customer", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["tariff"], ["tariffs.id"], name="fk_accounts_tariff"),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("tariff", "customer", name="uq_accounts_tariff_customer"),
        sa.UniqueConstraint("tariff", "payer", name="uq_accounts_tariff_payer"),
    )


def _create_logs() -> None:
    op.create_table(
        "logs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.LargeBinary(64), nullable=False),
        sa.CheckConstraint("kind IN ('charges', 'credits')", name=op.f("ck_logs_kind")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_logs_account"),
        sa.PrimaryKeyConstraint("id", name="pk_logs"),
        sa.UniqueConstraint("account", "kind", name="uq_logs_account_kind"),
    )


def _create_receipt_index() -> None:
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


def _create_pending_receipts() -> None:
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


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("sum", sa.LargeBinary(64), nullable=False),
        sa.Column("segment", sa.String(), nullable=True),
        sa.CheckConstraint("(size = 0) = (segment IS NULL)", name=op.f("ck_batches_opaque")),
        sa.ForeignKeyConstraint(["log"], ["logs.id"], name="fk_batches_log"),
        sa.PrimaryKeyConstraint("log", "seq", name="pk_batches"),
        sa.UniqueConstraint("segment", name="uq_batches_segment"),
    )


def _create_tree_nodes() -> None:
    op.create_table(
        "tree_nodes",
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("sum", sa.LargeBinary(64), nullable=False),
        sa.ForeignKeyConstraint(["log"], ["logs.id"], name="fk_tree_nodes_log"),
        sa.PrimaryKeyConstraint("log", "level", "position", name="pk_tree_nodes"),
        sqlite_with_rowid=False,
    )


def _create_statements() -> None:
    op.create_table(
        "statements",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tariff", sa.Integer(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("signer", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["tariff"], ["tariffs.id"], name="fk_statements_tariff"),
        sa.PrimaryKeyConstraint("id", name="pk_statements"),
        sa.UniqueConstraint("digest", name="uq_statements_digest"),
        sa.UniqueConstraint("tariff", "sealed_at", "part", name="uq_statements_tariff_sealed_at_part"),
    )


def _create_statement_lines() -> None:
    op.create_table(
        "statement_lines",
        sa.Column("statement", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("account", sa.BigInteger(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("charges_size", sa.BigInteger(), nullable=False),
        sa.Column("charges_hash", sa.LargeBinary(), nullable=False),
        sa.Column("charges_sum", sa.LargeBinary(64), nullable=False),
        sa.Column("credits_size", sa.BigInteger(), nullable=False),
        sa.Column("credits_hash", sa.LargeBinary(), nullable=False),
        sa.Column("credits_sum", sa.LargeBinary(64), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_statement_lines_account"),
        sa.ForeignKeyConstraint(["statement"], ["statements.id"], name="fk_statement_lines_statement"),
        sa.PrimaryKeyConstraint("statement", "position", name="pk_statement_lines"),
        sa.UniqueConstraint("account", "sealed_at", name="uq_statement_lines_account_sealed_at"),
    )


def _create_restarts() -> None:
    op.create_table(
        "restarts",
        sa.Column("account", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("usage", sa.LargeBinary(64), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_restarts_account"),
        sa.PrimaryKeyConstraint("account", name="pk_restarts"),
    )


def _create_submissions() -> None:
    op.create_table(
        "submissions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tariff_id", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('sent', 'settled', 'failed')", name=op.f("ck_submissions_state")),
        sa.PrimaryKeyConstraint("id", name="pk_submissions"),
        sa.UniqueConstraint("tx_hash", name="uq_submissions_tx_hash"),
    )
    op.create_index("ix_submissions_digest", "submissions", ["digest"])
    op.create_index("ix_submissions_tariff_id", "submissions", ["tariff_id"])


def _create_draws() -> None:
    op.create_table(
        "draws",
        sa.Column("submission", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("payer", sa.LargeBinary(), nullable=False),
        sa.Column("drawn", sa.String(78), nullable=False),
        sa.Column("skipped", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["submission"], ["submissions.id"], name="fk_draws_submission"),
        sa.PrimaryKeyConstraint("submission", "position", name="pk_draws"),
    )


_TABLES = {
    "deployments": _create_deployments,
    "splits": _create_splits,
    "parties": _create_parties,
    "tariffs": _create_tariffs,
    "accounts": _create_accounts,
    "logs": _create_logs,
    "receipt_index": _create_receipt_index,
    "pending_receipts": _create_pending_receipts,
    "batches": _create_batches,
    "tree_nodes": _create_tree_nodes,
    "statements": _create_statements,
    "statement_lines": _create_statement_lines,
    "restarts": _create_restarts,
    "submissions": _create_submissions,
    "draws": _create_draws,
}
