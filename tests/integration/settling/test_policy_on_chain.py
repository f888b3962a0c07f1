"""What waits, why, and what ends the wait, on a real node."""

from __future__ import annotations

import time

import pytest
from chains import Town

from meterbridge.domain.units import AssetAmount

pytestmark = pytest.mark.node


def test_statement_that_draws_too_little_waits_and_the_next_one_covers_it(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 30})
    settler = town.settler(minimum=AssetAmount(100))
    settler.step()
    assert town.states() == ["waiting"]
    assert town.deliveries()[0].reason == "it would draw 30, less than the minimum of 100"
    town.state({town.payer: 80})
    settler.step()
    assert town.states() == ["superseded", "final"]
    assert (town.pot(), town.nonce()) == (110, 1)


def test_statement_that_is_worth_less_than_its_gas_waits_until_it_is_old(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 30})
    now = [town.splitter.now() + 10]
    # One coin is 10**12 base units, as an expensive coin against a token of six decimals is.
    settler = town.settler(coin_price=AssetAmount(10**12), clock=lambda: now[0], max_age_seconds=3600)
    settler.step()
    assert town.states() == ["waiting"]
    assert "that its gas costs" in town.deliveries()[0].reason
    now[0] += 3600
    settler.step()
    assert town.states() == ["final"]


def test_age_of_what_is_covered_counts_for_what_covers_it(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 30})
    start = town.splitter.now()
    now = [start]
    settler = town.settler(minimum=AssetAmount(500), max_age_seconds=100, clock=lambda: now[0])
    settler.step()
    town.tick(90)
    town.state({town.payer: 30})
    now[0] = start + 95
    settler.step()
    assert town.states() == ["superseded", "waiting"]
    now[0] = start + 105
    settler.step()
    assert (town.states(), town.pot()) == (["superseded", "final"], 60)


def test_thaw_that_ends_soon_ends_the_wait(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 30})
    clock = town.splitter.now
    settler = town.settler(minimum=AssetAmount(100), thaw_margin_seconds=600, clock=clock)
    settler.step()
    town.as_sender(town.payer).thaw(town.books.record.tariff, AssetAmount(1000))
    settler.step()
    assert town.states() == ["waiting"]
    town.tick(3100)  # the thaw takes an hour
    settler.step()
    assert (town.states(), town.pot()) == (["final"], 30)


def test_statement_that_would_draw_nothing_is_never_sent(town: Town) -> None:
    town.state({town.payer: 30})  # who never deposited anything
    settler = town.settler(max_age_seconds=0)
    settler.step()
    assert town.states() == ["waiting"]
    assert "nothing" in town.deliveries()[0].reason
    town.deposit(town.payer, 1000)
    settler.step()
    assert (town.states(), town.pot()) == (["final"], 30)


def test_rest_is_drawn_by_the_same_statement_after_a_deposit(town: Town) -> None:
    town.deposit(town.payer, 40)
    town.deposit(town.other, 1000)
    town.state({town.payer: 100, town.other: 10})
    settler = town.settler()
    settler.step()
    [delivery] = town.deliveries()
    assert (delivery.state, delivery.owing, town.pot()) == ("final", True, 50)
    settler.step()
    assert (town.states(), town.nonce()) == (["final"], 1)
    town.deposit(town.payer, 1000)
    settler.step()
    [delivery] = town.deliveries()
    assert (delivery.state, delivery.owing, town.pot()) == ("final", False, 110)
    drawn = [
        (draw.payer, draw.drawn.base_units)
        for submission in town.books.ledger.settlements(town.books.record.id)
        for draw in submission.draws
        if draw.drawn
    ]
    assert sorted(drawn) == sorted(
        [(town.payer.address, 40), (town.other.address, 10), (town.payer.address, 60)]
    )


def test_statement_of_the_future_waits_for_the_chain_to_get_there(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.books.use({town.payer.address: 5})
    town.books.state(max(town.splitter.now(), int(time.time())) + 1000)
    settler = town.settler()
    settler.step()
    assert town.states() == ["waiting"]
    assert "submit it again when the chain has reached that time" in town.deliveries()[0].reason
    town.tick(2000)
    settler.step()
    assert town.states() == ["final"]


def test_correction_that_draws_nothing_is_sent_while_an_older_one_would_draw_too_much(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler()
    settler.step()
    assert town.pot() == 100
    town.state({town.payer: 400})  # signed, in the world, and wrong
    town.credit(town.payer, 400)
    settler.step()
    assert town.states() == ["final", "superseded", "final"]
    assert (town.pot(), town.nonce()) == (100, 2)
    [wrong] = [d for d in town.deliveries() if d.state == "superseded"]
    signed = town.books.ledger.signed_statement(wrong)
    town.splitter.settle(town.books.record.tariff, signed)  # somebody who would like the 400
    assert town.pot() == 100
    town.credit(town.payer, 100)  # nothing older can draw more: not worth sending
    settler.step()
    assert (town.states()[-1], town.nonce()) == ("waiting", 2)
