"""What delivering statements takes: an outbox in a database, a chain, an account that sends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.statements import Domain, SignedStatement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_ports import Escrow, Thaw
from meterbridge.services.settling.parcels import LineResults, Parcel
from meterbridge.services.settling.records import Attempt, Change, Delivery, DeliveryState, Lease


class LeaseLost(MeterbridgeError):
    """Another process has taken a delivery over; nothing of this process's transition happened."""


class NonceTaken(MeterbridgeError):
    """Another process has taken the nonce first; nothing was stored. Sign again with the next one."""


class Outbox(Protocol):
    """Deliveries and their transactions. Each call is one database transaction."""

    def enroll(self, domain: Domain, now: int) -> int:
        """Give every statement of a contract a delivery, and close those that later statements cover.

        A delivery that is not signed yet is covered when each of its payers has a line in a later statement
        whose delivery has not failed. Returns how many deliveries are new.
        """

    def take(
        self, domain: Domain, lease: Lease, limit: int, *, hurry: bool = False, passed: Collection[int] = ()
    ) -> list[Delivery]:
        """Lease deliveries that are due and that nobody holds, those in flight first, then oldest first.

        With `hurry` also those that are due later; never those whose ids are in `passed`.
        """

    def renew(self, delivery: Delivery, lease: Lease) -> None:
        """Hold a delivery for longer.

        Raises:
            LeaseLost: when another process has it.
        """

    def change(self, lease: Lease, before: Delivery, change: Change) -> Delivery:
        """Make one transition, and return the delivery as stored; one to an end also lets go of it.

        Raises:
            LeaseLost: when another process has the delivery, or its state is not that of `before`.
            NonceTaken: when another process took a nonce of the sender since it was chosen.
        """

    def release(self, lease: Lease, delivery: Delivery) -> None:
        """Let others have it from its `next_at` on; also keeps `reason` and `failures`."""

    def next_nonce(self, chain_id: int, sender: Address) -> int | None:
        """Return the nonce after the last one that was taken for a sender; None where none ever was."""

    def attempts(self, delivery: Delivery) -> list[Attempt]:
        """Return the transactions of a delivery, oldest first."""

    def held_nonces(self, chain_id: int, sender: Address) -> set[int]:
        """Return the nonces of the sender's deliveries in flight."""

    def deliveries(
        self, domain: Domain | None = None, states: Collection[DeliveryState] | None = None
    ) -> list[Delivery]:
        """Return deliveries, oldest statement first."""

    def counts(self, domain: Domain) -> Mapping[DeliveryState, int]:
        """Return how many deliveries are in each state that occurs."""

    def signed_statement(self, delivery: Delivery) -> SignedStatement:
        """Return the statement of a delivery, or raise `UnknownStatement`."""

    def parcel(self, delivery: Delivery) -> Parcel:
        """Return the same as columns."""

    def tariff_of(self, delivery: Delivery) -> Tariff:
        """Return the tariff of a delivery's statement, or raise `UnknownTariff`."""


class Broadcast(StrEnum):
    """What a node said to a transaction.

    Attributes:
        TAKEN: it has it now.
        KNOWN: it had it already.
        NONCE_USED: the nonce is used up; which transaction used it must be looked up.
        UNDERPRICED: it pays too little, by itself or to replace the one with its nonce.
        NO_FUNDS: the sender cannot pay the gas.
        REFUSED: for another reason, which comes with it.
        UNKNOWN: no answer, or none that is understood: it may have been taken.
    """

    TAKEN = "taken"
    KNOWN = "known"
    NONCE_USED = "nonce used"
    UNDERPRICED = "underpriced"
    NO_FUNDS = "no funds"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """A node's answer to a broadcast: what it means, and what it said."""

    meaning: Broadcast
    said: str = ""
    tx_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Fees:
    """What gas costs in the next blocks, from fee history, in wei a unit.

    Attributes:
        base: base fee of the next block.
        tip: what recent transactions paid on top, in the median.
    """

    base: int
    tip: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What settling a statement would do now: draw so much, with so much gas."""

    drawn: AssetAmount
    gas: int


@dataclass(frozen=True, slots=True)
class MinedTransaction:
    """A receipt.

    Attributes:
        succeeded: False where it was reverted.
        lines: what the contract told about each line of the tariff that was asked for.
    """

    tx_hash: bytes
    block: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    lines: LineResults


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest block, and the newest that is final by the chain's own word; None where it gives none."""

    number: int
    final: int | None


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A transaction before it is signed; fields as in `Attempt`. `to` may be the sender itself."""

    chain_id: int
    nonce: int
    to: Address
    data: bytes
    gas: int
    max_wei: int
    tip_wei: int


class Account(Protocol):
    """Who sends, and pays the gas."""

    @property
    def address(self) -> Address:
        """Its address."""

    @property
    def signs(self) -> bool:
        """Whether it signs transactions; if not, the node does, and there is no raw one to keep."""

    def sign(self, transaction: Unsigned) -> bytes:
        """Return the signed transaction as a node takes it.

        Raises:
            MeterbridgeError: when it cannot.
        """


class DeliveryChain(Protocol):
    """The chain as delivering sees it; a call that raises `ChainError` told nothing about the chain."""

    @property
    def domain(self) -> Domain:
        """Chain and contract."""

    def head(self, tag: str | None = None) -> ChainHead:
        """Return where the chain is; `tag` is `safe` or `finalized`."""

    def fees(self) -> Fees:
        """Return what gas costs."""

    def try_settle(self, sender: Address, tariff: Tariff, parcel: Parcel) -> Trial:
        """Run a statement on the pending block without sending it.

        Raises:
            Refusal: when the contract refuses it.
        """

    def settle_data(self, tariff: Tariff, parcel: Parcel) -> bytes:
        """Return the calldata of settling."""

    def used_nonces(self, sender: Address, block: int | None = None) -> int:
        """Return how many nonces of an account are used up, after a block or the newest."""

    def pending_nonces(self, sender: Address) -> int:
        """Return the same with what the node's pool holds in sequence."""

    def broadcast(self, raw: bytes) -> Answer:
        """Hand a signed transaction in; never raises for what a node says."""

    def send_unsigned(self, sender: Address, transaction: Unsigned) -> Answer:
        """Let the node sign and send for an account that it manages."""

    def mined(self, tx_hash: bytes, tariff_id: bytes) -> MinedTransaction | None:
        """Return the receipt of a transaction, if it is in a block that the node holds canonical."""

    def knows(self, tx_hash: bytes) -> bool:
        """Tell whether the node has a transaction, mined or not."""

    def hash_of(self, sender: Address, nonce: int, from_block: int) -> bytes | None:
        """Find the mined transaction of an account with a nonce, in no earlier block."""

    def agrees(self, mined: MinedTransaction) -> str | None:
        """Ask all endpoints whether a receipt's block is canonical; return an objection, or None."""

    def escrows(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Escrow, ...]:
        """Return the accounts of many payers in one call."""

    def accounts(self, tariff_id: bytes, payers: Sequence[bytes]) -> list[tuple[int, ...]]:
        """Return the same as plain numbers: balance and settled in base units, and the time."""

    def thaws(self, tariff_id: bytes, payers: Sequence[bytes]) -> tuple[Thaw, ...]:
        """Return the thaws of many payers in one call."""
