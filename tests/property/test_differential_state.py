"""Any sequence of deposits, settlements, thaws, fundings and claims, on the contract and on a model.

The model is sections 5, 7 and 8 of the protocol in a page of Python; it knows no slots, lanes or tokens.
Each refusal must be the model's, and in the end each of the contract's views must say what the model says.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.senders import NodeSender
from meterbridge.adapters.chain.token import TokenClient
from meterbridge.adapters.devnet import Devnet, embedded_chain
from meterbridge.adapters.embedded import GAS_LIMIT
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.splits import Party, PartyTable, Split, entitled_down
from meterbridge.domain.statements import Line, SignedStatement, Statement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import (
    INT64_MAX,
    INT64_MIN,
    UINT112_MAX,
    UINT128_MAX,
    AssetAmount,
    Rates,
    UsageVector,
)
from meterbridge.services.chain_errors import (
    AccountFull,
    NothingArrived,
    NothingThawing,
    NotRegistered,
    PotFull,
    Refusal,
    ThawExceedsBalance,
)
from meterbridge.services.chain_ports import StakeKey

PAYERS, PARTIES = 2, 3
PARTY_ACCOUNTS = tuple(Address(bytes([0xE0 + i]) * 20) for i in range(PARTIES))
NUMBERS = itertools.count(1)
TIMES = st.integers(1, 3)
LANES = st.sampled_from([INT64_MIN, -1, 1, 3, 10, 900, 5_000, 10**6, INT64_MAX])
AMOUNTS = st.sampled_from([0, 1, 2, 999, 10**6, 2**64, UINT112_MAX - 1, UINT112_MAX]) | st.integers(0, 10**9)
POTS = AMOUNTS | st.sampled_from([UINT128_MAX, UINT128_MAX - 5])
WHO, PARTY = st.integers(0, PAYERS - 1), st.integers(0, PARTIES - 1)
# Few meters at once: were all of them at their extremes, the total would be negative half of the time.
USAGES = st.dictionaries(st.integers(0, 7), LANES, min_size=1, max_size=2).map(
    lambda used: UsageVector.of(used.get(lane, 0) for lane in range(8))
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deposit"), WHO, AMOUNTS),
        st.tuples(st.just("settle"), TIMES, st.dictionaries(WHO, USAGES, min_size=1)),
        st.tuples(st.just("settle"), TIMES, st.dictionaries(WHO, USAGES, min_size=1)),
        st.tuples(st.just("thaw"), WHO, AMOUNTS),
        st.tuples(st.just("withdraw"), WHO, st.none()),
        st.tuples(st.just("fund"), st.none(), POTS),
        st.tuples(st.just("first"), PARTY, st.none()),
        st.tuples(st.just("claim"), PARTY, st.none()),
    ),
    min_size=4,
    max_size=12,
)
# What is needed for the rest to matter: money in both accounts.
RICHES = st.sampled_from([10**6, 10**9, 2**64, UINT112_MAX - 1])
OPENING = st.tuples(*(st.tuples(st.just("deposit"), st.just(who), RICHES) for who in range(PAYERS)))


@dataclass
class Escrow:
    balance: int = 0
    settled: int = 0
    sealed_at: int = 0
    thawing: int = 0
    deposited: int = 0
    withdrawn: int = 0


@dataclass
class Model:
    tariff: Tariff
    shares: tuple[int, ...]
    pot: int = 0
    escrows: list[Escrow] = field(default_factory=lambda: [Escrow() for _ in range(PAYERS)])
    claimed: dict[int, int] = field(default_factory=dict)

    def deposit(self, who: int, amount: int) -> type[Refusal] | None:
        escrow = self.escrows[who]
        if amount == 0:
            return NothingArrived
        if escrow.balance + escrow.settled + amount > UINT112_MAX:
            return AccountFull
        escrow.thawing = min(escrow.thawing, escrow.balance)
        escrow.balance += amount
        escrow.deposited += amount
        return None

    def settle(self, sealed_at: int, lines: dict[int, UsageVector]) -> type[Refusal] | None:
        drawn, after = 0, {}
        for who, usage in lines.items():
            escrow = self.escrows[who]
            if sealed_at < escrow.sealed_at:
                continue
            due = max(0, self.tariff.price_down(usage).base_units - escrow.settled)
            after[who] = min(due, escrow.balance)
            drawn += after[who]
        if self.pot + drawn > UINT128_MAX:
            return PotFull
        for who, amount in after.items():
            self.escrows[who].balance -= amount
            self.escrows[who].settled += amount
            self.escrows[who].sealed_at = sealed_at
        self.pot += drawn
        return None

    def thaw(self, who: int, amount: int) -> type[Refusal] | None:
        if amount > self.escrows[who].balance:
            return ThawExceedsBalance
        self.escrows[who].thawing = amount
        return None

    def withdraw(self, who: int, _: None) -> type[Refusal] | None:
        escrow = self.escrows[who]
        if escrow.thawing == 0:
            return NothingThawing
        paid = min(escrow.thawing, escrow.balance)
        escrow.thawing, escrow.balance, escrow.withdrawn = 0, escrow.balance - paid, escrow.withdrawn + paid
        return None

    def fund(self, _: None, amount: int) -> type[Refusal] | None:
        if amount == 0:
            return NothingArrived
        if self.pot + amount > UINT128_MAX:
            return PotFull
        self.pot += amount
        return None

    def first(self, party: int, _: None) -> type[Refusal] | None:
        self.claimed[party] = self.entitled(party)
        return None

    def claim(self, party: int, _: None) -> type[Refusal] | None:
        return NotRegistered if party not in self.claimed else self.first(party, None)

    def entitled(self, party: int) -> int:
        return entitled_down(AssetAmount(self.pot), self.shares[party], sum(self.shares)).base_units


class Chain:
    """The contract, its token, and who may send what."""

    def __init__(self) -> None:
        self.devnet: Devnet = embedded_chain()
        deployed = self.devnet.deploy()
        self.token: TokenClient = deployed.token
        accounts = [Address.parse(account) for account in self.devnet.w3.eth.accounts]
        gateways = [
            Gateway(self.devnet.w3, NodeSender(a), fixed_gas=GAS_LIMIT) for a in accounts[1 : PAYERS + 2]
        ]
        self.provider = deployed.splitter.as_sender(gateways[PAYERS])
        self.payers = [deployed.splitter.as_sender(gateway) for gateway in gateways[:PAYERS]]
        self.accounts = accounts[1 : PAYERS + 1]
        self.meter = LocalSigner(b"\x31" * 32)
        self.provider.set_signer(self.meter.address, 2**32 - 1)
        self.start = self.provider.now() - 1000
        for gateway, account in zip(gateways, accounts[1:], strict=False):
            self.token.mint(account, AssetAmount(2**200))
            self.token.as_sender(gateway).approve(self.provider.address, AssetAmount(2**256 - 1))

    def table(self, shares: tuple[int, ...]) -> PartyTable:
        """Return three parties, and one of a single share that makes this run's split one of its own."""
        parties = [Party(a, 1 + i, s) for i, (a, s) in enumerate(zip(PARTY_ACCOUNTS, shares, strict=True))]
        return PartyTable([*parties, Party(Address(keccak256(next(NUMBERS).to_bytes(8))[12:]), 9, 1)])


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


@dataclass
class Real:
    """One run on the contract: a tariff and a split of its own, so that runs do not meet."""

    chain: Chain
    tariff: Tariff
    table: PartyTable
    split: Split

    def do(self, step: tuple[str, object, object]) -> type[Refusal] | None:
        name, first, second = step
        try:
            getattr(self, name)(first, second)
        except Refusal as refusal:
            return type(refusal)
        return None

    def deposit(self, who: int, amount: int) -> None:
        payer = self.chain.accounts[who]
        self.chain.payers[who].deposit(self.tariff, self.split, payer, AssetAmount(amount))

    def settle(self, moment: int, lines: dict[int, UsageVector]) -> None:
        made = tuple(Line(self.chain.accounts[w], u, keccak256(bytes([w]))) for w, u in lines.items())
        statement = Statement(self.tariff.id, self.chain.start + moment, made)
        domain = self.chain.provider.domain
        signature = self.chain.meter.sign_digest(statement.digest(domain))
        signed = SignedStatement(domain, statement, self.chain.meter.address, signature)
        self.chain.payers[0].settle(self.tariff, signed)

    def thaw(self, who: int, amount: int) -> None:
        self.chain.payers[who].thaw(self.tariff, AssetAmount(amount))

    def withdraw(self, who: int, _: None) -> None:
        self.chain.payers[who].withdraw(self.tariff, self.split)

    def fund(self, _: None, amount: int) -> None:
        self.chain.provider.fund(self.split, AssetAmount(amount))

    def first(self, party: int, _: None) -> None:
        self.chain.provider.claim_first(self.split, self.table.proof(party))

    def claim(self, party: int, _: None) -> None:
        proof = self.table.proof(party)
        self.chain.provider.claim(self.split, proof.offset(), proof.party.account)

    def require_same(self, model: Model) -> None:
        splitter = self.chain.provider
        assert splitter.pot(self.split.id).base_units == model.pot
        for account, escrow in zip(self.chain.accounts, model.escrows, strict=True):
            found = splitter.escrow(self.tariff.id, account)
            sealed_at = self.chain.start + escrow.sealed_at if escrow.sealed_at else 0
            assert (found.balance.base_units, found.settled.base_units) == (escrow.balance, escrow.settled)
            assert found.sealed_at == sealed_at
            assert splitter.thawing(self.tariff.id, account).amount.base_units == escrow.thawing
            # Law 2: what arrived is what is there, what was drawn, and what went back.
            assert escrow.deposited == escrow.balance + escrow.settled + escrow.withdrawn
        for party, offset in enumerate(itertools.islice(self.table.offsets(), PARTIES)):
            stake = splitter.stake(StakeKey(self.split.id, offset, PARTY_ACCOUNTS[party]))
            assert stake.claimed.base_units == model.claimed.get(party, 0)
            assert splitter.entitled(self.split, model.shares[party]).base_units == model.entitled(party)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    opening=OPENING,
    steps=STEPS,
    rates=st.lists(st.sampled_from([1, 1, 3, 1000, 2**64 - 1]), min_size=8, max_size=8).map(Rates.of),
    scale=st.sampled_from([0, 0, 1, 6, 36]),
    shares=st.tuples(*(st.sampled_from([1, 3, 10**6, 2**100, UINT128_MAX // 4]) for _ in range(PARTIES))),
)
# Chance seldom finds steps that must meet: a thaw that settling cuts into, a deposit that it must not free.
@example(
    opening=(("deposit", 0, 10**6), ("deposit", 1, 10**6)),
    steps=[
        ("thaw", 0, 900_000),
        ("settle", 1, {0: UsageVector.of((500_000, 0, 0, 0, 0, 0, 0, 0))}),
        ("deposit", 0, 100_000),
        ("withdraw", 0, None),
    ],
    rates=Rates.of((1,) * 8),
    scale=0,
    shares=(1, 1, 1),
)
def test_any_sequence_leads_both_to_the_same_state(
    chain: Chain,
    opening: tuple[tuple[str, object, object], ...],
    steps: list[tuple[str, object, object]],
    rates: Rates,
    scale: int,
    shares: tuple[int, ...],
) -> None:
    table = chain.table(shares)
    split = table.split(chain.token.address)
    provider = Address.parse(chain.devnet.w3.eth.accounts[PAYERS + 1])
    tariff = Tariff(provider, split.id, rates, scale, 0, split.id)
    all_shares = tuple(party.share for party in table.parties)
    model, real = Model(tariff, all_shares), Real(chain, tariff, table, split)
    for step in [*opening, *steps]:
        name, first, second = step
        expected = getattr(model, name)(first, second)
        assert real.do(step) is expected, step
    real.require_same(model)
