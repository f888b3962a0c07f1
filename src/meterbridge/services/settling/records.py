"""What the outbox keeps: a delivery for each statement, and the transactions that were made for it.

    waiting ──▶ ready ──▶ signed ──▶ sent ──▶ mined ──▶ final
       ▲          │          │         │ ▲      │
       └──────────┴──────────┴─────────┘ └──────┘  (its block vanished)

`failed` and `superseded` end it from any of the states on the left. Every arrow is one database transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Domain
from meterbridge.services.records import SubmissionRecord


class DeliveryState(StrEnum):
    """How far a statement is on its way.

    Attributes:
        WAITING: not worth sending yet, or refused for now; the delivery's `reason` says which.
        READY: worth sending; nothing is signed.
        SIGNED: a nonce is taken and a transaction stored; it may or may not have left.
        SENT: a node has taken the transaction.
        MINED: it is in a block that may still vanish.
        FINAL: it is in a block at the configured depth.
        FAILED: it can never be settled; `reason` says why.
        SUPERSEDED: later statements cover each of its lines.
    """

    WAITING = "waiting"
    READY = "ready"
    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    FAILED = "failed"
    SUPERSEDED = "superseded"


IN_FLIGHT: Final = (DeliveryState.SIGNED, DeliveryState.SENT, DeliveryState.MINED)
"""States with a transaction that the chain may know."""

MOVING: Final = (DeliveryState.READY, *IN_FLIGHT)
"""States that go on by themselves."""

OPEN: Final = (DeliveryState.WAITING, *MOVING)
"""States that are not the end."""


class AttemptKind(StrEnum):
    """What a transaction is for: the statement itself, or a transfer of nothing that uses up a nonce."""

    SETTLE = "settle"
    CANCEL = "cancel"


class AttemptState(StrEnum):
    """What is known of a transaction.

    Attributes:
        SIGNED: it is stored; whether a node has it is not known.
        SENT: a node has taken it.
        REVERTED: it was mined and failed.
        LOST: another transaction has its nonce for good.
    """

    SIGNED = "signed"
    SENT = "sent"
    REVERTED = "reverted"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class MinedIn:
    """Where a transaction was mined."""

    tx_hash: bytes
    block: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """One statement on its way to the chain.

    Attributes:
        id: the ledger's number of it.
        domain: chain and contract.
        tariff_id, digest, sealed_at, part, lines: of the statement; `lines` is their number.
        state: see `DeliveryState`.
        reason: why it waits, fails or is held up, in plain words; empty where nothing is wrong.
        since: seconds since 1970 from which its age counts: that of the oldest statement it covers.
        sender: whose nonce its transactions have; None until one is signed.
        nonce: that nonce.
        mined: where it was mined, while it is.
        failures: how often in a row something went wrong; it is tried less often then.
        next_at: seconds since 1970 at which it is looked at again.
        owing: some payer ran dry, so that the same statement draws more after a deposit.
    """

    id: int
    domain: Domain
    tariff_id: bytes
    digest: bytes
    sealed_at: int
    part: int
    lines: int
    state: DeliveryState
    reason: str = ""
    since: int = 0
    sender: Address | None = None
    nonce: int | None = None
    mined: MinedIn | None = None
    failures: int = 0
    next_at: int = 0
    owing: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One transaction of a delivery. All attempts for one nonce exclude each other on the chain.

    Attributes:
        kind: see `AttemptKind`.
        sender, nonce: whose, and which.
        tx_hash: 32 bytes; None where the node signs and has not answered yet.
        raw: the signed transaction as it is broadcast, however often; None where the node signs.
        gas: its gas limit.
        max_wei: the most it pays for a unit of gas, in wei.
        tip_wei: what of that goes to the block's maker, in wei.
        created_at, sent_at: seconds since 1970; `sent_at` is None until a node has taken it.
        block: the newest block when it was made; it cannot be in an earlier one.
    """

    kind: AttemptKind
    sender: Address
    nonce: int
    tx_hash: bytes | None
    raw: bytes | None = field(repr=False)
    gas: int
    max_wei: int
    tip_wei: int
    created_at: int
    block: int
    state: AttemptState = AttemptState.SIGNED
    sent_at: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A process's right to move a delivery on.

    Attributes:
        holder: a name that no other process has and that is never used again: a transition of whoever lost
            its lease finds another name, and does not happen. No two clocks need agree for that.
        now, until: seconds since 1970; afterwards another process may take over.
    """

    holder: str
    now: int
    until: int


@dataclass(frozen=True, slots=True)
class Change:
    """One transition of a delivery: everything in it happens in one database transaction, or nothing.

    Attributes:
        after: the delivery as it is to be; its `state` may be the same.
        attempt: a transaction to be stored with it.
        takes_nonce: the attempt's nonce is a new one, and is taken from the sender's row of nonces.
        nonce_seen: what stood in that row when the nonce was chosen (None for no row); if it stands there no
            more, another process was faster, and nothing happens.
        marks: what became known of stored attempts, by their numbers.
        submission: what it drew, or that it failed, for whoever reads submissions.
    """

    after: Delivery
    attempt: Attempt | None = None
    takes_nonce: bool = False
    nonce_seen: int | None = None
    marks: tuple[Attempt, ...] = ()
    submission: SubmissionRecord | None = None
