"""The audit: on the real contract every law holds; of tampered evidence it says which law does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from meterbridge.adapters.chain import Gateway, SplitterClient, calls
from meterbridge.adapters.devnet import Devnet
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services import claims
from meterbridge.services.audit import AuditReport, audit, gather, judge
from meterbridge.services.audit_books import Law
from meterbridge.services.audit_laws import Evidence
from meterbridge.services.chain_events import (
    AccountOpened,
    ChainEvent,
    Claimed,
    Deposited,
    Funded,
    Registered,
    Settled,
    Skipped,
    SplitPublished,
    TariffPublished,
    Thawing,
    Withdrawn,
)


def vector(*lanes: int) -> UsageVector:
    return UsageVector.of([*lanes, *[0] * (8 - len(lanes))])


def tell_the_story(world: Any) -> None:
    """Everything that can happen to money, with numbers that are easy to follow by hand.

    Deposits 1000, 500 and 30; draws 200, 100 and 30 of 45; 70 given to the pot; three parties claim at a pot
    of 330, one of them again at 400; 300 withdrawn; an old statement skipped; 7 sent without a deposit.
    """
    one, two, three = world.payers
    provider = world.client(world.provider)
    provider.publish_split(world.split, world.table.parties)
    provider.publish_tariff(world.tariff, world.document)
    claims.claim(world.splitter, world.split, world.table.proof(2))  # of nothing: it registers
    for payer, amount in ((one, 1000), (two, 500), (three, 30)):
        world.deposit(payer, amount)
    old = world.sign({one: vector(1)}, sealed_at=world.splitter.now() - 50)
    signed = world.sign({one: vector(100, 50), two: vector(100), three: vector(45)})
    world.splitter.settle(world.tariff, signed)
    world.splitter.settle(world.tariff, old)
    for index in (0, 1, 3):
        claims.claim(world.splitter, world.split, world.table.proof(index))
    mine = world.client(two)
    mine.thaw(world.tariff, AssetAmount(300))
    world.net.wait_until(world.splitter.thawing(world.tariff.id, two.address).end)
    mine.withdraw(world.tariff, world.split)
    world.token.mint(one.address, AssetAmount(77))
    purse = world.token.as_sender(world.net.gateway(one))
    purse.approve(world.splitter.address, AssetAmount(70))
    world.client(one).fund(world.split, AssetAmount(70))
    purse.transfer(world.splitter.address, AssetAmount(7))
    claims.claim(world.splitter, world.split, world.table.proof(0))


@pytest.fixture
def told(world: Any) -> Any:
    tell_the_story(world)
    return world


@pytest.fixture(scope="module")
def evidence(embedded: Devnet, make_world: Callable[[Devnet], Any]) -> Evidence:
    world = make_world(embedded)
    tell_the_story(world)
    return gather(world.splitter, from_block=world.deployment.block)


def failed(report: AuditReport) -> set[str]:
    return {check.law for check in report.laws if not check.ok}


def test_every_law_holds_and_was_looked_at(told: Any) -> None:
    report = audit(told.splitter, from_block=told.deployment.block)
    assert failed(report) == set()
    assert report.ok
    assert [check.law for check in report.laws] == [law.value for law in Law]
    # the dust can be looked at only when everybody is paid
    assert {check.law for check in report.laws if check.checked == 0} == {Law.DUST.value}
    claims.claim_all(told.splitter, told.split, told.table)
    report = audit(told.splitter, from_block=told.deployment.block)
    assert report.ok
    assert all(check.checked > 0 for check in report.laws)
    # of 400: 200, 140, 40 and 20
    assert report.totals[0].pot_left == AssetAmount(0)
    assert report.block == told.splitter.newest_block()


def test_totals_are_those_of_the_story(told: Any) -> None:
    (total,) = audit(told.splitter, from_block=told.deployment.block).totals
    # claims at 330: 165, 115, 16; then of 400: 200, so 35 more
    assert {name: getattr(total, name) for name in total.__slots__ if name != "asset"} == {
        name: AssetAmount(value)
        for name, value in {
            "deposited": 1530,
            "funded": 70,
            "drawn": 330,
            "claimed": 331,
            "withdrawn": 300,
            "escrow_left": 900,
            "pot_left": 69,
            "surplus": 7,
        }.items()
    }
    assert told.balance(told.splitter.address) == 900 + 69 + 7


def test_every_base_unit_of_every_deposit_is_somewhere(told: Any) -> None:
    report = audit(told.splitter, from_block=told.deployment.block)
    one, two, three = (payer.address for payer in told.payers)
    rows = {(row.owner, row.tariff_id is not None): row for row in report.rows}
    assert rows.keys() == {(one, True), (two, True), (three, True), (one, False)}
    assert all(row.adds_up() for row in report.rows)
    assert [
        (row.arrived.base_units, row.withdrawn.base_units, row.in_escrow.base_units) for row in report.rows
    ] == [
        (1000, 0, 800),
        (500, 300, 100),
        (30, 0, 0),
        (70, 0, 0),
    ]
    by_party: dict[Address, int] = {}
    for row in report.rows:
        for paid in row.paid:
            by_party[paid.account] = by_party.get(paid.account, 0) + paid.amount.base_units
    # what the token says that the parties hold
    assert by_party == {
        party.address: told.balance(party.address) for party in told.parties if told.balance(party.address)
    }
    # at the first paid claim, 165 of a pot of 330, half of everybody's draw was taken
    assert rows[one, True].paid[0].amount >= AssetAmount(100)
    assert rows[one, True].paid[0].role == 1


def test_anybody_can_audit_without_a_key(told: Any) -> None:
    reader = SplitterClient(Gateway(told.net.w3), told.splitter.address)
    assert audit(reader).ok


def test_audit_from_a_later_block_does_not_add_up(told: Any) -> None:
    assert not audit(told.splitter, from_block=told.splitter.newest_block() - 3).ok


def test_token_that_is_not_asked_about_does_not_matter(told: Any) -> None:
    # Somebody brings a token of their own: an account without code, which moves nothing and says nothing.
    alien = PartyTable.of(Party(told.meter.address, 1, 1)).split(Address(b"\x99" * 20))
    told.splitter.announce_split(alien, "https://example.invalid")
    report = audit(told.splitter, from_block=told.deployment.block, assets=[told.token.address])
    assert report.ok
    assert [total.asset for total in report.totals] == [told.token.address]
    assert audit(told.splitter, from_block=told.deployment.block).ok


def test_pot_of_a_split_that_nobody_published_is_shown_without_a_token(world: Any) -> None:
    payer = world.payers[0]
    hidden = PartyTable.of(Party(payer.address, 1, 9)).split(world.token.address)
    world.token.mint(payer.address, AssetAmount(50))
    world.token.as_sender(world.net.gateway(payer)).approve(world.splitter.address, AssetAmount(50))
    world.client(payer).fund(hidden, AssetAmount(50))
    report = audit(world.splitter, from_block=world.deployment.block)
    assert report.ok
    assert [(row.asset, row.in_pot) for row in report.rows] == [(None, AssetAmount(50))]


def test_nobody_can_break_an_audit_with_a_split_that_no_event_names(world: Any) -> None:
    """A stranger funds the good token into a hidden split and claims it: odd, and no law is broken."""
    payer = world.payers[0]
    world.deposit(payer, 100)  # so that the token is one that the audit looks at
    hidden_table = PartyTable([Party(payer.address, 9, 1)])
    hidden = hidden_table.split(world.token.address)
    world.token.mint(payer.address, AssetAmount(50))
    world.token.as_sender(world.net.gateway(payer)).approve(world.splitter.address, AssetAmount(50))
    world.client(payer).fund(hidden, AssetAmount(50))
    claims.claim(world.splitter, hidden, hidden_table.proof(0))
    report = audit(world.splitter, from_block=world.deployment.block, assets=[world.token.address])
    assert [check.found for check in report.laws if not check.ok] == []
    assert report.ok


def test_all_in_one_transaction_is_audited_as_well(world: Any) -> None:
    payer = world.payers[0]
    world.deposit(payer, 100)
    signed = world.sign({payer: vector(60)})
    proofs = [world.table.proof(index) for index in range(4)]
    world.splitter.multicall(
        [calls.settle(world.tariff, signed), *(calls.claim_first(world.split, proof) for proof in proofs)]
    )
    report = audit(world.splitter, from_block=world.deployment.block)
    assert report.ok
    assert report.totals[0].claimed == AssetAmount(60)


# Tampering. Each case changes what an auditor is shown, and names the laws that must be found broken.


def change(evidence: Evidence, kind: type[ChainEvent], index: int = 0, **changes: Any) -> Evidence:
    events = list(evidence.events)
    place = [i for i, event in enumerate(events) if isinstance(event, kind)][index]
    events[place] = replace(events[place], **changes)
    return replace(evidence, events=tuple(events))


def drop(evidence: Evidence, kind: type[ChainEvent], index: int = 0) -> Evidence:
    victim = [event for event in evidence.events if isinstance(event, kind)][index]
    return replace(evidence, events=tuple(event for event in evidence.events if event != victim))


def repeat(evidence: Evidence, kind: type[ChainEvent]) -> Evidence:
    place = next(i for i, event in enumerate(evidence.events) if isinstance(event, kind))
    return replace(evidence, events=(*evidence.events[: place + 1], *evidence.events[place:]))


def first(evidence: Evidence, kind: type[ChainEvent]) -> Any:
    return next(event for event in evidence.events if isinstance(event, kind))


def asset(evidence: Evidence) -> Address:
    (found,) = evidence.balances
    return found


def less_balance(evidence: Evidence) -> Evidence:
    # the surplus of 7 is not missed by anybody, one unit more is
    balance = evidence.balances[asset(evidence)]
    return replace(evidence, balances={asset(evidence): balance - AssetAmount(8)})


def another_view(evidence: Evidence, **changes: Any) -> Evidence:
    account = next(iter(evidence.escrows))
    return replace(
        evidence, escrows={**evidence.escrows, account: replace(evidence.escrows[account], **changes)}
    )


def another_stake(evidence: Evidence, **changes: Any) -> Evidence:
    key = list(evidence.stakes)[-1]  # one that claimed
    return replace(evidence, stakes={**evidence.stakes, key: replace(evidence.stakes[key], **changes)})


def another_pot(evidence: Evidence, amount: int) -> Evidence:
    return replace(evidence, pots={key: AssetAmount(amount) for key in evidence.pots})


def redirect(evidence: Evidence) -> Evidence:
    """The token moved a withdrawal to somebody else than the payer."""
    withdrawal = first(evidence, Withdrawn)
    moves = tuple(
        replace(move, recipient=Address(b"\x66" * 20)) if move.at.tx_hash == withdrawal.at.tx_hash else move
        for move in evidence.transfers[asset(evidence)]
    )
    return replace(evidence, transfers={asset(evidence): moves})


def without_move(evidence: Evidence, kind: type[ChainEvent]) -> Evidence:
    """The token never moved what an event says."""
    tx_hash = first(evidence, kind).at.tx_hash
    moves = tuple(move for move in evidence.transfers[asset(evidence)] if move.at.tx_hash != tx_hash)
    return replace(evidence, transfers={asset(evidence): moves})


def extra_move(evidence: Evidence) -> Evidence:
    """The token moved something out that nobody withdrew or claimed."""
    moves = evidence.transfers[asset(evidence)]
    theft = replace(moves[0], sender=evidence.contract, recipient=Address(b"\x66" * 20))
    return replace(evidence, transfers={asset(evidence): (*moves, theft)})


def overlapping(evidence: Evidence) -> Evidence:
    last = [event for event in evidence.events if isinstance(event, Registered)][-1]
    return change(evidence, Registered, -1, offset=last.offset - 1)


def other_parties(evidence: Evidence) -> tuple[Party, ...]:
    published: SplitPublished = first(evidence, SplitPublished)
    return (*published.parties[:-1], replace(published.parties[-1], share=501))


TAMPERED: dict[str, tuple[Callable[[Evidence], Evidence], set[Law]]] = {
    "tokens are missing": (less_balance, {Law.COVERED}),
    "a deposit is larger than what came": (
        lambda e: change(e, Deposited, arrived=AssetAmount(1001)),
        {Law.ARRIVED},
    ),
    "a deposit is not told": (lambda e: drop(e, Deposited), {Law.ARRIVED, Law.DRAWS}),
    "a deposit is told twice": (lambda e: repeat(e, Deposited), {Law.ARRIVED}),
    "a deposit never moved a token": (lambda e: without_move(e, Deposited), {Law.ARRIVED}),
    "a gift to the pot never moved a token": (lambda e: without_move(e, Funded), {Law.ARRIVED}),
    "an account was opened under another tariff": (
        lambda e: change(e, AccountOpened, tariff=replace(first(e, AccountOpened).tariff, scale=1)),
        {Law.NAMES},
    ),
    "the contract hides part of a balance": (
        lambda e: another_view(e, balance=AssetAmount(1)),
        {Law.ARRIVED},
    ),
    "the contract forgets part of what was drawn": (
        lambda e: another_view(e, settled=AssetAmount(199)),
        {Law.ARRIVED, Law.ORDER},
    ),
    "the contract forgets when an account was settled": (
        lambda e: another_view(e, sealed_at=1),
        {Law.ORDER},
    ),
    "a draw is dearer than its usage": (
        lambda e: change(e, Settled, usage=vector(100, 49)),
        {Law.DRAWS},
    ),
    "a draw takes more than the balance": (
        lambda e: change(e, Settled, 2, drawn=AssetAmount(45)),
        {Law.DRAWS, Law.ORDER, Law.CLAIMS},
    ),
    "a draw takes less than it could": (
        lambda e: change(e, Settled, drawn=AssetAmount(150)),
        {Law.DRAWS, Law.ORDER, Law.CLAIMS},
    ),
    "a draw happens twice": (
        lambda e: repeat(e, Settled),
        {Law.DRAWS, Law.ORDER, Law.CLAIMS},
    ),
    "seal times go back": (lambda e: change(e, Settled, 0, sealed_at=2**32 - 1), {Law.ORDER}),
    "a statement is skipped without reason": (
        lambda e: change(e, Skipped, sealed_at=2**32 - 1),
        {Law.ORDER},
    ),
    "a party claims more than its share": (
        lambda e: change(e, Claimed, amount=AssetAmount(166)),
        {Law.CLAIMS, Law.SHARES, Law.MOVES},
    ),
    "a claim is not told": (
        lambda e: drop(e, Claimed),
        {Law.COVERED, Law.CLAIMS, Law.SHARES, Law.MOVES},
    ),
    "the pot is larger than what came": (lambda e: another_pot(e, 401), {Law.CLAIMS}),
    "more was claimed than the pot had": (lambda e: another_pot(e, 330), {Law.CLAIMS}),
    "a gift to the pot is not told": (lambda e: drop(e, Funded), {Law.CLAIMS}),
    "a withdrawal went to somebody else": (redirect, {Law.MOVES}),
    "a withdrawal never moved a token": (lambda e: without_move(e, Withdrawn), {Law.MOVES}),
    "a claim never moved a token": (lambda e: without_move(e, Claimed), {Law.MOVES}),
    "tokens left without a withdrawal or claim": (extra_move, {Law.MOVES}),
    "a withdrawal without a thaw": (lambda e: drop(e, Thawing), {Law.MOVES}),
    "a withdrawal is larger than what thawed": (
        lambda e: change(e, Withdrawn, amount=AssetAmount(301)),
        {Law.MOVES, Law.ARRIVED},
    ),
    "a share was changed after it was proven": (lambda e: another_stake(e, share=5001), {Law.SHARES}),
    "the contract forgets what a party claimed": (
        lambda e: another_stake(e, claimed=AssetAmount(0)),
        {Law.SHARES},
    ),
    "two parties overlap": (overlapping, {Law.SHARES, Law.CLAIMS}),
    "everybody is paid and much stays": (
        lambda e: replace(e, claimables=dict.fromkeys(e.claimables, AssetAmount(0))),
        {Law.DUST, Law.CLAIMS},
    ),
    "the contract would pay too much": (
        lambda e: replace(e, claimables=dict.fromkeys(e.claimables, AssetAmount(41))),
        {Law.CLAIMS},
    ),
    "a party claims without having proven a share": (
        lambda e: drop(e, Registered, -1),
        {Law.SHARES, Law.CLAIMS},
    ),
    "a party registers twice": (lambda e: repeat(e, Registered), {Law.SHARES}),
    "a party stands beyond the split": (
        lambda e: change(e, Registered, -1, share=2**127),
        {Law.SHARES, Law.CLAIMS},
    ),
    "the published parties are others": (
        lambda e: change(e, SplitPublished, parties=other_parties(e)),
        {Law.NAMES},
    ),
    "nobody was published": (lambda e: change(e, SplitPublished, parties=()), {Law.NAMES}),
    "a split has another id": (
        lambda e: change(e, SplitPublished, split_id=bytes(32)),
        {Law.NAMES},
    ),
    "a tariff has another id": (
        lambda e: change(e, TariffPublished, tariff_id=bytes(32)),
        {Law.NAMES},
    ),
    "a tariff has another document": (
        lambda e: change(e, TariffPublished, document=b"{}"),
        {Law.NAMES},
    ),
    "the contract runs other code": (lambda e: replace(e, released_code=False), {Law.CODE}),
}


@pytest.mark.parametrize("case", sorted(TAMPERED))
def test_tampering_is_noticed_under_the_right_law(evidence: Evidence, case: str) -> None:
    tamper, laws = TAMPERED[case]
    assert judge(evidence).ok
    report = judge(tamper(evidence))
    assert not report.ok
    assert failed(report) == {law.value for law in laws}
    assert all(sentence and "{" not in sentence for check in report.laws for sentence in check.found)


def test_every_law_is_broken_by_some_case(evidence: Evidence) -> None:
    broken = {law for _, laws in TAMPERED.values() for law in laws}
    assert broken == set(Law)


def test_finding_names_what_is_wrong(evidence: Evidence) -> None:
    report = judge(change(evidence, Settled, usage=vector(100, 49)))
    (check,) = (check for check in report.laws if not check.ok)
    payer = first(evidence, Settled).payer
    tariff = first(evidence, Settled).tariff_id.hex()[:8]
    assert check.found == (
        f"the account of {payer} under tariff 0x{tariff}… was drawn 200; its usage costs 198, 0 was settled "
        "and 1000 was there, so 198 was due",
    )


def test_account_that_only_a_statement_names_has_no_row(world: Any) -> None:
    world.splitter.settle(world.tariff, world.sign({world.payers[0]: vector(5)}))
    report = audit(world.splitter, from_block=world.deployment.block)
    assert report.ok
    assert report.rows == ()
