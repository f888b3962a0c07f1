"""Rounds of watching: trouble with the chain is an alert, and several watches tell each alert once."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import ChainUnavailable
from meterbridge.services.following.alerts import Notice, NotReceived
from meterbridge.services.following.guards import Limits
from meterbridge.services.following.metrics import metrics_text
from meterbridge.services.following.watching import Watch


class Inbox:
    """A receiver in this process."""

    name = "inbox"

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.down = False

    def send(self, notice: Notice) -> None:
        if self.down:
            raise NotReceived("down")
        self.notices.append(notice)


class Clock:
    def __init__(self, world: Any) -> None:
        self.world, self.later = world, 0

    def __call__(self) -> int:
        return int(self.world.splitter.now()) + self.later


def watch_of(business: Any, inbox: Inbox, clock: Clock, **options: Any) -> Watch:
    limits = Limits(unsettled_most=AssetAmount(100), behind_seconds=10**9)
    return Watch(business.chain, business.ledger, limits, [inbox], clock, **options)


@pytest.fixture
def world(business: Any) -> tuple[Any, Inbox, Clock]:
    business.deposit(business.payer("p0"), 100_000)
    return business, Inbox(), Clock(business.world)


def test_a_round_follows_guards_and_tells(
    world: tuple[Any, Inbox, Clock], caplog: pytest.LogCaptureFixture
) -> None:
    business, inbox, clock = world
    watch = watch_of(business, inbox, clock)
    quiet = watch.round()
    assert (quiet.open_alerts, quiet.error) == ((), "")
    assert quiet.followed is not None
    business.use(p0=500)
    assert watch.round().open_alerts == (), "guards look at every account: not at every block"
    clock.later += 5
    with caplog.at_level(logging.INFO, logger="meterbridge.watch"):
        loud = watch.round()
        assert [a.alert.amount for a in loud.open_alerts] == [AssetAmount(500)]
        business.settle()
        clock.later += 5
        assert watch.round().open_alerts == ()
    assert [(r.levelname, r.getMessage().split(":")[0]) for r in caplog.records] == [
        ("ERROR", "alert opened"),
        ("INFO", "alert resolved"),
    ]
    assert [notice.kind.value for notice in inbox.notices] == ["alert.opened", "alert.resolved"]


def test_of_two_watches_one_tells(world: tuple[Any, Inbox, Clock]) -> None:
    business, inbox, clock = world
    first, second = (watch_of(business, inbox, clock) for _ in range(2))
    business.use(p0=500)
    first.round()
    second.round()
    assert len(inbox.notices) == 1


def test_a_node_that_is_away_is_told_after_some_tries_and_its_return_too(
    world: tuple[Any, Inbox, Clock],
) -> None:
    business, inbox, clock = world
    watch = watch_of(business, inbox, clock, tries=3)
    watch.round()
    real = business.chain.header

    def away(number: int | None = None) -> Any:
        raise ChainUnavailable("the node does not answer")

    business.chain.header = away
    found = [watch.round() for _ in range(4)]
    assert [len(each.open_alerts) for each in found] == [0, 0, 1, 1]
    assert "does not answer" in found[0].error
    business.chain.header = real
    clock.later += 5
    assert watch.round().open_alerts == ()
    assert [notice.kind.value for notice in inbox.notices] == ["alert.opened", "alert.resolved"]


def test_guards_go_on_while_the_node_is_away(world: tuple[Any, Inbox, Clock]) -> None:
    business, inbox, clock = world
    watch = watch_of(business, inbox, clock)
    watch.round()
    business.use(p0=500)
    clock.later += 5

    def away(number: int | None = None) -> Any:
        raise ChainUnavailable("the node does not answer")

    business.chain.header = away
    assert [a.alert.guard for a in watch.round().open_alerts] == ["unsettled"]


def test_metrics_are_the_ledger_s_whoever_is_asked(world: tuple[Any, Inbox, Clock]) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    business, inbox, clock = world
    inbox.down = True
    business.use(p0=500)
    watch_of(business, inbox, clock).round()
    text = metrics_text(business.ledger, clock())
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    alerts = {s.labels["guard"]: s.value for s in found["meterbridge_alerts_open"] if s.value}
    assert alerts == {"unsettled": 1}
    assert found["meterbridge_alert_notices_waiting"][0].value == 1
    assert found["meterbridge_unsettled_base_units"][0].value == 500
    assert found["meterbridge_followed_block"][0].value == business.world.splitter.newest_block()
    scope = f"131277322940537/{business.world.splitter.address}"
    assert found["meterbridge_followed_block"][0].labels == {"contract": scope}
