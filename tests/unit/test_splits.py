"""Splits: what a malicious publisher cannot do, and entitlements that never exceed the pot."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadProof, BadSplit, OutOfBounds
from meterbridge.domain.merkle import Side
from meterbridge.domain.splits import (
    Party,
    PartyTable,
    ShareNode,
    ShareProof,
    ShareSibling,
    Split,
    entitled_down,
    join_shares,
)
from meterbridge.domain.units import UINT128_MAX, AssetAmount

ASSET = Address(b"\xaa" * 20)
ALICE, BOB = Address(b"\x01" * 20), Address(b"\x02" * 20)
SHARES = st.lists(st.integers(1, 2**100), min_size=1, max_size=30)


def table_of(shares: list[int]) -> PartyTable:
    return PartyTable([Party(Address(i.to_bytes(20, "big")), 1 + i % 255, s) for i, s in enumerate(shares)])


@given(SHARES)
def test_every_party_proves_its_own_interval(shares: list[int]) -> None:
    table = table_of(shares)
    split = table.split(ASSET)
    offsets = [table.proof(i).verify(split) for i in range(len(table))]
    assert offsets == [sum(shares[:i]) for i in range(len(shares))] == list(table.offsets())
    assert split.total_shares == sum(shares)


@given(SHARES, st.integers(0, UINT128_MAX))
def test_entitlements_never_exceed_the_pot_and_lose_less_than_one_unit_each(
    shares: list[int], pot: int
) -> None:
    total = sum(shares)
    each = [entitled_down(AssetAmount(pot), share, total).base_units for share in shares]
    assert pot - len(shares) < sum(each) <= pot
    assert all(0 <= Fraction(pot * s, total) - e < 1 for s, e in zip(shares, each, strict=True))


@pytest.mark.parametrize("role", [0, 256, -1, True, 1.0])
def test_a_role_out_of_range_is_refused(role: Any) -> None:
    with pytest.raises(BadSplit, match="role"):
        Party(ALICE, role, 1)


@pytest.mark.parametrize("share", [0, -1, UINT128_MAX + 1, True])
def test_a_share_out_of_range_is_refused(share: Any) -> None:
    with pytest.raises(BadSplit, match="share"):
        Party(ALICE, 1, share)


def test_shares_beyond_uint128_are_refused() -> None:
    PartyTable.of(Party(ALICE, 1, UINT128_MAX - 1), Party(BOB, 1, 1))
    with pytest.raises(BadSplit, match=r"at most 2\*\*128"):
        PartyTable.of(Party(ALICE, 1, UINT128_MAX), Party(BOB, 1, 1))
    with pytest.raises(BadSplit, match="at least one party"):
        PartyTable([])


def test_a_phantom_sum_that_wraps_is_refused() -> None:
    # 2^127 beside a phantom of 2^128 - 2^127 + 1 would wrap to a total of 1 in 128 bits.
    party = Party(ALICE, 1, 2**127)
    phantom = ShareNode(bytes(32), 2**127 + 1)
    wrapped = Split(ASSET, b"\x00" * 32, 1)
    with pytest.raises(BadProof, match="at most"):
        ShareProof(party, (ShareSibling(Side.RIGHT, phantom),)).verify(wrapped)
    negative = ShareSibling(Side.RIGHT, ShareNode(bytes(32), -1))
    with pytest.raises(BadProof, match="leave uint128"):
        ShareProof(party, (negative,)).verify(wrapped)


def test_a_proof_of_another_share_side_or_order_is_refused() -> None:
    table = table_of([5, 7, 11])
    split = table.split(ASSET)
    proof = table.proof(1)
    greedy = dataclasses.replace(proof, party=dataclasses.replace(proof.party, share=8))
    flipped = dataclasses.replace(proof, path=(ShareSibling(Side.RIGHT, proof.path[0].node), proof.path[1]))
    for forged in (greedy, flipped, dataclasses.replace(proof, path=proof.path[:1])):
        with pytest.raises(BadProof, match="leads to"):
            forged.verify(split)


def test_a_proof_deeper_than_a_word_of_sides_is_refused() -> None:
    sibling = ShareSibling(Side.LEFT, ShareNode(bytes(32), 0))
    with pytest.raises(BadProof, match="257 steps"):
        ShareProof(Party(ALICE, 1, 1), (sibling,) * 257).verify(Split(ASSET, bytes(32), 1))


def test_duplicate_parties_have_intervals_of_their_own() -> None:
    table = PartyTable.of(Party(ALICE, 1, 3), Party(ALICE, 1, 3))
    assert list(table.offsets()) == [0, 3]
    assert table.proof(0).verify(table.split(ASSET)) == 0
    assert table.proof(1).verify(table.split(ASSET)) == 3


def test_a_node_is_no_leaf() -> None:
    inner = join_shares(Party(ALICE, 1, 3).node(), Party(BOB, 1, 4).node())
    assert inner.hash not in {Party(ALICE, role, 7).node().hash for role in range(1, 256)}


@pytest.mark.parametrize("text", ["", "0x12", "0x" + "g" * 40, "00" * 20, None])
def test_an_address_is_forty_hex_digits(text: Any) -> None:
    with pytest.raises(OutOfBounds, match="no address"):
        Address.parse(text)


def test_addresses_carry_the_checksum_of_eip_55() -> None:
    known = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # from the EIP
    assert str(Address.parse(known.lower())) == known == str(Address.parse(known))
    with pytest.raises(OutOfBounds, match="checksum"):
        Address.parse(known.replace("aA", "Aa"))
