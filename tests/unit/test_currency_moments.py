"""What people write as money and time, and what they read."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.currency import BadAmount, Currency
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.moments import BadTime, parse_time, time_text
from meterbridge.domain.units import AssetAmount

USDC = Currency("USDC", 6)


@pytest.mark.parametrize(
    ("text", "base_units"),
    [
        ("12.50", 12_500_000),
        ("12", 12_000_000),
        ("0.000001", 1),
        ("1,234.567890", 1_234_567_890),
        ("12.5000000000", 12_500_000),
        ("12.50 USDC", 12_500_000),
        (" 0 ", 0),
    ],
)
def test_amounts_are_read_exactly(text: str, base_units: int) -> None:
    assert USDC.amount(text) == AssetAmount(base_units)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "1e6",
        "1,500",
        "1,50.00",
        "1.5.0",
        "0.0000001",
        "12.50 EURC",
        "٣",
        "1_000",
        "nan",
    ],
)
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(BadAmount) as caught:
        USDC.amount(text)
    assert caught.value.value == text


def test_an_amount_beyond_the_chain_is_refused() -> None:
    with pytest.raises(OutOfBounds):
        Currency("X", 36).amount("9" * 60)


@given(st.integers(0, 2**256 - 1), st.integers(0, 36))
def test_what_is_written_is_what_is_read(base_units: int, decimals: int) -> None:
    currency = Currency("T", decimals)
    text = currency.number(AssetAmount(base_units))
    with localcontext(prec=200):  # decimal is the oracle; exact, with so many digits
        assert Decimal(text.replace(",", "")).scaleb(decimals) == base_units
    if decimals:  # without a point, groups of thousands are not read back
        assert currency.amount(text) == AssetAmount(base_units)


def test_amounts_are_shown_with_symbol() -> None:
    assert USDC.text(AssetAmount(1_234_567_890)) == "1,234.567890 USDC"
    assert Currency("WHOLE", 0).text(AssetAmount(1_234)) == "1,234 WHOLE"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1790000000", 1_790_000_000),
        ("0", 0),
        ("2026-09-21T14:13:20Z", 1_790_000_000),
        ("2026-09-21T16:13:20+02:00", 1_790_000_000),
        ("2026-09-21", 1_789_948_800),
    ],
)
def test_times_are_read(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-09-21T14:13:20", "2026-13-01", "1969-12-31", "2026-09-21T14:13:20.5Z", "-1"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(BadTime):
        parse_time(text)


def test_times_are_shown_both_ways() -> None:
    assert time_text(1_790_000_000) == "2026-09-21T14:13:20Z (1790000000)"
    assert time_text(2**64 - 1) == "for ever"
