"""Tariffs: what usage costs, and the published document behind it (protocol, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eth_abi.abi import encode

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadTariff
from meterbridge.domain.keccak import DIGEST_BYTES, keccak256
from meterbridge.domain.receipts import canonical_details
from meterbridge.domain.units import SCALE_MAX, AssetAmount, Rates, UsageVector, price_down

THAW_PERIOD_MAX: Final = 90 * 24 * 3600
_ABI_TYPES: Final = ["address", "bytes32", "uint256[2]", "uint8", "uint32", "bytes32"]


@dataclass(frozen=True, slots=True)
class Tariff:
    """The terms under which a payer's usage is priced. Immutable: a new price is a new tariff.

    Attributes:
        provider: who authorises the signers.
        split_id: 32 bytes, whose pot is paid.
        rates: asset base units per 10**scale of each meter.
        scale: 0 to 36.
        thaw_period: seconds from thawing to withdrawing, at most 90 days.
        terms: keccak256 of the published document.

    Raises:
        BadTariff: when a field leaves its range.
    """

    provider: Address
    split_id: bytes
    rates: Rates
    scale: int
    thaw_period: int
    terms: bytes

    def __post_init__(self) -> None:
        for name, digest in (("splitId", self.split_id), ("terms", self.terms)):
            if not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES:
                raise BadTariff(f"a tariff's {name} is 32 bytes, not {digest!r}", digest)
        _require("scale", self.scale, SCALE_MAX)
        _require("thaw period (seconds)", self.thaw_period, THAW_PERIOD_MAX)

    def abi_tuple(self) -> tuple[str, bytes, tuple[int, int], int, int, bytes]:
        """Return the struct as the contract takes it."""
        words = self.rates.to_words()
        return str(self.provider), self.split_id, words, self.scale, self.thaw_period, self.terms

    @property
    def id(self) -> bytes:
        """keccak256(abi.encode(tariff))."""
        return keccak256(encode(_ABI_TYPES, self.abi_tuple()))

    def price_down(self, usage: UsageVector) -> AssetAmount:
        """Price cumulative usage under this tariff, rounded down."""
        return price_down(usage, self.rates, self.scale)


def terms_document(document: Mapping[str, object]) -> bytes:
    """Return the bytes of a tariff's document: RFC 8785 canonical JSON, so that all hash the same."""
    return canonical_details(document)


def terms_hash(document: bytes) -> bytes:
    """Return what `Tariff.terms` must be for a document's bytes."""
    return keccak256(document)


def _require(name: str, value: object, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise BadTariff(f"{name} is {value!r}; it must be from 0 to {high}", value)
