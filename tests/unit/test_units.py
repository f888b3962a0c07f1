"""Usage and assets refuse to mix, at run time and under mypy; prices are exact."""

from __future__ import annotations

import operator
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.errors import BadTariff, LaneOverflow, OutOfBounds
from meterbridge.domain.units import (
    INT64_MAX,
    INT64_MIN,
    UINT256_MAX,
    AssetAmount,
    Rates,
    UsageVector,
    price_down,
)

LANE = st.integers(INT64_MIN, INT64_MAX)
RATE = st.integers(0, 2**64 - 1)
USAGE = st.tuples(*[LANE] * 8)
USAGE_ONE = UsageVector.of([1, 0, 0, 0, 0, 0, 0, 0])
MIXES: list[Callable[[Any, Any], Any]] = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.floordiv,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("pair", [(USAGE_ONE, AssetAmount(1)), (AssetAmount(1), USAGE_ONE)])
def test_usage_and_assets_never_mix(mix: Callable[[Any, Any], Any], pair: tuple[Any, Any]) -> None:
    with pytest.raises(TypeError):
        mix(*pair)


@pytest.mark.parametrize("mix", [operator.add, operator.sub, operator.lt])
@pytest.mark.parametrize("one", [USAGE_ONE, AssetAmount(1)])
def test_neither_mixes_with_bare_numbers(mix: Callable[[Any, Any], Any], one: Any) -> None:
    with pytest.raises(TypeError):
        mix(one, 1)
    with pytest.raises(TypeError):
        mix(1, one)


def test_equal_numbers_of_different_worlds_are_not_equal() -> None:
    assert AssetAmount(1) != USAGE_ONE
    assert AssetAmount(1) != 1


def test_price_takes_usage_and_nothing_else() -> None:
    rates: Any = Rates.of([1] * 8)
    with pytest.raises(TypeError):
        price_down(AssetAmount(1), rates, 0)  # type: ignore[arg-type]  # this is what is tested
    with pytest.raises(TypeError):
        price_down(USAGE_ONE, AssetAmount(1), 0)  # type: ignore[arg-type]  # this is what is tested


MIXED_UP = """
from meterbridge.domain.units import AssetAmount, Rates, UsageVector, price_down
usage, amount = UsageVector.zero(), AssetAmount(1)
usage + amount
amount - usage
amount < usage
amount == usage
amount + 1
price_down(amount, Rates.of([0] * 8), 0)
held: AssetAmount = usage
"""


def test_mypy_refuses_every_mix(tmp_path: Path) -> None:
    snippet = tmp_path / "mixed_up.py"
    snippet.write_text(MIXED_UP)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path)]
    run = subprocess.run([*command, str(snippet)], capture_output=True, text=True, check=False)
    flagged = {int(line.split(":")[1]) for line in run.stdout.splitlines() if ": error:" in line}
    assert flagged == {4, 5, 6, 7, 8, 9, 10}, run.stdout


@pytest.mark.parametrize("lane", [True, 1.0, "1", None])
def test_a_lane_is_a_whole_number(lane: Any) -> None:
    with pytest.raises(OutOfBounds, match="whole number"):
        UsageVector.of([lane, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("lane", [INT64_MAX + 1, INT64_MIN - 1])
def test_a_lane_that_leaves_int64_is_an_error(lane: int) -> None:
    with pytest.raises(LaneOverflow, match=str(lane)):
        UsageVector.of([0, 0, 0, lane, 0, 0, 0, 0])


def test_adding_past_int64_is_an_error() -> None:
    most = UsageVector.of([INT64_MAX] + [0] * 7)
    with pytest.raises(LaneOverflow):
        most + USAGE_ONE
    with pytest.raises(LaneOverflow):
        UsageVector.of([INT64_MIN] + [0] * 7) - USAGE_ONE


@pytest.mark.parametrize("count", [7, 9])
def test_usage_has_eight_lanes(count: int) -> None:
    with pytest.raises(OutOfBounds, match=str(count)):
        UsageVector.of([0] * count)


@pytest.mark.parametrize("amount", [-1, UINT256_MAX + 1, 1.0, True])
def test_an_amount_is_a_uint256(amount: Any) -> None:
    with pytest.raises(OutOfBounds):
        AssetAmount(amount)


def test_subtracting_too_much_is_an_error() -> None:
    with pytest.raises(OutOfBounds):
        AssetAmount(1) - AssetAmount(2)
    assert AssetAmount(1).minus_or_zero(AssetAmount(2)) == AssetAmount.zero()


@given(USAGE)
def test_usage_survives_its_bytes_and_words(lanes: tuple[int, ...]) -> None:
    usage = UsageVector.of(lanes)
    expected = b"".join((lane % 2**64).to_bytes(8, "big") for lane in lanes)
    assert usage.to_bytes() == expected
    assert UsageVector.from_bytes(expected) == usage
    assert UsageVector.from_words(usage.to_words()) == usage


@given(USAGE, st.tuples(*[RATE] * 8), st.integers(0, 36))
def test_price_is_the_floor_of_the_exact_price(
    usage: tuple[int, ...], rates: tuple[int, ...], scale: int
) -> None:
    exact = Fraction(sum(u * r for u, r in zip(usage, rates, strict=True)), 10**scale)
    price = price_down(UsageVector.of(usage), Rates.of(rates), scale).base_units
    if exact <= 0:
        assert price == 0
    else:
        assert 0 <= exact - price < 1


@pytest.mark.parametrize("scale", [-1, 37, 78, 255, 1.0, True])
def test_a_scale_out_of_bounds_is_refused(scale: Any) -> None:
    with pytest.raises(BadTariff, match=r"scale is"):
        price_down(USAGE_ONE, Rates.of([1] * 8), scale)


@pytest.mark.parametrize("rate", [-1, 2**64, 0.5])
def test_a_rate_beyond_64_bits_is_refused(rate: Any) -> None:
    with pytest.raises(BadTariff, match="rate 0"):
        Rates.of([rate] + [1] * 7)
