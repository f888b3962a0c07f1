"""What the services of the asset side need of the chain; `adapters.chain` provides it.

Services of the asset side and their signatures:

    settlement.submit(chain, ledger, tariff, signed) -> Settlement
    claims.claimable(chain, split, parties) -> tuple[Claimable, ...]
    claims.claim(chain, split, parties, index) -> Claim
    claims.claim_all(chain, split, parties) -> tuple[Claim, ...]
    claims.authorize(chain, split, parties, index, recipient, signer, *, deadline) -> SignedClaim
    claims.claim_with_authorization(chain, split, parties, signed) -> Claim
    audit.audit(chain, *, from_block=0) -> AuditReport

Every view takes `block`, the number of the block after which it is to be answered; None is the newest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, ShareProof, Split
from meterbridge.domain.statements import ClaimAuthorization, Domain, SignedStatement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_events import ChainEvent, Receipt, TokenTransfer


@dataclass(frozen=True, slots=True)
class Escrow:
    """A payer's account under one tariff (protocol, section 7).

    Attributes:
        balance: what can still be drawn or thawed.
        settled: all that was ever drawn.
        sealed_at: time of the newest statement that was settled, seconds since 1970; 0 for none.
    """

    balance: AssetAmount
    settled: AssetAmount
    sealed_at: int


@dataclass(frozen=True, slots=True)
class Thaw:
    """What a payer is taking back, from `end` on (seconds since 1970); nothing while the amount is 0."""

    amount: AssetAmount
    end: int


@dataclass(frozen=True, slots=True)
class Stake:
    """A registered party's share and all that it claimed; unregistered while the share is 0."""

    share: int
    claimed: AssetAmount


@dataclass(frozen=True, slots=True)
class StakeKey:
    """Whose interval of which split."""

    split_id: bytes
    offset: int
    account: Address


class ChainClock(Protocol):
    """Where the chain is, and which contract on it is meant."""

    @property
    def domain(self) -> Domain:
        """Chain and contract, as signatures name them."""

    def now(self) -> int:
        """Return the time that the next block will at least have, in seconds since 1970."""

    def newest_block(self) -> int:
        """Return the number of the newest block."""


class SettlementPort(ChainClock, Protocol):
    """What submitting a statement takes."""

    def signer_until(self, provider: Address, signer: Address, *, block: int | None = None) -> int:
        """Return until when a provider lets a signer sign; 0 for never."""

    def accepts_signature(self, signer: Address, digest: bytes, signature: bytes) -> bool:
        """Tell whether `signer` is a contract that accepts the signature (ERC-1271)."""

    def escrows(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Escrow, ...]:
        """Return the accounts of many payers in one call."""

    def send_settle(self, tariff: Tariff, signed: SignedStatement) -> bytes:
        """Send the statement; return the transaction's hash without waiting for it.

        Raises:
            Refusal: when the contract would refuse it; nothing was sent.
        """

    def wait(self, tx_hash: bytes) -> Receipt:
        """Wait until a transaction is mined.

        Raises:
            Refusal, TransactionReverted: when it was mined and failed.
            TransactionUnresolved: when it was not mined in time.
        """


class ClaimsPort(ChainClock, Protocol):
    """What claiming takes."""

    def pot(self, split_id: bytes, *, block: int | None = None) -> AssetAmount:
        """Return all that was ever allocated to a split."""

    def stakes(self, keys: Sequence[StakeKey], *, block: int | None = None) -> tuple[Stake, ...]:
        """Return many stakes in one call."""

    def nonce(self, account: Address, *, block: int | None = None) -> int:
        """Return the nonce of an account's next claim authorization."""

    def claim_first(self, split: Split, proof: ShareProof) -> Receipt:
        """Prove a party's share, register it, and pay its account what it is entitled to."""

    def claim(self, split: Split, offset: int, account: Address) -> Receipt:
        """Pay a registered party's account."""

    def claim_to(self, split: Split, offset: int, recipient: Address) -> Receipt:
        """Pay the sender's own stake to a recipient."""

    def claim_with_authorization(
        self, split: Split, authorization: ClaimAuthorization, signature: bytes
    ) -> Receipt:
        """Pay a party's stake to the recipient that it authorised."""


class AuditPort(ChainClock, Protocol):
    """What an audit reads; nothing of it needs a key."""

    def events(self, from_block: int, to_block: int) -> tuple[ChainEvent, ...]:
        """Return the contract's events of these blocks, both included, in order."""

    def transfers(self, token: Address, from_block: int, to_block: int) -> tuple[TokenTransfer, ...]:
        """Return a token's transfers into and out of the contract, in order."""

    def token_balance(self, token: Address, *, block: int | None = None) -> AssetAmount:
        """Return what the contract holds of a token."""

    def escrows(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Escrow, ...]:
        """Return the accounts of many payers in one call."""

    def pot(self, split_id: bytes, *, block: int | None = None) -> AssetAmount:
        """Return all that was ever allocated to a split."""

    def stakes(self, keys: Sequence[StakeKey], *, block: int | None = None) -> tuple[Stake, ...]:
        """Return many stakes in one call."""

    def claimables(
        self, split: Split, keys: Sequence[StakeKey], *, block: int | None = None
    ) -> tuple[AssetAmount, ...]:
        """Return what many registered parties of one split would be paid, in one call."""

    def runs_released_code(self, *, block: int | None = None) -> bool:
        """Tell whether the contract's code is that of this release, immutable values aside."""


Parties = Sequence[Party]
