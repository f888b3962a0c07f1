"""The arithmetic of fees and of what is worth sending, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.units import AssetAmount
from meterbridge.services.settling.policy import Policy
from meterbridge.services.settling.ports import ChainHead, Fees, Trial
from meterbridge.services.settling.records import Attempt, AttemptKind

GWEI = 10**9


def attempt(max_wei: int, tip_wei: int) -> Attempt:
    return Attempt(AttemptKind.SETTLE, Address(bytes(20)), 0, None, None, 21_000, max_wei, tip_wei, 0, 0)


def test_bid_is_twice_the_base_fee_and_the_tip_up_to_the_ceiling() -> None:
    policy = Policy(fee_ceiling_wei=100 * GWEI, tip_floor_wei=GWEI)
    assert policy.bid(Fees(20 * GWEI, 3 * GWEI)) == (43 * GWEI, 3 * GWEI)
    assert policy.bid(Fees(20 * GWEI, 0)) == (41 * GWEI, GWEI)
    assert policy.bid(Fees(60 * GWEI, 2 * GWEI)) == (100 * GWEI, 2 * GWEI)
    assert policy.bid(Fees(99 * GWEI, 2 * GWEI)) is None


def test_replacement_pays_an_eighth_more_of_both_or_is_not_made() -> None:
    policy = Policy(fee_ceiling_wei=100 * GWEI)
    assert policy.outbid(attempt(8000, 800), Fees(1, 1)) == (9000, 900)
    assert policy.outbid(attempt(8001, 801), Fees(1, 1)) == (9002, 902)
    assert policy.outbid(attempt(1, 0), Fees(0, 0)) == (2, 1)
    assert policy.outbid(attempt(8000, 800), Fees(20 * GWEI, GWEI)) == (41 * GWEI, GWEI)
    assert policy.outbid(attempt(8 * GWEI, 1), Fees(60 * GWEI, GWEI)) == (100 * GWEI, GWEI)
    assert policy.outbid(attempt(89 * GWEI, 1), Fees(1, 1)) is None


def test_stuck_is_what_pays_too_little_now_or_waited_three_times_as_long() -> None:
    policy = Policy(bump_after_seconds=60)
    fine = attempt(40 * GWEI, 2 * GWEI)
    assert not policy.is_stuck(attempt(1, 1), Fees(GWEI, GWEI), 59)
    assert not policy.is_stuck(fine, Fees(30 * GWEI, GWEI), 60)
    assert policy.is_stuck(fine, Fees(39 * GWEI, GWEI), 60)
    assert policy.is_stuck(fine, Fees(10 * GWEI, 3 * GWEI), 60)
    assert policy.is_stuck(fine, Fees(10 * GWEI, GWEI), 180)


def test_gas_is_worth_its_price_in_the_asset_rounded_up() -> None:
    # 3,000 dollars of six decimals a coin: 100,000 gas at 20 gwei are 0.002 coins, 6 dollars.
    policy = Policy(coin_price=AssetAmount(3_000_000_000), tip_floor_wei=0)
    assert policy.cost_up(100_000, Fees(19 * GWEI, GWEI)) == AssetAmount(6_000_000)
    assert policy.cost_up(1, Fees(1, 0)) == AssetAmount(1)
    assert Policy().cost_up(1, Fees(1, 1)) is None


@pytest.mark.parametrize(
    ("drawn", "age", "reason"),
    [
        (0, 10**9, "nothing"),
        (5_999_999, 0, "less than the 6000000 that its gas costs"),
        (6_000_000, 0, ""),
        (5_999_999, 86_400, ""),
        (99, 86_399, "less than the minimum of 100"),
    ],
)
def test_reason_to_wait(drawn: int, age: int, reason: str) -> None:
    policy = Policy(minimum=AssetAmount(100), coin_price=AssetAmount(3_000_000_000), tip_floor_wei=0)
    said = policy.reason_to_wait(Trial(AssetAmount(drawn), 100_000), Fees(19 * GWEI, GWEI), age)
    assert reason in said
    assert bool(said) == bool(reason)


def test_depth_counts_the_block_itself_and_a_tag_overrules_it() -> None:
    assert Policy(confirmations=1).is_deep(7, ChainHead(7, None))
    assert not Policy(confirmations=3).is_deep(7, ChainHead(8, None))
    assert Policy(confirmations=3).is_deep(7, ChainHead(9, None))
    tagged = Policy(confirmations=1, finality="finalized")
    assert not tagged.is_deep(7, ChainHead(100, 6))
    assert not tagged.is_deep(7, ChainHead(100, None))
    assert tagged.is_deep(7, ChainHead(100, 7))


@pytest.mark.parametrize(
    "wrong", [{"confirmations": 0}, {"finality": "latest"}, {"lease_seconds": -1}, {"gas_cap": 1.5}]
)
def test_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OutOfBounds):
        Policy(**wrong)
