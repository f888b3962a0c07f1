"""What the services need from the outside: a ledger, segments, a signer. Adapters provide them.

Services of the usage side and their signatures:

    metering.import_usage(ledger, record, rows, *, payer_of=None, skip_bad=False, on_progress=None)
        -> ImportReport
    metering.correct(ledger, segments, account, receipt_id, *, replacement, occurred_at, reason)
        -> Correction
    sealing.seal(ledger, segments, tariff_id, *, max_receipts=None, on_progress=None) -> list[BatchRecord]
    statements.make_statement(ledger, record, sealed_at, signer) -> SignedStatement    (at most 1,000 lines)
    statements.make_statements(ledger, record, sealed_at, signer) -> list[SignedStatement]    (any number)
    proving.prove(ledger, segments, account, receipt_id, *, party=0) -> ReceiptProof
    proofs.verify_proof(proof, contracts=None) -> VerifiedReceipt
    recovery.rebuild(ledger, segments, statements=(), *, signers=()) -> RebuildReport
    exchange.{statement,proof,tariff_record}_to_json(value) -> dict; ..._from_json(object) -> value
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import SignedStatement
from meterbridge.domain.sum_tree import Sibling, SumNode
from meterbridge.domain.units import UsageVector
from meterbridge.services.records import (
    AccountKey,
    AccountRecord,
    BatchRecord,
    Intake,
    LogKey,
    Pending,
    Place,
    ReceiptTable,
    Restart,
    SealedBatch,
    SignedHead,
    StatementRecord,
    SubmissionRecord,
    TariffRecord,
    TreeNode,
)
from meterbridge.services.signed_lines import SignedLine


class Registry(Protocol):
    """Tariffs and accounts. Every `add` is idempotent; other content under a known key is a `Conflict`."""

    def add_tariff(self, record: TariffRecord) -> None:
        """Keep a tariff. One ledger serves a tariff id on one contract only."""

    def tariff(self, tariff_id: bytes) -> TariffRecord:
        """Return a tariff, or raise `UnknownTariff`."""

    def tariffs(self) -> list[TariffRecord]:
        """Return all tariffs, in the order in which they were added."""

    def open_account(self, key: AccountKey, blind: bytes, customer: str | None = None) -> AccountRecord:
        """Keep an account; a customer name may be given later, a blind never changes."""

    def account(self, key: AccountKey) -> AccountRecord:
        """Return an account, or raise `UnknownAccount`."""

    def accounts(self, tariff_id: bytes) -> list[AccountRecord]:
        """Return all accounts of a tariff, in the order in which they were opened."""


class UsageLedger(Protocol):
    """Receipts that await sealing, the index of all, and the logs."""

    def add_receipts(
        self, intake: Intake, headroom: UsageVector, *, whole: bool = False
    ) -> npt.NDArray[np.int8]:
        """Store receipts in one transaction; return (n,) of ADDED, REPEATED or CONFLICT.

        With `whole`, nothing is stored where anything is a CONFLICT.

        Raises:
            HeadroomExceeded: when a log's total would exceed `headroom` in a lane; nothing is stored.
        """

    def replace_pending(self, log: LogKey, arrival: int, table: ReceiptTable) -> None:
        """Put one receipt in the place of a pending one with the same id; raise if it is sealed by now."""

    def find(self, log: LogKey, receipt_id: bytes) -> Place | None:
        """Tell where a receipt is."""

    def locate(self, tariff_id: bytes, source: str, event_id: str) -> tuple[LogKey, bytes] | None:
        """Return the log and the receipt id of an event, whoever pays for it."""

    def pending_logs(self, tariff_id: bytes) -> list[LogKey]:
        """Return the logs that have receipts to seal, in the order of their accounts, charges first."""

    def pending(self, log: LogKey, limit: int | None = None) -> Pending:
        """Return the receipts of a log that await sealing, oldest arrival first."""

    def pending_receipt(self, log: LogKey, arrival: int) -> ReceiptTable | None:
        """Return one receipt that awaits sealing, as a table of one row."""

    def pending_count(self, tariff_id: bytes) -> int:
        """Return how many receipts of a tariff await sealing."""

    def total(self, log: LogKey) -> UsageVector:
        """Return the usage of all receipts of a log, sealed or not."""

    def log_size(self, log: LogKey) -> int:
        """Return how many elements a log has."""

    def log_sizes(self, tariff_id: bytes) -> Mapping[LogKey, int]:
        """Return the sizes of all logs of a tariff that are not empty."""

    def tree_nodes(self, log: LogKey, places: Sequence[tuple[int, int]]) -> list[SumNode]:
        """Return complete subtrees of a log by (level, position), in the given order; each must exist."""

    def batch(self, log: LogKey, seq: int) -> BatchRecord:
        """Return one element of a log."""

    def batches(self, log: LogKey) -> Iterator[BatchRecord]:
        """Yield the elements of a log."""

    def commit_batches(self, sealed: Sequence[SealedBatch]) -> None:
        """Append batches in one transaction: their elements and index rows, their pending rows gone.

        Raises:
            Conflict: when a log grew, or a receipt changed or is not pending any more; nothing is stored.
        """

    def restore_batch(
        self, batch: BatchRecord, nodes: Sequence[TreeNode], table: ReceiptTable, contents: Sequence[bytes]
    ) -> None:
        """Append a batch that a segment holds and the ledger has lost; its receipts are unknown or pending.

        Raises:
            Conflict: when another batch has one of its receipts; nothing is stored.
        """

    def restart(
        self, account: AccountKey, state: Restart, elements: Sequence[tuple[BatchRecord, TreeNode]]
    ) -> None:
        """Begin the empty logs of an account with opaque elements; raise `Conflict` when one is not empty."""

    def sole_writer(self, timeout: float = 30.0) -> AbstractContextManager[None]:
        """Hold the ledger's one right to seal, correct and sign; freed when the process dies.

        Raises:
            LedgerBusy: when another process holds it for `timeout` seconds.
        """


class StatementLedger(Protocol):
    """Statements, stored before they leave."""

    def last_signed(self, tariff_id: bytes) -> Mapping[AccountKey, SignedHead]:
        """Return what the last statement said of each account that any statement or restart mentions."""

    def store_statements(self, records: Sequence[StatementRecord]) -> None:
        """Store statements in one transaction.

        Raises:
            Conflict: when an account has a statement of the same or a later time; nothing is stored.
        """

    def statements(self, tariff_id: bytes) -> Iterator[StatementRecord]:
        """Yield all statements of a tariff, in order of time."""

    def failed_statements(self, tariff_id: bytes) -> list[SignedStatement]:
        """Return the statements that can never be settled and that no later ones cover, oldest first."""

    def signed_line(self, account: AccountKey) -> SignedLine | None:
        """Return this account's line of the last statement that has one."""


class AssetLedger(Protocol):
    """What the asset side keeps: submissions and what they drew."""

    def record_submission(self, submission: SubmissionRecord) -> None:
        """Insert or update by transaction hash; what is settled or failed stays so when "sent" again."""

    def submissions(self, tariff_id: bytes) -> list[SubmissionRecord]:
        """Return all submissions for a tariff, in the order in which they were first recorded."""

    def settlements(self, tariff_id: bytes) -> list[SubmissionRecord]:
        """Return those that are settled."""

    def settled_payers(self, tariff_id: bytes) -> Set[Address]:
        """Return the payers whose accounts a settled statement has a line for."""


class Ledger(Registry, UsageLedger, StatementLedger, AssetLedger, Protocol):
    """Everything a ledger folder's database keeps."""


@dataclass(frozen=True, slots=True)
class SegmentMeta:
    """What a segment says of itself; with its columns enough to rebuild the ledger."""

    batch: BatchRecord
    account: AccountRecord


@dataclass(frozen=True, slots=True)
class Segment:
    """One sealed batch as it is stored: rows sorted by id."""

    meta: SegmentMeta
    table: ReceiptTable


class Segments(Protocol):
    """Sealed batches, each in a file of its own that never changes."""

    def put_tariff(self, record: TariffRecord) -> None:
        """Keep a tariff beside its segments, durably; doing so again changes nothing."""

    def tariffs(self) -> Iterable[TariffRecord]:
        """Yield the tariffs kept here."""

    def name_of(self, meta: SegmentMeta) -> str:
        """Return the name under which `put` would store a batch."""

    def put(self, segments: Sequence[Segment]) -> list[str]:
        """Store batches and return their names; when this returns, they survive a power cut."""

    def get(self, name: str) -> Segment:
        """Read a batch; raise `BadSegment` when its rows do not give the root it names."""

    def rows(self, name: str, first: int, stop: int) -> ReceiptTable:
        """Return receipts of a batch by their index; of a large batch no others are read."""

    def path(self, name: str, row: int) -> tuple[Sibling, ...]:
        """Return the siblings of a receipt, from its leaf up to the batch's root.

        Raises:
            BadSegment: when it does not lead there.
        """

    def names(self, log: LogKey | None = None, seq: int | None = None) -> Iterator[str]:
        """Yield the names of all segments, of one log's, or of one place in it, in the order of the log."""

    def remove(self, name: str) -> None:
        """Remove a segment that no ledger knows."""

    def sweep(self, log: LogKey) -> None:
        """Remove what an interrupted `put` left behind."""


class StatementSigner(Protocol):
    """A key that signs statements; where it lives is the adapter's business."""

    @property
    def address(self) -> Address:
        """Who signs."""

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes; return r, s and v as 65 bytes, s in the lower half."""
