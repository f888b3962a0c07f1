"""What the metering service keeps beside the ledger: API keys and quarantined events. No amount of money."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from meterbridge.adapters.tables.base import BIG_KEY, LedgerTable


class ApiKeyRow(LedgerTable, table=True):
    """One API key: the hash of its secret, never the secret.

    Times are seconds since 1970. `tariff_id` is the tariff that events go to when a request names none.
    """

    __tablename__ = "api_keys"

    key_id: str = Field(primary_key=True)
    secret_hash: bytes = Field(sa_type=LargeBinary)
    provider: bytes = Field(sa_type=LargeBinary, index=True)
    tariff_id: bytes | None = Field(default=None, sa_type=LargeBinary)
    scopes: str
    name: str
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at: int | None = Field(default=None, sa_type=BigInteger)


class QuarantineRow(LedgerTable, table=True):
    """An event that came under the identity of another and differs from it; a person decides.

    `incoming` and `stored` are JSON texts of both contents. The same content sent again is the same row.
    """

    __tablename__ = "quarantine"
    __table_args__ = (
        UniqueConstraint("tariff_id", "source", "event_id", "content"),
        CheckConstraint("state IN ('held', 'released', 'rejected')", name="state"),
        Index(None, "provider", "state", "id"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    provider: bytes = Field(sa_type=LargeBinary)
    tariff_id: bytes = Field(sa_type=LargeBinary)
    source: str
    event_id: str
    content: bytes = Field(sa_type=LargeBinary)
    incoming: str
    stored: str
    received_at: int = Field(sa_type=BigInteger)
    state: str
    decided_at: int | None = Field(default=None, sa_type=BigInteger)
    note: str | None = None
