"""Guards: each speaks up in time, says how much, and is silent again when it is over."""

from __future__ import annotations

from typing import Any

import pytest

from meterbridge.domain.units import AssetAmount
from meterbridge.services.following.alerts import Alert, Severity
from meterbridge.services.following.guards import Guards, Limits
from meterbridge.services.following.indexer import follow
from meterbridge.services.settling.policy import Policy


class Watched:
    """A business under guard, at the time of its chain."""

    def __init__(self, business: Any, **limits: Any) -> None:
        self.business = business
        self.later = 0
        self.guards = Guards(business.ledger, business.chain.domain, Limits(**limits), self.now)

    def now(self) -> int:
        return int(self.business.world.splitter.now()) + self.later

    def look(self, guard: str | None = None) -> list[Alert]:
        follow(self.business.chain, self.business.ledger)
        return [alert for alert in self.guards.check() if guard in (None, alert.guard)]

    def one(self, guard: str) -> Alert:
        found = self.look(guard)
        assert len(found) == 1, found
        return found[0]


@pytest.fixture
def watched(business: Any) -> Watched:
    business.deposit(business.payer("p0"), 1000)
    business.use(p0=300)
    business.settle()
    return Watched(business)


def test_a_business_in_order_raises_nothing(watched: Watched) -> None:
    assert watched.look() == []


def test_a_thaw_with_money_due_is_told_and_worse_when_it_ends_soon(watched: Watched) -> None:
    """By hand: 1,000 came, 300 was drawn; 600 thaws for an hour; 150 more is used."""
    business, payer = watched.business, watched.business.payer("p0")
    business.world.client(payer).thaw(business.record.tariff, AssetAmount(600))
    assert watched.look("thaw") == [], "nothing is due: the payer may leave"
    business.use(p0=150)
    alert = watched.one("thaw")
    assert (alert.severity, alert.amount) == (Severity.WARNING, AssetAmount(150))
    watched.later = 1801
    assert watched.one("thaw").severity is Severity.CRITICAL
    watched.later = 4000
    assert "at any moment" in watched.one("thaw").message
    watched.later = 0
    business.settle()
    assert watched.look("thaw") == []


def test_the_settler_acts_before_the_guard_calls_it_critical() -> None:
    """By default; that the settler does so, its own tests show on a chain."""
    assert Policy().thaw_margin_seconds > Limits().thaw_margin_seconds


def test_running_dry_is_told_before_and_when_it_happens(watched: Watched) -> None:
    business = watched.business
    assert watched.look("dry") == [], "300 spent, 700 left"
    business.use(p0=400)
    alert = watched.one("dry")
    assert (alert.severity, alert.amount) == (Severity.WARNING, AssetAmount(300)), "700 spent, 300 left"
    business.use(p0=350)
    alert = watched.one("dry")
    assert (alert.severity, alert.amount) == (Severity.CRITICAL, AssetAmount(50))
    business.deposit(business.payer("p0"), 5000)
    assert watched.look("dry") == []
    business.settle()
    watched.later = 2 * 86_400
    assert watched.look("dry") == [], "a slow payer lasts"


def test_a_signer_that_expires_or_is_revoked_is_told(watched: Watched) -> None:
    business = watched.business
    provider = business.world.client(business.world.provider)
    meter = business.ledger.newest_signer(business.record.id)
    now = watched.now()
    provider.set_signer(meter, now + 30 * 86_400)
    assert watched.look("signer") == []
    provider.set_signer(meter, now + 3 * 86_400)
    assert watched.one("signer").severity is Severity.WARNING
    watched.later = 4 * 86_400
    alert = watched.one("signer")
    assert (alert.severity, "expired" in alert.message) == (Severity.CRITICAL, True)
    watched.later = 0
    provider.set_signer(meter, 0)
    alert = watched.one("signer")
    assert (alert.severity, "revoked" in alert.message) == (Severity.CRITICAL, True)
    provider.set_signer(meter, 2**64 - 1)
    assert watched.look("signer") == []


def test_a_key_that_will_sign_is_looked_at_before_it_has_signed(watched: Watched) -> None:
    stranger = watched.business.payer("p2").address
    watched.guards = Guards(
        watched.business.ledger, watched.business.chain.domain, Limits(), watched.now, [stranger]
    )
    assert str(stranger) in watched.one("signer").message


def test_statements_that_nobody_settles_are_told(watched: Watched) -> None:
    business = watched.business
    business.use(p0=10)
    signed = business.state()
    assert watched.look("queue") == []
    watched.later = 1000
    alert = watched.one("queue")
    assert (alert.severity, "is the settler running?" in alert.message) == (Severity.CRITICAL, True)
    watched.later = 0
    business.settle(signed)
    watched.later = 1000
    assert watched.look("queue") == []


def test_a_delivery_that_gets_no_further_is_told_with_its_reason(watched: Watched) -> None:
    from sqlalchemy import text

    business = watched.business
    business.use(p0=10)
    business.state()
    business.ledger.enroll(business.record.domain, watched.now())
    with business.ledger._database.write() as connection:
        stuck = "UPDATE deliveries SET state = 'ready', reason = 'the sender has no money for gas'"
        connection.execute(text(f"{stuck} WHERE sealed_at = (SELECT max(sealed_at) FROM deliveries)"))
    watched.later = 1000
    assert "no money for gas" in watched.one("queue").message


def test_a_sum_that_only_grows_is_told_and_a_settlement_ends_it(watched: Watched) -> None:
    business = watched.business
    for hour in range(0, 27, 3):
        watched.later = hour * 3600
        business.use(p0=10)
        found = watched.look("unsettled")
        assert bool(found) == (hour >= 24), hour
    assert found[0].amount == AssetAmount(90)
    business.settle()
    watched.later += 3600
    assert watched.look("unsettled") == []
    watched.later += 3600
    assert watched.look("unsettled") == []


def test_a_sum_beyond_the_limit_is_told_at_once(watched: Watched) -> None:
    watched.guards = Guards(
        watched.business.ledger,
        watched.business.chain.domain,
        Limits(unsettled_most=AssetAmount(99)),
        watched.now,
    )
    watched.business.use(p0=99)
    assert watched.look("unsettled") == []
    watched.business.use(p0=1)
    alert = watched.one("unsettled")
    assert (alert.severity, alert.amount) == (Severity.CRITICAL, AssetAmount(100))


def test_a_chain_that_stands_still_is_told(watched: Watched) -> None:
    watched.later = 301
    assert watched.one("following").severity is Severity.CRITICAL
