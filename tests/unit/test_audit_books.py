"""Where a pot's money came from and went: the parts are whole, never negative, and add up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.audit_books import AccountBook, AccountId, Findings, FunderId, Law, PotBook
from meterbridge.services.chain_ports import StakeKey

SOURCES = [
    *(AccountId(bytes(32), Address(bytes([n]) * 20)) for n in range(4)),
    FunderId(bytes(32), Address(b"\x09" * 20)),
]
PARTIES = [StakeKey(bytes(32), n, Address(bytes([n + 100]) * 20)) for n in range(3)]

amounts = st.one_of(st.integers(0, 50), st.integers(0, 2**112)).map(AssetAmount)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(SOURCES), amounts),
        st.tuples(st.sampled_from(PARTIES), st.fractions(0, 1)),
    ),
    max_size=40,
)


@given(steps)
def test_every_unit_that_came_is_waiting_or_paid(done: list[tuple[object, object]]) -> None:
    pot = PotBook()
    came: dict[object, int] = {}
    went: dict[object, int] = {}
    for who, what in done:
        if isinstance(who, StakeKey):
            waiting = sum(came.values()) - sum(went.values())
            claim = int(waiting * what)  # type: ignore[operator]
            pot.take(who, AssetAmount(claim))
            went[who] = went.get(who, 0) + claim
        else:
            pot.put(who, what)  # type: ignore[arg-type]
            came[who] = came.get(who, 0) + what.base_units  # type: ignore[attr-defined]
    for source, amount in came.items():
        paid = sum(part.base_units for (giver, _), part in pot.paid.items() if giver == source)
        assert amount == pot.waiting[source].base_units + paid  # type: ignore[index]
        assert pot.given[source].base_units == amount  # type: ignore[index]
    for party, amount in went.items():
        assert amount == sum(part.base_units for (_, taker), part in pot.paid.items() if taker == party)
    assert pot.allocated.base_units == sum(came.values())
    assert pot.claimed.base_units == sum(went.values())


def test_claim_takes_from_everybody_in_proportion() -> None:
    pot = PotBook()
    for source, amount in zip(SOURCES, (600, 300, 100), strict=False):
        pot.put(source, AssetAmount(amount))
    pot.take(PARTIES[0], AssetAmount(500))
    pot.take(PARTIES[1], AssetAmount(250))
    assert [pot.paid[source, PARTIES[0]].base_units for source in SOURCES[:3]] == [300, 150, 50]
    assert [pot.paid[source, PARTIES[1]].base_units for source in SOURCES[:3]] == [150, 75, 25]
    assert [pot.waiting[source].base_units for source in SOURCES[:3]] == [150, 75, 25]


def test_claim_of_more_than_is_there_takes_what_is_there() -> None:
    pot = PotBook()
    pot.take(PARTIES[0], AssetAmount(5))
    pot.put(SOURCES[0], AssetAmount(3))
    pot.take(PARTIES[0], AssetAmount(5))
    assert pot.waiting[SOURCES[0]] == AssetAmount(0)
    assert pot.claimed == AssetAmount(10)


def test_overdrawn_account_has_nothing_left_rather_than_less() -> None:
    book = AccountBook(arrived=AssetAmount(5), settled=AssetAmount(4), withdrawn=AssetAmount(3))
    assert book.balance == AssetAmount(0)


def test_sentence_is_written_only_where_a_check_fails() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise AssertionError("written")

    findings = Findings()
    findings.expect(Law.DRAWS, True, "{}", Unprintable())
    findings.expect(Law.DRAWS, False, "{} of {} under {}", 5, SOURCES[0], PARTIES[1])
    assert findings.checked(Law.DRAWS) == 2
    assert findings.found(Law.DRAWS) == (
        "5 of the account of 0x0000000000000000000000000000000000000000 under tariff 0x00000000… under "
        f"{PARTIES[1].account} at offset 1 of split 0x00000000…",
    )
    assert findings.found(Law.ORDER) == ()
