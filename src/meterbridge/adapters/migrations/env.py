"""Runs migrations on the connection that the caller brings, in the caller's transaction."""

from __future__ import annotations

from alembic import context

from meterbridge.adapters.tables import (  # noqa: F401  # they fill the metadata
    assets,
    following,
    following_assets,
    following_usage,
    outbox,
    proving,
    registry,
    service,
    usage,
)
from meterbridge.adapters.tables.base import LedgerTable

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=LedgerTable.metadata,
    render_as_batch=True,  # SQLite cannot alter a column otherwise
)
context.run_migrations()
