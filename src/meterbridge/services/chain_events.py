"""What the contract's events say, as values. One class an event, of the same name; a test walks the ABI.

The amounts are base units of the asset of the tariff's or the event's split.
"""

from __future__ import annotations

from dataclasses import dataclass

from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, Split
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, UsageVector


@dataclass(frozen=True, slots=True, order=True)
class LogPlace:
    """Where an event stands in the chain; sorts in the order of the chain.

    Attributes:
        block: number of the block.
        log_index: place among the logs of the block.
        tx_hash: 32 bytes.
        block_hash: 32 bytes; another one at the same number means that the chain was reorganised.
    """

    block: int
    log_index: int
    tx_hash: bytes
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """Any event of the contract."""

    at: LogPlace


@dataclass(frozen=True, slots=True)
class SignerSet(ChainEvent):
    """A provider lets a signer sign what is sealed at or before `until`; 0 revokes all of it."""

    provider: Address
    signer: Address
    until: int


@dataclass(frozen=True, slots=True)
class SplitPublished(ChainEvent):
    """The parties of a split, which the contract proved to be those of its root."""

    split_id: bytes
    split: Split
    parties: tuple[Party, ...]


@dataclass(frozen=True, slots=True)
class SplitAnnounced(ChainEvent):
    """Somebody says where the parties of a split are to be found. Nothing of it is proven.

    Attributes:
        split: None where what was announced is no split at all: anyone may announce anything.
    """

    split_id: bytes
    split: Split | None
    uri: str


@dataclass(frozen=True, slots=True)
class TariffPublished(ChainEvent):
    """A tariff and its document, which the contract proved to hash to the terms."""

    tariff_id: bytes
    tariff: Tariff
    document: bytes


@dataclass(frozen=True, slots=True)
class AccountOpened(ChainEvent):
    """A deposit found neither a balance nor anything ever drawn; carries all that withdrawing needs."""

    tariff_id: bytes
    payer: Address
    tariff: Tariff
    split: Split


@dataclass(frozen=True, slots=True)
class Deposited(ChainEvent):
    """An amount was added to a payer's account; `giver` gave it."""

    tariff_id: bytes
    payer: Address
    giver: Address
    arrived: AssetAmount


@dataclass(frozen=True, slots=True)
class Thawing(ChainEvent):
    """So much of the balance can be withdrawn from `end` on; none while the amount is 0."""

    tariff_id: bytes
    payer: Address
    amount: AssetAmount
    end: int


@dataclass(frozen=True, slots=True)
class Withdrawn(ChainEvent):
    """An amount went back to the payer."""

    tariff_id: bytes
    payer: Address
    amount: AssetAmount


@dataclass(frozen=True, slots=True)
class Settled(ChainEvent):
    """A line was settled: `drawn` moved from the account into the pot of the tariff's split."""

    tariff_id: bytes
    payer: Address
    sealed_at: int
    usage: UsageVector
    head: bytes
    drawn: AssetAmount


@dataclass(frozen=True, slots=True)
class Skipped(ChainEvent):
    """A line was older than what the account had settled, and changed nothing."""

    tariff_id: bytes
    payer: Address
    sealed_at: int
    account_sealed_at: int


@dataclass(frozen=True, slots=True)
class Funded(ChainEvent):
    """An amount was added to a pot directly."""

    split_id: bytes
    giver: Address
    arrived: AssetAmount


@dataclass(frozen=True, slots=True)
class Registered(ChainEvent):
    """A party proved its leaf."""

    split_id: bytes
    account: Address
    offset: int
    role: int
    share: int


@dataclass(frozen=True, slots=True)
class Claimed(ChainEvent):
    """An amount left the pot for `recipient`."""

    split_id: bytes
    account: Address
    recipient: Address
    offset: int
    amount: AssetAmount


@dataclass(frozen=True, slots=True)
class TokenTransfer:
    """A transfer that a token reports, into or out of the contract."""

    at: LogPlace
    token: Address
    sender: Address
    recipient: Address
    amount: AssetAmount


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction that succeeded.

    Attributes:
        tx_hash: 32 bytes.
        block: number of the block.
        gas_used: gas, not money.
        events: what the contract said in it, in order.
    """

    tx_hash: bytes
    block: int
    gas_used: int
    events: tuple[ChainEvent, ...]
