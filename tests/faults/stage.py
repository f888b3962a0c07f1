"""One anvil with the contracts on it, set back to the same state for each schedule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from _anvil import anvil
from web3 import HTTPProvider, Web3

from faults.proxy import Node
from meterbridge.adapters.chain import SplitterClient, TokenClient
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.senders import KeySender
from meterbridge.adapters.devnet import rpc_chain
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import Domain
from meterbridge.domain.tariffs import terms_document
from meterbridge.domain.terms import tariff_from_document
from meterbridge.domain.units import AssetAmount
from meterbridge.services.records import TariffRecord

REORG_MAX: Final = 20
RICH: Final = hex(10**24)  # wei
DEPOSITS: Final = (10**9, 10**9, 40_000)  # base units; the third payer runs dry
DOCUMENT: Final[dict[str, Any]] = {
    "meterbridge": 1,
    "name": "a model whose chain misbehaves",
    "currency": {"symbol": "TUSD", "decimals": 6},
    "meters": [
        {"name": "input", "buckets": ["input"], "price": "3.00", "per": 1_000_000},
        {"name": "output", "buckets": ["output"], "price": "15.00", "per": 1_000_000},
    ],
    "text": "",
}


def key_of(name: str) -> LocalSigner:
    """Return the key that somebody has in every run."""
    return LocalSigner(keccak256(name.encode()))


PROVIDER: Final = key_of("provider")
METER: Final = key_of("meter")
RETIRED: Final = key_of("a meter that may not sign any more")
SENDERS: Final = tuple(key_of(f"sender {i}") for i in range(3))
PAYERS: Final = tuple(key_of(f"payer {i}") for i in range(3))


@dataclass
class Stage:
    """A node, the contracts on it, and a state to come back to.

    Attributes:
        url: the node itself.
        node: the same, for raw calls.
        record: the tariff that everything is settled under.
    """

    url: str
    node: Node
    splitter: SplitterClient
    token: TokenClient
    record: TariffRecord
    snapshot: str = ""

    @property
    def contract(self) -> Address:
        """The splitter's address."""
        return self.splitter.address

    def client(self, url: str, key: LocalSigner | None = None, timeout: float = 60) -> SplitterClient:
        """Return a client of the contract through some endpoint."""
        w3 = Web3(HTTPProvider(url, request_kwargs={"timeout": timeout}))
        return SplitterClient(Gateway(w3, KeySender(key) if key else None), self.contract)

    def reset(self) -> None:
        """Set the chain back, and put so many empty blocks on it that no reorganisation undoes the stage."""
        if self.snapshot:
            self.node.rpc("anvil_dropAllTransactions")
            self.node.rpc("evm_revert", self.snapshot)
        self.snapshot = self.node.rpc("evm_snapshot")
        self.node.rpc("anvil_mine", hex(REORG_MAX + 2))

    def height(self) -> int:
        """Return the newest block's number."""
        return int(self.node.rpc("eth_blockNumber"), 16)

    def now(self) -> int:
        """Return the newest block's time."""
        return int(self.node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def mine(self, blocks: int = 1, seconds: int = 2) -> None:
        """Mine blocks so many seconds apart; the first takes what waits in the mempool."""
        self.node.rpc("evm_setNextBlockTimestamp", self.now() + seconds)
        self.node.rpc("anvil_mine", hex(blocks), hex(seconds))

    def deposit(self, payer: LocalSigner, amount: int) -> None:
        """Mint, approve and deposit in blocks of their own."""
        gateway = Gateway(self.splitter.gateway.w3, KeySender(payer))
        self.token.as_sender(gateway).mint(payer.address, AssetAmount(amount))
        self.token.as_sender(gateway).approve(self.contract, AssetAmount(amount))
        client = self.splitter.as_sender(gateway)
        client.deposit(self.record.tariff, self.record.split, payer.address, AssetAmount(amount))


@contextmanager
def staged(*arguments: str) -> Iterator[Stage]:
    """Start anvil and put everything on it; blocks come only when a test mines them."""
    # Without pruning anvil moves old states to the disk, and loses some that a revert needs.
    with anvil("--timestamp", "1800000000", "--prune-history", "100000", *arguments) as w3:
        stage = set_up(str(w3.provider.endpoint_uri))  # type: ignore[attr-defined]
        stage.node.rpc("evm_setAutomine", False)
        yield stage
        stage.node.close()


def set_up(url: str) -> Stage:
    """Put contracts, people and deposits on a node that mines by itself."""
    node, net = Node(url), rpc_chain(url)
    for key in (PROVIDER, METER, *SENDERS, *PAYERS):
        node.rpc("anvil_setBalance", str(key.address), RICH)
    made = net.deploy()
    record = record_of(made.splitter.domain, made.token.address)
    stage = Stage(node.url, node, made.splitter, made.token, record)
    provider = made.splitter.as_sender(net.gateway(PROVIDER))
    provider.set_signer(METER.address, 2**32 - 1)
    provider.set_signer(RETIRED.address, 1)
    for payer, amount in zip(PAYERS, DEPOSITS, strict=True):
        stage.deposit(payer, amount)
    return stage


def record_of(domain: Domain, token: Address) -> TariffRecord:
    """Return the tariff of every test here, on some contract and token."""
    table = PartyTable([Party(key_of(f"party {i}").address, 1 + i, 60 - 20 * i) for i in range(3)])
    split = table.split(token)
    tariff = tariff_from_document(DOCUMENT, PROVIDER.address, split.id, 6, 3_600)
    return TariffRecord(domain, tariff, split, table.parties, terms_document(DOCUMENT))
