"""The published document behind a tariff: meters, buckets, prices for people (protocol, section 6).

    {"meterbridge": 1, "name": "Example LLM", "currency": {"symbol": "USDC", "decimals": 6},
     "meters": [{"name": "input", "buckets": ["input"], "price": "3.00", "per": 1000000,
                 "headroom": "9223372036854775807"}, ...],
     "text": "...", "parties": [{"account": "0x…", "name": "Model lab"}, ...]}

Up to eight meters stand in the order of the lanes. `price` is a decimal string in the currency, for `per`
units of the meter. `headroom` is the largest total that the lane may reach in one log; int64 where it is
missing. `name` and `text` are for people, and so are the names of the `parties` that it pays, which it may
leave out: shares are the split's business. A tariff's integer rates follow from the prices exactly, or not at
all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadTariff
from meterbridge.domain.events import MeterMap, UnknownBucket
from meterbridge.domain.strict_json import BadJson, load_strict
from meterbridge.domain.tariffs import Tariff, terms_document, terms_hash
from meterbridge.domain.units import INT64_MAX, LANES, SCALE_MAX, UINT64_MAX, Rates, UsageVector

TERMS_VERSION: Final = 1
DECIMALS_MAX: Final = 36
PER_MAX: Final = 10**18
NAME_MAX: Final = 100
_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,29})(\.[0-9]{1,36})?", re.ASCII)
_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_TOP_KEYS: Final = {"meterbridge", "name", "currency", "meters", "text", "parties"}
_MAY_LACK: Final = {"parties"}
_PARTY_KEYS: Final = {"account", "name"}
_METER_KEYS: Final = {"name", "buckets", "price", "per", "headroom"}


@dataclass(frozen=True, slots=True)
class Meter:
    """One lane.

    Attributes:
        name: for people, unique in its document.
        buckets: which buckets of a usage event it counts.
        price: for `per` units, in the currency, exact.
        per: units.
        headroom: the largest total that the lane may reach in one log, at most 2**63 - 1.
    """

    name: str
    buckets: tuple[str, ...]
    price: Fraction
    per: int
    headroom: int

    def rate(self, decimals: int, scale: int) -> int:
        """Return base units per 10**scale of the meter.

        Raises:
            BadTariff: when the rate is no whole number at this scale, or leaves 64 bits.
        """
        exact: Fraction = self.price * 10 ** (decimals + scale) / self.per
        if exact.denominator != 1:
            raise BadTariff(
                f"the price of {self.name!r} is {exact} base units per 10^{scale}, which is not whole; "
                f"choose another scale (at most {SCALE_MAX}) or another price",
                exact,
            )
        if exact > UINT64_MAX:
            raise BadTariff(f"the rate of {self.name!r} is {exact}, beyond 64 bits; lower the scale", exact)
        return int(exact)


@dataclass(frozen=True, slots=True)
class Terms:
    """A tariff's document, read.

    Attributes:
        decimals: of the currency's base unit.
        meters: one to eight, in the order of the lanes.
        parties: what the provider calls the accounts that it pays, where it says so.
    """

    name: str
    symbol: str
    decimals: int
    meters: tuple[Meter, ...]
    text: str
    parties: Mapping[Address, str] = field(default_factory=dict)

    def meter_map(self) -> MeterMap:
        """Return which meter each bucket counts on."""
        return MeterMap({bucket: i for i, meter in enumerate(self.meters) for bucket in meter.buckets})

    def rates(self, scale: int) -> Rates:
        """Return the rates that the prices mean at a scale; unused lanes cost nothing.

        Raises:
            BadTariff: when one cannot be expressed exactly.
        """
        if isinstance(scale, bool) or not isinstance(scale, int) or not 0 <= scale <= SCALE_MAX:
            raise BadTariff(f"scale is {scale!r}; it must be from 0 to {SCALE_MAX}", scale)
        rates = [meter.rate(self.decimals, scale) for meter in self.meters]
        return Rates.of(rates + [0] * (LANES - len(rates)))

    def headroom(self) -> UsageVector:
        """Return the largest total of each lane in one log; nothing may count on unused lanes."""
        lanes = [meter.headroom for meter in self.meters]
        return UsageVector.of(lanes + [0] * (LANES - len(lanes)))

    def require_rates(self, tariff: Tariff) -> None:
        """Check that a tariff charges what the document says.

        Raises:
            BadTariff: when a rate differs.
        """
        said = self.rates(tariff.scale)
        if said != tariff.rates:
            raise BadTariff(
                f"the tariff's rates are {tariff.rates.lanes}; by its document they are {said.lanes}",
                tariff.rates,
            )


def tariff_from_document(
    document: Mapping[str, object], provider: Address, split_id: bytes, scale: int, thaw_period: int
) -> Tariff:
    """Return the tariff that a document means; its bytes are `terms_document(document)`.

    Args:
        document: as described above.
        provider: who authorises the signers.
        split_id: whose pot is paid.
        scale: 0 to 36; the rates are base units per 10**scale of a meter.
        thaw_period: seconds.

    Raises:
        BadTariff: when the document is malformed, a price has no exact rate, or a field is out of range.
    """
    data = terms_document(document)
    return Tariff(provider, split_id, parse_terms(data).rates(scale), scale, thaw_period, terms_hash(data))


def parse_terms(document: bytes) -> Terms:
    """Read the bytes of a tariff's document.

    Raises:
        BadTariff: naming what is missing, unknown or out of range.
    """
    found = _object("document", _load(document), _TOP_KEYS, required=_TOP_KEYS - _MAY_LACK)
    if found["meterbridge"] != TERMS_VERSION or isinstance(found["meterbridge"], bool):
        raise BadTariff(f"document version is {found['meterbridge']!r}, not 1", found["meterbridge"])
    currency = _object("currency", found["currency"], {"symbol", "decimals"}, required={"symbol", "decimals"})
    terms = Terms(
        name=_text("name", found["name"]),
        symbol=_text("currency symbol", currency["symbol"]),
        decimals=_whole("currency decimals", currency["decimals"], 0, DECIMALS_MAX),
        meters=tuple(_meter(meter) for meter in _list("meters", found["meters"])),
        text=_text("text", found["text"]),
        parties=dict(_party(party) for party in _list("parties", found.get("parties", []))),
    )
    _require_meters(terms.meters)
    return terms


def _load(document: bytes) -> object:
    try:
        return load_strict(document)
    except BadJson as error:
        raise BadTariff(f"the tariff's document cannot be read: {error}", document) from error


def _meter(value: object) -> Meter:
    found = _object("meter", value, _METER_KEYS, required=_METER_KEYS - {"headroom"})
    name = _text("meter name", found["name"])
    price, headroom = found["price"], found.get("headroom", str(INT64_MAX))
    if not isinstance(price, str) or not _DECIMAL.fullmatch(price):
        raise BadTariff(f"price of {name!r} is {price!r}; it must be a decimal string such as '3.00'", price)
    if not isinstance(headroom, str) or not _WHOLE.fullmatch(headroom) or int(headroom) > INT64_MAX:
        raise BadTariff(
            f"headroom of {name!r} is {headroom!r}; it must be whole units as a string, at most {INT64_MAX}",
            headroom,
        )
    buckets = tuple(_text("bucket", bucket) for bucket in _list(f"buckets of {name!r}", found["buckets"]))
    per = _whole(f"`per` of {name!r}", found["per"], 1, PER_MAX)
    return Meter(name, buckets, Fraction(price), per, int(headroom))


def _party(value: object) -> tuple[Address, str]:
    found = _object("party", value, _PARTY_KEYS, required=_PARTY_KEYS)
    account, name = _text("party account", found["account"]), _text("party name", found["name"])
    if not name.strip() or name.startswith("0x") or len(name) > NAME_MAX:
        raise BadTariff(f"party name {name!r} is empty, too long, or looks like an address", name)
    return Address.parse(account), name


def _require_meters(meters: Sequence[Meter]) -> None:
    if not 1 <= len(meters) <= LANES:
        raise BadTariff(f"a tariff has 1 to {LANES} meters, not {len(meters)}", len(meters))
    names = [meter.name for meter in meters]
    buckets = [bucket for meter in meters for bucket in meter.buckets]
    for kind, values in (("meter", names), ("bucket", buckets)):
        for value in values:
            if values.count(value) > 1:
                raise BadTariff(f"{kind} {value!r} stands twice in the document", value)
    try:
        MeterMap(dict.fromkeys(buckets, 0))
    except UnknownBucket as error:
        raise BadTariff(str(error), error.value) from error


def _object(name: str, value: object, known: set[str], *, required: set[str]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise BadTariff(f"{name} must be a JSON object, not {value!r}", value)
    unknown, missing = sorted(set(value) - known), sorted(required - set(value))
    if unknown or missing:
        raise BadTariff(f"{name} has unknown keys {unknown} and lacks {missing}", value)
    return value


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise BadTariff(f"{name} must be a JSON array, not {value!r}", value)
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadTariff(f"{name} must be a text, not {value!r}", value)
    return value


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadTariff(f"{name} is {value!r}; it must be a whole number from {low} to {high}", value)
    return value
