"""How lines are packed into statements: never more gas than a transaction has, the most valuable first."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.units import AssetAmount
from meterbridge.services.settling.packing import Packing

Lines = list[tuple[int, bool]]


def pack(packing: Packing, lines: Lines) -> list[Lines]:
    return packing.pack(lines, worth=lambda line: AssetAmount(line[0]), is_known=lambda line: line[1])


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60),
    st.integers(300_000, 1_000_000),
    st.integers(1, 9),
)
def test_packed_lines_are_all_lines_within_the_cap_by_value(lines: Lines, cap: int, most: int) -> None:
    packed = pack(Packing(gas_cap=cap, lines_max=most), lines)
    assert sorted(line for part in packed for line in part) == sorted(lines)
    for part in packed:
        gas = 200_000 + sum(11_000 if known else 28_100 for _, known in part)
        assert gas <= cap * 0.95
        assert 1 <= len(part) <= most
        rest = iter(lines)
        assert all(line in rest for line in part)  # in the order in which they came
    for dear, cheap in itertools.pairwise(packed):
        assert min(worth for worth, _ in dear) >= max(worth for worth, _ in cheap)


def test_ethereums_cap_takes_a_thousand_known_accounts_and_560_new_ones() -> None:
    assert [len(part) for part in pack(Packing(), [(1, True)] * 1001)] == [1000, 1]
    assert [len(part) for part in pack(Packing(), [(1, False)] * 1001)] == [560, 441]


def test_nothing_to_pack_is_no_statement() -> None:
    assert pack(Packing(), []) == []


def test_cap_that_settles_no_line_is_refused() -> None:
    with pytest.raises(OutOfBounds, match="not even one line"):
        Packing(gas_cap=200_000)
    with pytest.raises(OutOfBounds, match="100 %"):
        Packing(margin_percent=100)
