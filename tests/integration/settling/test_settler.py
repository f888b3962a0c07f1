"""The way of a statement to the chain on a real node: each state, and what can go wrong in it."""

from __future__ import annotations

import pytest
from chains import Town

pytestmark = pytest.mark.node


def test_statement_goes_all_the_way_in_one_pass(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    report = town.settler().step()
    assert [moved.delivery.state for moved in report.moved] == ["ready", "signed", "sent", "mined", "final"]
    assert (report.enrolled, report.errors, report.moving) == (1, (), 0)
    assert town.pot() == 100
    [settled] = town.books.ledger.settlements(town.books.record.id)
    assert [(draw.payer, draw.drawn.base_units) for draw in settled.draws] == [(town.payer.address, 100)]
    assert town.settler().step(hurry=True).moved == ()
    assert town.nonce() == 1


def test_statement_is_final_only_at_the_configured_depth(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler(confirmations=4)
    settler.step()
    assert town.states() == ["mined"]
    town.mine(2)
    assert settler.step().moved == ()
    town.mine(1)
    settler.step()
    assert town.states() == ["final"]
