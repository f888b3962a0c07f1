"""A real node with the contract on it, books for its payers, and settlers; no test itself."""

from __future__ import annotations

import runpy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from books import METER, Books, tariff_record
from web3 import Web3

from meterbridge.adapters.chain import KeySender, NodeSender, SplitterClient
from meterbridge.adapters.chain.delivery import DeliveryClient
from meterbridge.adapters.chain.endpoints import Endpoints
from meterbridge.adapters.devnet import Deployment, Devnet, rpc_chain
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.settling.policy import Policy
from meterbridge.services.settling.ports import Answer
from meterbridge.services.settling.records import Delivery
from meterbridge.services.settling.settler import Settler

ANVIL = Path(__file__).resolve().parents[2] / "bench" / "_anvil.py"
QUICK = {"poll_seconds": 0, "retry_seconds_max": 0, "recheck_seconds": 0, "bump_after_seconds": 0}


@contextmanager
def node(*arguments: str) -> Iterator[str]:
    """Run anvil and yield its URL; raises NoAnvil where there is none."""
    with runpy.run_path(str(ANVIL))["anvil"](*arguments) as w3:
        yield str(w3.provider.endpoint_uri)


class Patient(DeliveryClient):
    """Where the node mines by itself, waits for it after a broadcast: a busy machine takes a moment."""

    def __init__(self, town: Town, endpoints: Endpoints) -> None:
        super().__init__(endpoints, town.books.record.domain)
        self.town = town

    def broadcast(self, raw: bytes) -> Answer:
        answer = super().broadcast(raw)
        deadline = time.monotonic() + 120
        while self.town.mines_itself and self.town.waits_for_a_block() and time.monotonic() < deadline:
            time.sleep(0.02)
        return answer


@dataclass
class Town:
    """One deployment, its provider, and an account that submits; each town has its own people."""

    url: str
    folder: Path
    database: str | None = None
    mines_itself: bool = True
    net: Devnet = field(init=False)
    deployment: Deployment = field(init=False)
    books: Books = field(init=False)

    def __post_init__(self) -> None:
        self.net = rpc_chain(self.url)
        self.deployment = self.net.deploy()
        self.provider, self.payer, self.other, self.submitter = self.net.fresh_accounts(4)
        self.net.fund([self.submitter.address], gas=200_000_000)
        self.as_sender(self.provider).set_signer(METER.address, 2**32 - 1)
        splitter = self.deployment.splitter
        record = tariff_record(splitter.domain, self.provider.address, self.deployment.token.address)
        self.books = Books(self.folder, record, self.database)

    @property
    def w3(self) -> Web3:
        return self.net.w3

    @property
    def splitter(self) -> SplitterClient:
        return self.deployment.splitter

    def as_sender(self, signer: LocalSigner) -> SplitterClient:
        return self.splitter.as_sender(self.net.gateway(signer))

    def deposit(self, payer: LocalSigner, amount: int) -> None:
        token, gateway = self.deployment.token, self.net.gateway(payer)
        token.mint(payer.address, AssetAmount(amount))
        token.as_sender(gateway).approve(self.splitter.address, AssetAmount(amount))
        record = self.books.record
        self.as_sender(payer).deposit(record.tariff, record.split, payer.address, AssetAmount(amount))

    def state(self, tokens: dict[LocalSigner, int]) -> None:
        """Count tokens and sign a statement of the chain's time, of a second of its own."""
        self.books.use({payer.address: count for payer, count in tokens.items()})
        self.tick()
        self.books.state(self.splitter.now())

    def credit(self, payer: LocalSigner, tokens: int) -> None:
        """Take usage back: the last event of a payer is replaced, and what follows is stated."""
        self.books.take_back(payer.address, tokens)
        self.tick()
        self.books.state(self.splitter.now())

    def tick(self, seconds: int = 1) -> None:
        self.net.wait_until(self.splitter.now() + seconds)

    def chain(self, *urls: str, quorum: int = 1) -> DeliveryClient:
        endpoints = Endpoints(list(urls) or [self.url], quorum, timeout=60)
        return Patient(self, endpoints)

    def settler(
        self, *urls: str, sender: Any = None, clock: Any = time.time, quorum: int = 1, **policy: Any
    ) -> Settler:
        account = sender or KeySender(self.submitter)
        return Settler(
            self.chain(*urls, quorum=quorum), self.books.ledger, account, Policy(**(QUICK | policy)), clock
        )

    def node_account(self) -> NodeSender:
        return NodeSender(self.net.gateway().managed_accounts()[5])

    def pot(self) -> int:
        return self.splitter.pot(self.books.record.split.id).base_units

    def states(self) -> list[str]:
        return [delivery.state.value for delivery in self.deliveries()]

    def deliveries(self) -> list[Delivery]:
        return self.books.ledger.deliveries(self.books.record.domain)

    def nonce(self, account: Address | None = None) -> int:
        at = self.w3.to_checksum_address(str(account or self.submitter.address))
        return self.w3.eth.get_transaction_count(at)

    def rpc(self, method: str, *params: object) -> Any:
        answer = self.w3.provider.make_request(method, list(params))  # type: ignore[arg-type]
        assert "error" not in answer, answer
        return answer["result"]

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """Mine only on demand."""
        self.rpc("evm_setAutomine", False)
        self.mines_itself = False
        try:
            yield
        finally:
            self.rpc("evm_setAutomine", True)
            self.mines_itself = True

    def waits_for_a_block(self) -> bool:
        """Say whether the node has a transaction that its next block can take."""
        return int(self.rpc("txpool_status")["pending"], 16) > 0

    def mine(self, blocks: int = 1) -> None:
        self.rpc("anvil_mine", hex(blocks))
