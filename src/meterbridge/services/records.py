"""What passes between services and the ledger: plain values, no table rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadTariff, OutOfBounds
from meterbridge.domain.events import MeterMap, UsageEvent
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.receipts import ReceiptColumns
from meterbridge.domain.splits import Party, PartyTable, Split
from meterbridge.domain.statements import Domain, SignedStatement
from meterbridge.domain.sum_tree import Head, SumNode
from meterbridge.domain.tariffs import Tariff, terms_hash
from meterbridge.domain.terms import Terms, parse_terms
from meterbridge.domain.units import AssetAmount, UsageVector

Ints = npt.NDArray[np.int64]
ADDED: Final = 0
REPEATED: Final = 1
CONFLICT: Final = 2


class UsageRow(Protocol):
    """One event of a usage log, as a reader hands it over."""

    @property
    def row_number(self) -> int:
        """Its place in the file, from 1, as a person would count it."""

    @property
    def event(self) -> UsageEvent:
        """What it says."""


class RefusedRow(Protocol):
    """One row that a reader could not use."""

    @property
    def row_number(self) -> int:
        """Its place in the file, as in `UsageRow`."""

    @property
    def value(self) -> object:
        """What was found."""

    @property
    def reason(self) -> str:
        """What is wrong with it, without the row number."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that became no receipt, and why.

    Attributes:
        row_number: as in `UsageRow`.
        value: what was found.
        reason: what is wrong with it, without the row number.
        id: the event's id, where it could be read.
    """

    row_number: int
    value: object
    reason: str
    id: str | None = None


class LogKind(StrEnum):
    """The two logs of an account (protocol, section 4)."""

    CHARGES = "charges"
    CREDITS = "credits"


@dataclass(frozen=True, slots=True, order=True)
class AccountKey:
    """A payer under a tariff on one contract: what has a pair of logs and a head."""

    domain: Domain
    tariff_id: bytes
    payer: Address


@dataclass(frozen=True, slots=True)
class LogKey:
    """One of the two logs of an account."""

    account: AccountKey
    kind: LogKind


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account as the ledger knows it.

    Attributes:
        blind: 32 secret bytes of its logs, known to provider and payer (section 3).
        customer: the name under which usage logs know the payer, unique within the tariff.
    """

    key: AccountKey
    blind: bytes
    customer: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.blind, bytes) or len(self.blind) != DIGEST_BYTES:
            raise OutOfBounds("a log's blind is 32 bytes", None)  # the value is a secret
        if self.customer is not None and (not self.customer or self.customer.lower().startswith("0x")):
            raise OutOfBounds(
                f"{self.customer!r} is no customer name: it is empty, or looks like somebody's address",
                self.customer,
            )


@dataclass(frozen=True, slots=True)
class TariffRecord:
    """A tariff with all that stands behind its hashes.

    Attributes:
        domain: the contract that settles it.
        parties: those of the split, in published order.
        document: the bytes whose hash is the tariff's `terms`.

    Raises:
        BadTariff: when split, parties or document are not those that the tariff commits to.
    """

    domain: Domain
    tariff: Tariff
    split: Split
    parties: tuple[Party, ...]
    document: bytes

    def __post_init__(self) -> None:
        if terms_hash(self.document) != self.tariff.terms:
            raise BadTariff("the document is not the one whose hash the tariff holds", self.tariff.terms)
        if self.split.id != self.tariff.split_id:
            raise BadTariff("the split is not the one that the tariff pays", self.tariff.split_id)
        root = PartyTable(self.parties).root
        if (root.hash, root.shares) != (self.split.root, self.split.total_shares):
            raise BadTariff("the parties are not those of the split", self.split.root)

    @property
    def id(self) -> bytes:
        """The tariff's id."""
        return self.tariff.id

    def terms(self) -> Terms:
        """Read the document.

        Raises:
            BadTariff: when it is malformed, or its prices are not the tariff's rates.
        """
        terms = parse_terms(self.document)
        terms.require_rates(self.tariff)
        return terms

    def meter_map(self) -> MeterMap:
        """Return which meter each bucket counts on; see `terms`."""
        return self.terms().meter_map()


@dataclass(frozen=True, slots=True)
class ReceiptTable:
    """Receipts with where they come from, as columns.

    Attributes:
        receipts: n receipts.
        sources: n texts; `void` in the credit log.
        event_ids: n texts.
        details: n canonical JSON texts, empty where a receipt has no details.
    """

    receipts: ReceiptColumns
    sources: Sequence[str]
    event_ids: Sequence[str]
    details: Sequence[str]

    def __post_init__(self) -> None:
        found = {len(self.receipts), len(self.sources), len(self.event_ids), len(self.details)}
        if len(found) != 1:
            raise OutOfBounds(f"columns of one table have lengths {sorted(found)}", found)

    def __len__(self) -> int:
        return len(self.receipts)


@dataclass(frozen=True, slots=True)
class Intake:
    """Receipts of several logs of one tariff, to be stored in one transaction.

    Attributes:
        logs: the logs that occur.
        log_of: (n,) index into `logs` of each receipt.
        table: n receipts.
        contents: n times 16 bytes that are equal where the content is (see `metering.content_keys`).
        keys: the events' keys, where they are known already (see `adapters.sql.receipts.event_keys`).
    """

    tariff_id: bytes
    logs: Sequence[LogKey]
    log_of: Ints
    table: ReceiptTable
    contents: Sequence[bytes]
    keys: Sequence[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Receipts that await sealing, in order of arrival.

    Attributes:
        arrivals: (n,) keys under which the ledger keeps them.
    """

    arrivals: Ints
    table: ReceiptTable


@dataclass(frozen=True, slots=True)
class Place:
    """Where a receipt is.

    Attributes:
        arrival: its key among the pending ones, or None.
        seq: the batch that holds it, or None while it is pending.
        row: its row in that batch.
    """

    arrival: int | None
    seq: int | None
    row: int | None


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One element of a log.

    Attributes:
        seq: its index in the log, from 0.
        size: how many receipts; 0 for the opaque first element of a log that was lost.
        root: root of the batch; for an opaque element the settled head with its part of the usage.
        segment: name under which the segment store has it; None for an opaque element.
    """

    log: LogKey
    seq: int
    size: int
    root: SumNode
    segment: str | None


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One complete subtree of a log: over elements position * 2**level up to the next."""

    level: int
    position: int
    node: SumNode


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch on its way into its log.

    Attributes:
        batch: its seq must be the log's size; its segment is durable.
        nodes: the subtrees that it completes.
        pending: the receipts that it holds, in the order of its rows.
    """

    batch: BatchRecord
    nodes: Sequence[TreeNode]
    pending: Pending


@dataclass(frozen=True, slots=True)
class SignedHead:
    """What an account's last statement said of it; `head` is None after a restart of lost logs."""

    sealed_at: int
    head: Head | None


@dataclass(frozen=True, slots=True)
class StatementRecord:
    """A signed statement with the heads behind its lines, line by line.

    Attributes:
        part: 0, or the place among statements of the same tariff and time when payers exceed one statement.
    """

    signed: SignedStatement
    part: int
    heads: tuple[Head, ...]


@dataclass(frozen=True, slots=True)
class Restart:
    """The last settled state of an account whose logs were lost (section 4).

    Attributes:
        head: 32 bytes of the last `Settled` event.
        usage: its cumulative usage.
        sealed_at: its time; later statements must be later.
    """

    head: bytes
    usage: UsageVector
    sealed_at: int


class SubmissionState(StrEnum):
    """What became of a transaction with a statement."""

    SENT = "sent"
    SETTLED = "settled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Draw:
    """What one line drew; `skipped` where the account had a later statement already."""

    payer: Address
    drawn: AssetAmount
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """One transaction that carried a statement.

    Attributes:
        digest: 32 bytes, the statement's EIP-712 digest.
        tx_hash: 32 bytes, the key.
        block: where it was mined, or None.
    """

    tariff_id: bytes
    digest: bytes
    sealed_at: int
    tx_hash: bytes
    state: SubmissionState
    block: int | None = None
    draws: Sequence[Draw] = ()
