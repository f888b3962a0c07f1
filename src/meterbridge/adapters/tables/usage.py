"""What is measured: receipts, logs, batches, statements. No column here holds an amount of money."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from meterbridge.adapters.tables.base import BIG_KEY, LedgerTable, UsageColumn
from meterbridge.domain.units import UsageVector


class LogRow(LedgerTable, table=True):
    """One of the two logs of an account.

    `size` counts its elements; `total` is the usage of all its receipts, sealed or not, and of an opaque
    element.
    """

    __tablename__ = "logs"
    __table_args__ = (
        UniqueConstraint("account", "kind"),
        CheckConstraint("kind IN ('charges', 'credits')", name="kind"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    account: int = Field(foreign_key="accounts.id", sa_type=BigInteger)
    kind: str
    size: int = Field(sa_type=BigInteger)
    total: UsageVector = Field(sa_type=UsageColumn)


class ReceiptIndexRow(LedgerTable, table=True):
    """Every event ever accepted, once: what makes counting twice impossible.

    One table for pending and sealed receipts, so that one constraint holds for both: a receipt that is being
    sealed while it is sent again is never in neither. `event_key` is unique within a tariff, so one event is
    not charged to two payers; `content` is that of the event as it first came. Rows are as narrow as can be,
    since each stands at a random place of the tree.

    No table with a row a receipt has foreign keys: who writes one changes the row of its log in the same
    transaction, so there is one, and a look-up for each receipt would cost more than writing it.
    """

    __tablename__ = "receipt_index"
    __table_args__ = ({"sqlite_with_rowid": False},)

    tariff: int = Field(primary_key=True)
    event_key: bytes = Field(primary_key=True, sa_type=LargeBinary)
    log: int = Field(sa_type=BigInteger)
    content: bytes = Field(sa_type=LargeBinary)


class SealedReceiptRow(LedgerTable, table=True):
    """Where each sealed receipt is: its batch, and its row in it. A batch enters in the tree's order."""

    __tablename__ = "sealed_receipts"
    __table_args__ = ({"sqlite_with_rowid": False},)

    log: int = Field(primary_key=True, sa_type=BigInteger)
    receipt_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    seq: int = Field(sa_type=BigInteger)
    batch_row: int = Field(sa_type=BigInteger)


class PendingReceiptRow(LedgerTable, table=True):
    """A receipt that awaits sealing; `arrival` is never used twice.

    No index knows its id: the event index keeps it from being there twice, and who asks for a single pending
    receipt, as a correction does, can wait for a look through those of its log.
    """

    __tablename__ = "pending_receipts"
    __table_args__ = (Index(None, "log", "arrival"), {"sqlite_autoincrement": True})

    arrival: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    log: int = Field(sa_type=BigInteger)
    receipt_id: bytes = Field(sa_type=LargeBinary)
    occurred_at: int = Field(sa_type=BigInteger)
    usage: UsageVector = Field(sa_type=UsageColumn)
    details_hash: bytes = Field(sa_type=LargeBinary)
    source: str
    event_id: str
    details: str


class BatchRow(LedgerTable, table=True):
    """One element of a log. An opaque one, which stands for a lost log, has no receipts and no segment."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint("(size = 0) = (segment IS NULL)", name="opaque"),
        UniqueConstraint("segment"),
    )

    log: int = Field(primary_key=True, foreign_key="logs.id", sa_type=BigInteger)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    root: bytes = Field(sa_type=LargeBinary)
    sum: UsageVector = Field(sa_type=UsageColumn)
    segment: str | None = None


class SealRow(LedgerTable, table=True):
    """Batches of many accounts that were sealed at once: their receipts have rows in no table here."""

    __tablename__ = "seals"

    tariff: int = Field(primary_key=True, foreign_key="tariffs.id")
    number: int = Field(primary_key=True, sa_type=BigInteger)
    name: str = Field(unique=True)


class TreeNodeRow(LedgerTable, table=True):
    """A complete subtree of a log, over elements position * 2**level up to the next; level 0 is elements."""

    __tablename__ = "tree_nodes"
    __table_args__ = ({"sqlite_with_rowid": False},)

    log: int = Field(primary_key=True, foreign_key="logs.id", sa_type=BigInteger)
    level: int = Field(primary_key=True)
    position: int = Field(primary_key=True, sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)
    sum: UsageVector = Field(sa_type=UsageColumn)


class StatementRow(LedgerTable, table=True):
    """One signed statement."""

    __tablename__ = "statements"
    __table_args__ = (UniqueConstraint("tariff", "sealed_at", "part"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG_KEY)
    tariff: int = Field(foreign_key="tariffs.id")
    sealed_at: int = Field(sa_type=BigInteger)
    part: int
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    signer: bytes = Field(sa_type=LargeBinary)
    signature: bytes = Field(sa_type=LargeBinary)


class StatementLineRow(LedgerTable, table=True):
    """One line of a statement, with both logs' states behind its head; usage follows from their sums."""

    __tablename__ = "statement_lines"
    __table_args__ = (UniqueConstraint("account", "sealed_at"),)

    statement: int = Field(primary_key=True, foreign_key="statements.id", sa_type=BigInteger)
    position: int = Field(primary_key=True)
    account: int = Field(foreign_key="accounts.id", sa_type=BigInteger)
    sealed_at: int = Field(sa_type=BigInteger)
    charges_size: int = Field(sa_type=BigInteger)
    charges_hash: bytes = Field(sa_type=LargeBinary)
    charges_sum: UsageVector = Field(sa_type=UsageColumn)
    credits_size: int = Field(sa_type=BigInteger)
    credits_hash: bytes = Field(sa_type=LargeBinary)
    credits_sum: UsageVector = Field(sa_type=UsageColumn)


class RestartRow(LedgerTable, table=True):
    """The last settled state of an account whose logs were lost and began again."""

    __tablename__ = "restarts"

    account: int = Field(primary_key=True, foreign_key="accounts.id", sa_type=BigInteger)
    head: bytes = Field(sa_type=LargeBinary)
    usage: UsageVector = Field(sa_type=UsageColumn)
    sealed_at: int = Field(sa_type=BigInteger)
