"""A chain with the real contract on it, and people who use it."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters.chain import SplitterClient, TokenClient
from meterbridge.adapters.devnet import Deployment, Devnet, embedded_chain, rpc_chain
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, PartyTable, Role, Split
from meterbridge.domain.statements import Line, SignedStatement, Statement
from meterbridge.domain.tariffs import Tariff, terms_document, terms_hash
from meterbridge.domain.units import AssetAmount, Rates, UsageVector

ANVIL = Path(__file__).resolve().parents[1] / "bench" / "_anvil.py"
THAW_PERIOD = 3600
SHARES = (5000, 3500, 1000, 500)
ROLES = (Role.MODEL, Role.COMPUTE, Role.DATA, Role.DATA)


@dataclass
class World:
    """One deployment with a provider, its meter, payers and parties; everybody holds their own key."""

    net: Devnet
    deployment: Deployment
    provider: LocalSigner
    meter: LocalSigner
    payers: list[LocalSigner]
    parties: list[LocalSigner]
    table: PartyTable = field(init=False)
    split: Split = field(init=False)
    tariff: Tariff = field(init=False)
    document: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.table = PartyTable(
            [Party(s.address, r, n) for s, r, n in zip(self.parties, ROLES, SHARES, strict=True)]
        )
        self.split = self.table.split(self.token.address)
        self.document = terms_document({"meters": ["input", "output"], "text": "one base unit a token, two"})
        self.tariff = self.make_tariff()

    def make_tariff(self, **changes: Any) -> Tariff:
        fields: dict[str, Any] = {
            "provider": self.provider.address,
            "split_id": self.split.id,
            "rates": Rates((1, 2, 0, 0, 0, 0, 0, 0)),  # base units per token
            "scale": 0,
            "thaw_period": THAW_PERIOD,
            "terms": terms_hash(self.document),
        }
        return Tariff(**(fields | changes))

    @property
    def splitter(self) -> SplitterClient:
        """The client of whoever deployed: somebody without any role."""
        return self.deployment.splitter

    @property
    def token(self) -> TokenClient:
        return self.deployment.token

    def client(self, signer: LocalSigner) -> SplitterClient:
        return self.splitter.as_sender(self.net.gateway(signer))

    def authorise(self, until: int = 2**32 - 1) -> None:
        self.client(self.provider).set_signer(self.meter.address, until)

    def deposit(self, payer: LocalSigner, amount: int, *, payer_of: Address | None = None) -> None:
        """Mint, approve and deposit."""
        gateway = self.net.gateway(payer)
        self.token.mint(payer.address, AssetAmount(amount))
        self.token.as_sender(gateway).approve(self.splitter.address, AssetAmount(amount))
        account = payer_of or payer.address
        self.splitter.as_sender(gateway).deposit(self.tariff, self.split, account, AssetAmount(amount))

    def sign(
        self,
        used: dict[LocalSigner, UsageVector],
        *,
        sealed_at: int | None = None,
        tariff: Tariff | None = None,
        signer: LocalSigner | None = None,
    ) -> SignedStatement:
        signer = signer or self.meter
        sealed_at = self.splitter.now() if sealed_at is None else sealed_at
        lines = tuple(Line(payer.address, spent, bytes([7]) * 32) for payer, spent in used.items())
        statement = Statement((tariff or self.tariff).id, sealed_at, lines)
        domain = self.splitter.domain
        return SignedStatement(
            domain, statement, signer.address, signer.sign_digest(statement.digest(domain))
        )

    def balance(self, account: Address) -> int:
        return self.token.balance_of(account).base_units


@pytest.fixture(scope="session")
def anvil_url() -> Iterator[str]:
    """A node of its own, stopped at the end; skipped where there is none."""
    tools = runpy.run_path(str(ANVIL))
    try:
        tools["find_anvil"]()
    except tools["NoAnvil"] as error:
        pytest.skip(str(error))
    with tools["anvil"]() as w3:
        yield str(w3.provider.endpoint_uri)


@pytest.fixture(scope="session")
def embedded() -> Devnet:
    return embedded_chain()


@pytest.fixture(scope="session", params=["embedded", pytest.param("anvil", marks=pytest.mark.node)])
def net(request: pytest.FixtureRequest) -> Devnet:
    """Each test runs on the embedded chain and on a real node."""
    if request.param == "embedded":
        chain: Devnet = request.getfixturevalue("embedded")
        return chain
    return rpc_chain(request.getfixturevalue("anvil_url"))


@pytest.fixture(scope="session")
def make_world() -> Callable[[Devnet], World]:
    """Deploy fresh contracts; the meter is authorised, nothing is deposited yet. The people stay the same."""
    people: dict[Devnet, list[LocalSigner]] = {}

    def make(net: Devnet) -> World:
        if net not in people:
            people[net] = [LocalSigner.generate() for _ in range(9)]
            net.fund([signer.address for signer in people[net]], gas=500_000_000)
        provider, meter, *others = people[net]
        made = World(net, net.deploy(), provider, meter, others[:3], others[3:])
        made.authorise()
        return made

    return make


@pytest.fixture
def world(net: Devnet, make_world: Callable[[Devnet], World]) -> World:
    """A world of the test's own, on each of the chains."""
    return make_world(net)
