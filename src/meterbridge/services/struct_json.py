"""The protocol's structs as JSON; spelling as in `exchange`."""

from __future__ import annotations

from typing import Final

from meterbridge.domain.splits import ROLE_MAX, Party, Split
from meterbridge.domain.statements import DOMAIN_NAME, DOMAIN_VERSION, Domain
from meterbridge.domain.tariffs import THAW_PERIOD_MAX, Tariff
from meterbridge.domain.units import SCALE_MAX, UINT256_MAX, Rates
from meterbridge.services.json_fields import Fields, hex_of

_TARIFF_KEYS: Final = ("provider", "splitId", "rates", "scale", "thawPeriod", "terms")
PARTY_KEYS: Final = ("account", "role", "share")


def domain_to_json(domain: Domain) -> dict[str, object]:
    """Return the EIP-712 domain."""
    return {
        "name": DOMAIN_NAME,
        "version": DOMAIN_VERSION,
        "chainId": domain.chain_id,
        "verifyingContract": str(domain.verifying_contract),
    }


def domain_from_json(parent: Fields) -> Domain:
    """Read the `domain` of a document."""
    fields = parent.nested("domain", ("name", "version", "chainId", "verifyingContract"))
    fields.constant("name", DOMAIN_NAME)
    fields.constant("version", DOMAIN_VERSION)
    return Domain(fields.whole("chainId", 0, UINT256_MAX), fields.address("verifyingContract"))


def tariff_to_json(tariff: Tariff) -> dict[str, object]:
    """Return the struct that travels in calldata."""
    return {
        "provider": str(tariff.provider),
        "splitId": hex_of(tariff.split_id),
        "rates": [str(rate) for rate in tariff.rates.lanes],
        "scale": tariff.scale,
        "thawPeriod": tariff.thaw_period,
        "terms": hex_of(tariff.terms),
    }


def tariff_from_json(parent: Fields, key: str) -> Tariff:
    """Read a tariff's struct."""
    fields = parent.nested(key, _TARIFF_KEYS)
    return Tariff(
        provider=fields.address("provider"),
        split_id=fields.data("splitId"),
        rates=Rates.of(fields.lanes("rates")),
        scale=fields.whole("scale", 0, SCALE_MAX),
        thaw_period=fields.whole("thawPeriod", 0, THAW_PERIOD_MAX),
        terms=fields.data("terms"),
    )


def split_to_json(split: Split) -> dict[str, object]:
    """Return the struct that travels in calldata."""
    return {
        "asset": str(split.asset),
        "root": hex_of(split.root),
        "totalShares": str(split.total_shares),
    }


def split_from_json(parent: Fields, key: str) -> Split:
    """Read a split's struct."""
    fields = parent.nested(key, ("asset", "root", "totalShares"))
    return Split(fields.address("asset"), fields.data("root"), fields.decimal("totalShares"))


def party_to_json(party: Party) -> dict[str, object]:
    """Return one party."""
    return {"account": str(party.account), "role": party.role, "share": str(party.share)}


def read_party(fields: Fields) -> Party:
    """Read one party from its own object."""
    return Party(fields.address("account"), fields.whole("role", 0, ROLE_MAX), fields.decimal("share"))


def party_from_json(parent: Fields, key: str) -> Party:
    """Read a nested party."""
    return read_party(parent.nested(key, PARTY_KEYS))
