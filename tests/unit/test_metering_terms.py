"""Prices for people and rates for machines say the same, exactly, or the document is refused."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadTariff
from meterbridge.domain.tariffs import terms_document, terms_hash
from meterbridge.domain.terms import parse_terms, tariff_from_document
from meterbridge.domain.units import UsageVector

DOCUMENT: dict[str, Any] = {
    "meterbridge": 1,
    "name": "Example",
    "currency": {"symbol": "USDC", "decimals": 6},
    "meters": [
        {"name": "input", "buckets": ["input", "tool_prompt"], "price": "3.00", "per": 1_000_000},
        {"name": "output", "buckets": ["output"], "price": "0.0000155", "per": 1, "headroom": "123"},
    ],
    "text": "",
}
PROVIDER = Address(bytes(19) + b"\1")


def tariff(document: dict[str, Any] = DOCUMENT, scale: int = 6) -> Any:
    return tariff_from_document(document, PROVIDER, bytes(32), scale, 0)


def test_rates_follow_from_prices_by_hand() -> None:
    # 3 USDC a million tokens: 3 base units a token, 3,000,000 per 10^6; 15.5 a token for the other
    assert tariff(scale=6).rates.lanes == (3_000_000, 15_500_000, 0, 0, 0, 0, 0, 0)
    assert tariff(scale=1).rates.lanes[:2] == (30, 155)
    assert tariff().terms == terms_hash(terms_document(DOCUMENT))
    assert tariff().price_down(UsageVector.of([2, 3, 0, 0, 0, 0, 0, 0])).base_units == 6 + 46


def test_a_price_without_an_exact_rate_is_refused() -> None:
    with pytest.raises(BadTariff, match="31/2 base units per 10\\^0, which is not whole"):
        tariff(scale=0)
    third = copy.deepcopy(DOCUMENT)
    third["meters"][0] |= {"price": "1", "per": 3}
    with pytest.raises(BadTariff, match="not whole"):
        tariff(third, scale=36)


def test_a_rate_beyond_64_bits_is_refused() -> None:
    with pytest.raises(BadTariff, match="beyond 64 bits; lower the scale"):
        tariff(scale=19)


def test_a_tariff_with_other_rates_is_not_that_of_its_document() -> None:
    terms = parse_terms(terms_document(DOCUMENT))
    terms.require_rates(tariff(scale=6))
    cheaper = copy.deepcopy(DOCUMENT)
    cheaper["meters"][0]["price"] = "2.99"
    with pytest.raises(BadTariff, match="by its document"):
        terms.require_rates(tariff(cheaper))


def test_meters_stand_in_the_order_of_the_lanes() -> None:
    terms = parse_terms(terms_document(DOCUMENT))
    assert terms.meter_map().meter_of == {"input": 0, "tool_prompt": 0, "output": 1}
    assert terms.headroom().lanes == (2**63 - 1, 123, 0, 0, 0, 0, 0, 0)
    assert terms.meters[1].price == Fraction(155, 10_000_000)


def change(path: str, value: object) -> bytes:
    document = copy.deepcopy(DOCUMENT)
    target: Any = document
    *steps, last = path.split(".")
    for step in steps:
        target = target[int(step)] if step.isdigit() else target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("meterbridge", 2, "version is 2"),
        ("meterbridge", True, "version is True"),
        ("name", ..., "lacks"),
        ("name", 5, "name must be a text"),
        ("extra", 1, "unknown keys"),
        ("currency.decimals", 37, "0 to 36"),
        ("currency.decimals", "6", "0 to 36"),
        ("currency", [], "JSON object"),
        ("meters", [], "1 to 8 meters, not 0"),
        ("meters", {}, "JSON array"),
        ("meters.0.price", 3, "decimal string"),
        ("meters.0.price", 3.0, "decimals stand as strings"),
        ("meters.0.price", "-3", "decimal string"),
        ("meters.0.price", "1e3", "decimal string"),
        ("meters.0.price", "03", "decimal string"),
        ("meters.0.price", "3.", "decimal string"),
        ("meters.0.price", "٣", "decimal string"),
        ("meters.0.per", 0, "from 1"),
        ("meters.0.per", True, "from 1"),
        ("meters.0.buckets", ["inputs"], "no bucket 'inputs'"),
        ("meters.0.buckets", ["output"], "'output' stands twice"),
        ("meters.0.buckets", [3], "bucket must be a text"),
        ("meters.0.name", "output", "meter 'output' stands twice"),
        ("meters.0.headroom", "9223372036854775808", "at most 9223372036854775807"),
        ("meters.0.headroom", 5, "as a string"),
        ("text", None, "text must be a text"),
    ],
)
def test_a_malformed_document_is_refused_by_name(path: str, value: object, message: str) -> None:
    with pytest.raises(BadTariff, match=message):
        parse_terms(change(path, value))


def test_nine_meters_are_too_many() -> None:
    buckets = ["input", "cache_read", "output", "reasoning", "audio_input", "audio_output", "tool_prompt"]
    buckets += ["image_input", "video_input"]
    meters = [{"name": b, "buckets": [b], "price": "1", "per": 1} for b in buckets]
    with pytest.raises(BadTariff, match="not 9"):
        parse_terms(terms_document(DOCUMENT | {"meters": meters}))


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"[" * 100_000, b'{"a":1,"a":1}', b"9" * 5000])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(BadTariff):
        parse_terms(data)


@given(
    price=st.decimals(0, 10_000, places=6, allow_nan=False),
    per=st.sampled_from([1, 1000, 1_000_000, 10**9]),
    decimals=st.integers(0, 18),
    scale=st.integers(0, 36),
    tokens=st.integers(0, 2**40),
)
def test_the_price_of_usage_is_the_documents_to_the_base_unit(
    price: Any, per: int, decimals: int, scale: int, tokens: int
) -> None:
    meters = [{"name": "n", "buckets": ["input"], "price": f"{price:f}", "per": per}]
    document = DOCUMENT | {"currency": {"symbol": "X", "decimals": decimals}, "meters": meters}
    exact = Fraction(str(price)) * 10**decimals / per
    whole = (exact * 10**scale).denominator == 1 and exact * 10**scale < 2**64
    if not whole:
        with pytest.raises(BadTariff):
            tariff(document, scale)
        return
    paid = tariff(document, scale).price_down(UsageVector.of([tokens] + [0] * 7))
    assert paid.base_units == int(exact * tokens)
