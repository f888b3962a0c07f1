"""Python's domain and the contract, run against each other on inputs at their edges.

Neither was made from the other: the domain follows the protocol in Python's integers, the contract in lanes
and slots. Whatever one accepts or computes, the other accepts or computes.
"""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterbridge.adapters.chain import calls
from meterbridge.adapters.chain.splitter import SplitterClient
from meterbridge.adapters.devnet import Devnet, embedded_chain
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadProof, BadSplit
from meterbridge.domain.merkle import Side
from meterbridge.domain.splits import Party, PartyTable, ShareNode, ShareProof, ShareSibling, Split
from meterbridge.domain.statements import SEALED_AT_MAX, ClaimAuthorization, Line, Statement
from meterbridge.domain.tariffs import THAW_PERIOD_MAX, Tariff
from meterbridge.domain.units import (
    INT64_MAX,
    INT64_MIN,
    SCALE_MAX,
    UINT64_MAX,
    UINT128_MAX,
    UINT256_MAX,
    Rates,
    UsageVector,
)
from meterbridge.services.chain_errors import Refusal
from meterbridge.services.chain_ports import StakeKey

CALLS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def edges(low: int, high: int) -> st.SearchStrategy[int]:
    """Numbers of a range, often those at its ends and beside zero."""
    ends = {
        low,
        low + 1,
        high - 1,
        high,
        max(low, min(high, 0)),
        max(low, min(high, 1)),
        max(low, min(high, -1)),
    }
    return st.sampled_from(sorted(ends)) | st.integers(low, high)


NOBODY = Address(bytes(20))
ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
WORDS = st.binary(min_size=32, max_size=32)
USAGES = st.lists(edges(INT64_MIN, INT64_MAX), min_size=8, max_size=8).map(UsageVector.of)
RATES = st.lists(edges(0, UINT64_MAX), min_size=8, max_size=8).map(Rates.of)
TARIFFS = st.builds(Tariff, ADDRESSES, WORDS, RATES, edges(0, SCALE_MAX), edges(0, THAW_PERIOD_MAX), WORDS)
SPLITS = st.builds(Split, ADDRESSES, WORDS, edges(1, UINT128_MAX))
STATEMENTS = st.builds(
    Statement,
    WORDS,
    edges(1, SEALED_AT_MAX),
    st.lists(
        st.builds(Line, ADDRESSES, USAGES, WORDS), min_size=1, max_size=5, unique_by=lambda x: x.payer
    ).map(tuple),
)
AUTHORIZATIONS = st.builds(
    ClaimAuthorization,
    WORDS,
    edges(0, UINT256_MAX),
    ADDRESSES,
    ADDRESSES,
    edges(0, UINT256_MAX),
    edges(0, UINT256_MAX),
)
# Several shares, each up to the limit of them all: a good part of the tables leave uint128.
PARTIES = st.lists(
    st.builds(Party, ADDRESSES, edges(1, 255), edges(1, UINT128_MAX // 3) | edges(1, 1000)),
    min_size=1,
    max_size=9,
)


def fits(parties: list[Party]) -> bool:
    return sum(party.share for party in parties) <= UINT128_MAX


@pytest.fixture(scope="module")
def chain() -> Devnet:
    return embedded_chain()


@pytest.fixture(scope="module")
def splitter(chain: Devnet) -> SplitterClient:
    return chain.deploy().splitter


@CALLS
@given(tariff=TARIFFS, usage=USAGES)
def test_prices_agree(splitter: SplitterClient, tariff: Tariff, usage: UsageVector) -> None:
    assert splitter.price(tariff, usage) == tariff.price_down(usage)


@CALLS
@given(tariff=TARIFFS, split=SPLITS)
def test_ids_agree(splitter: SplitterClient, tariff: Tariff, split: Split) -> None:
    assert splitter.tariff_id(tariff) == tariff.id
    assert splitter.split_id(split) == split.id


@CALLS
@given(statement=STATEMENTS, authorization=AUTHORIZATIONS)
def test_digests_agree(
    splitter: SplitterClient, statement: Statement, authorization: ClaimAuthorization
) -> None:
    assert splitter.hash_statement(statement) == statement.digest(splitter.domain)
    assert splitter.hash_claim_authorization(authorization) == authorization.digest(splitter.domain)


def accepted(splitter: SplitterClient, call: bytes) -> bool:
    try:
        splitter.gateway.call(splitter.address, call)
    except Refusal:
        return False
    return True


@CALLS
@given(parties=PARTIES, asset=ADDRESSES)
def test_roots_agree(splitter: SplitterClient, parties: list[Party], asset: Address) -> None:
    try:
        split = PartyTable(parties).split(asset)
    except BadSplit:
        # Whatever root is claimed, the contract finds the overflow on the way to it.
        split = Split(asset, b"\x01" * 32, UINT128_MAX)
        assert not accepted(splitter, calls.publish_split(split, parties))
        return
    assert accepted(splitter, calls.publish_split(split, parties))
    assert accepted(splitter, calls.publish_split(split, parties[::-1])) == (parties == parties[::-1])


@settings(CALLS, max_examples=25)
@given(parties=PARTIES.filter(fits).filter(lambda p: all(x.account != NOBODY for x in p)), data=st.data())
def test_offsets_agree(splitter: SplitterClient, parties: list[Party], data: st.DataObject) -> None:
    table = PartyTable(parties)
    split = table.split(splitter.address)
    index = data.draw(st.integers(0, len(parties) - 1))
    proof = table.proof(index)
    offset = proof.verify(split)
    splitter.claim_first(split, proof)
    # A stake is keyed by its offset: it is found only if both computed the same one.
    found = splitter.stake(StakeKey(split.id, offset, proof.party.account))
    assert found.share == proof.party.share


def tampered(proof: ShareProof, data: st.DataObject) -> ShareProof:
    """Change one thing about a proof, often in a way that a sloppy verifier would let pass."""
    path = list(proof.path)
    kinds = ["share", "role", "account", "longer", "as node"] + (
        ["side", "sum", "hash", "shorter", "swap"] if path else []
    )
    kind = data.draw(st.sampled_from(kinds))
    party = proof.party
    at = data.draw(st.integers(0, max(0, len(path) - 1)))
    match kind:
        case "share":
            party = dataclasses.replace(party, share=data.draw(edges(1, UINT128_MAX)))
        case "role":
            party = dataclasses.replace(party, role=data.draw(edges(1, 255)))
        case "account":
            party = dataclasses.replace(party, account=data.draw(ADDRESSES))
        case "longer":
            extra = ShareNode(data.draw(WORDS), data.draw(edges(0, UINT128_MAX)))
            path.append(ShareSibling(data.draw(st.sampled_from(Side)), extra))
        case "as node":
            party = dataclasses.replace(
                party, share=max(1, sum(s.node.shares for s in path[:1]) + party.share)
            )
            path = path[1:]
        case "side":
            other = Side.LEFT if path[at].side is Side.RIGHT else Side.RIGHT
            path[at] = ShareSibling(other, path[at].node)
        case "sum":
            shares = data.draw(edges(0, UINT128_MAX) | st.just((path[at].node.shares + 2**127) % 2**128))
            path[at] = ShareSibling(path[at].side, ShareNode(path[at].node.hash, shares))
        case "hash":
            path[at] = ShareSibling(path[at].side, ShareNode(data.draw(WORDS), path[at].node.shares))
        case "shorter":
            del path[at]
        case "swap":
            path = path[::-1]
    return ShareProof(party, tuple(path))


@CALLS
@given(parties=PARTIES.filter(fits), data=st.data())
def test_tampered_proofs_are_refused_by_both_or_by_neither(
    splitter: SplitterClient, parties: list[Party], data: st.DataObject
) -> None:
    table = PartyTable(parties)
    split = table.split(splitter.address)
    proof = tampered(table.proof(data.draw(st.integers(0, len(parties) - 1))), data)
    try:
        proof.verify(split)
        valid = True
    except BadProof:
        valid = False
    # What nobody could receive is no business of the domain's, and never registers with the contract.
    payable = proof.party.account not in (NOBODY, splitter.address)
    assert accepted(splitter, calls.claim_first(split, proof)) == (valid and payable)
