"""Claims through the service, on the real contract; expectations by hand, from 50, 35, 10 and 5 per cent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadProof, BadSplit
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services import claims
from meterbridge.services.chain_errors import (
    AuthorizationExpired,
    InvalidRecipient,
    InvalidSignature,
    NotRegistered,
)


def fill_pot(world: Any, total: int) -> None:
    """Bring the pot to a total, by one payer's usage."""
    payer = world.payers[0]
    world.deposit(payer, total)
    world.net.wait_until(world.splitter.now() + 1)
    used = UsageVector.of([total, 0, 0, 0, 0, 0, 0, 0])
    world.splitter.settle(world.tariff, world.sign({payer: used}))


def amounts(world: Any) -> list[int]:
    found = claims.claimable(world.splitter, world.split, world.table)
    return [each.amount.base_units for each in found]


def test_claimable_is_told_for_every_party_before_anybody_registered(world: Any) -> None:
    assert amounts(world) == [0, 0, 0, 0]
    fill_pot(world, 1001)
    # 500.5, 350.35, 100.1 and 50.05, rounded down
    assert amounts(world) == [500, 350, 100, 50]
    first = claims.claimable(world.splitter, world.split, world.table)[0]
    assert not first.registered
    assert (first.party, first.offset) == (world.table.parties[0], 0)


def test_first_claim_proves_and_later_ones_do_not(world: Any) -> None:
    fill_pot(world, 1000)
    proof = world.table.proof(1)
    first = claims.claim(world.splitter, world.split, proof)
    assert (first.first, first.paid) == (True, AssetAmount(350))
    assert (first.recipient, first.party) == (world.parties[1].address, world.table.parties[1])
    again = claims.claim(world.splitter, world.split, proof)
    assert (again.first, again.paid) == (False, AssetAmount(0))
    assert again.receipt.gas_used < first.receipt.gas_used
    fill_pot(world, 2000)
    assert claims.claim(world.splitter, world.split, proof).paid == AssetAmount(350)
    assert world.balance(world.parties[1].address) == 700


def test_every_party_claims_and_less_than_a_unit_each_stays(world: Any) -> None:
    fill_pot(world, 999)
    made = claims.claim_all(world.splitter, world.split, world.table)
    # 499.5, 349.65, 99.9 and 49.95
    assert [each.paid.base_units for each in made] == [499, 349, 99, 49]
    assert world.splitter.token_balance(world.token.address) == AssetAmount(3)
    assert amounts(world) == [0, 0, 0, 0]
    assert claims.claim_all(world.splitter, world.split, world.table) == ()
    states = claims.claimable(world.splitter, world.split, world.table)
    assert all(each.registered and each.claimed == each.entitled for each in states)


def test_rounding_never_accumulates(world: Any) -> None:
    for total in range(10, 80, 7):
        fill_pot(world, total)
        claims.claim_all(world.splitter, world.split, world.table)
    # of 73: 36.5, 25.55, 7.3 and 3.65
    held = [world.balance(party.address) for party in world.parties]
    assert held == [36, 25, 7, 3]


def test_party_pays_another_recipient_itself(world: Any) -> None:
    fill_pot(world, 1000)
    proof, friend = world.table.proof(2), Address(b"\x55" * 20)
    mine = world.client(world.parties[2])
    with pytest.raises(NotRegistered):
        claims.claim_to(mine, world.split, proof, friend)
    claims.claim(world.splitter, world.split, proof)
    fill_pot(world, 1500)
    claim = claims.claim_to(mine, world.split, proof, friend)
    assert (claim.recipient, claim.paid, world.balance(friend)) == (friend, AssetAmount(50), 50)


def test_stranger_cannot_name_a_recipient(world: Any) -> None:
    fill_pot(world, 1000)
    proof, thief = world.table.proof(2), world.payers[0]
    claims.claim(world.splitter, world.split, proof)
    fill_pot(world, 1500)
    with pytest.raises(NotRegistered):  # the stake of the sender, who has none
        claims.claim_to(world.client(thief), world.split, proof, thief.address)
    deadline = world.splitter.now() + 100
    forged = claims.authorize(world.splitter, world.split, proof, thief.address, thief, deadline=deadline)
    with pytest.raises(InvalidSignature):
        claims.claim_with_authorization(world.splitter, world.split, proof, forged)


def test_authorization_pays_another_recipient_once(world: Any) -> None:
    proof, party, friend = world.table.proof(3), world.parties[3], Address(b"\x56" * 20)
    claims.claim(world.splitter, world.split, proof)  # of nothing: it registers
    fill_pot(world, 1000)
    deadline = world.splitter.now() + 100
    signed = claims.authorize(world.splitter, world.split, proof, friend, party, deadline=deadline)
    claim = claims.claim_with_authorization(world.splitter, world.split, proof, signed)
    assert (claim.recipient, claim.paid, world.balance(friend)) == (friend, AssetAmount(50), 50)


def test_authorization_ends_with_its_deadline(world: Any) -> None:
    proof, party = world.table.proof(3), world.parties[3]
    claims.claim(world.splitter, world.split, proof)
    fill_pot(world, 1000)
    deadline = world.splitter.now() + 5
    signed = claims.authorize(
        world.splitter, world.split, proof, world.payers[1].address, party, deadline=deadline
    )
    world.net.wait_until(deadline + 1)
    with pytest.raises(AuthorizationExpired, match=f"until {deadline}"):
        claims.claim_with_authorization(world.splitter, world.split, proof, signed)


def test_authorization_before_the_first_claim_is_refused_before_sending(world: Any) -> None:
    proof, party = world.table.proof(3), world.parties[3]
    signed = claims.authorize(
        world.splitter, world.split, proof, world.payers[1].address, party, deadline=2**40
    )
    with pytest.raises(NotRegistered, match="the first claim takes the proof"):
        claims.claim_with_authorization(world.splitter, world.split, proof, signed)


def test_contract_itself_is_never_a_recipient(world: Any) -> None:
    with pytest.raises(InvalidRecipient):
        claims.authorize(
            world.splitter,
            world.split,
            world.table.proof(0),
            world.splitter.address,
            world.parties[0],
            deadline=2**40,
        )


def test_wrong_parties_and_wrong_proofs_are_refused_before_sending(world: Any) -> None:
    block = world.splitter.newest_block()
    other = PartyTable.of(Party(world.payers[0].address, 1, 10_000))
    with pytest.raises(BadSplit, match="not those of the split"):
        claims.claim_all(world.splitter, world.split, other)
    with pytest.raises(BadProof):
        claims.claim(world.splitter, world.split, other.proof(0))
    richer = replace(world.table.proof(3), party=replace(world.table.parties[3], share=501))
    with pytest.raises(BadProof):
        claims.claim(world.splitter, world.split, richer)
    assert world.splitter.newest_block() == block


def test_account_that_stands_in_a_split_twice_claims_both(world: Any) -> None:
    party = world.parties[0].address
    table = PartyTable.of(Party(party, 1, 1), Party(world.parties[1].address, 2, 2), Party(party, 5, 3))
    world.table, world.split = table, table.split(world.token.address)
    world.tariff = world.make_tariff()
    fill_pot(world, 600)
    made = claims.claim_all(world.splitter, world.split, table)
    assert [each.paid.base_units for each in made] == [100, 200, 300]
    assert world.balance(party) == 400
