"""A devnet, as `meterbridge devnet` starts it, and the people of a small market on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meterbridge import Address, Currency, LocalSigner, Party, Provider, Role
from meterbridge.adapters.chain import Gateway, NodeSender, TokenClient
from meterbridge.adapters.devnet import Devnet, rpc_chain
from meterbridge.adapters.devnet_nodes import ANVIL, EMBEDDED, DevnetRecord, find_anvil, local_node, prepare

ROOT = Path(__file__).resolve().parents[3]
TUSD = Currency("TUSD", 6)
TERMS = {
    "meterbridge": 1,
    "name": "A model",
    "currency": {"symbol": "TUSD", "decimals": 6},
    "meters": [
        {"name": "input", "buckets": ["input"], "price": "2.00", "per": 1_000_000},
        {"name": "output", "buckets": ["output"], "price": "8.00", "per": 1_000_000},
    ],
    "text": "Two in, eight out.",
}


class Market:
    """A node with the contract and a token on it; every test publishes a tariff of its own."""

    def __init__(self, rpc: str, devnet: DevnetRecord, folder: Path) -> None:
        self.rpc, self.devnet, self.folder = rpc, devnet, folder
        self.net: Devnet = rpc_chain(rpc)
        self.contract, self.asset = devnet.splitter, devnet.token
        self.accounts = [Address.parse(account) for account in devnet.accounts]
        self.provider, self.acme, self.globex, self.lab, self.host, self.other = self.accounts[:6]
        self.meter = LocalSigner.generate()
        self._salt = 0

    def terms(self, **changes: Any) -> dict[str, Any]:
        self._salt += 1
        return {**TERMS, "text": f"tariff {self._salt}", **changes}

    def parties(self) -> list[Party]:
        """Return two parties of 70 and 30 per cent, in a split of their own."""
        self._salt += 1
        return [Party(self.lab, Role.MODEL, 70 * self._salt), Party(self.host, Role.COMPUTE, 30 * self._salt)]

    def publish(self, folder: Path, **changes: Any) -> Provider:
        options: dict[str, Any] = {
            "contract": self.contract,
            "asset": self.asset,
            "parties": self.parties(),
            "terms": self.terms(),
            "key": self.provider,
            "rpc": self.rpc,
            "meter": self.meter,
            "thaw_period": 60 if self.devnet.node == ANVIL else 10,
        }
        return Provider.publish(folder, **(options | changes))

    def funded(self, tokens: str) -> LocalSigner:
        """Make a key with tokens and money for gas."""
        (key,) = self.net.fresh_accounts(1)
        self.token().transfer(key.address, TUSD.amount(tokens))
        return key

    def token(self) -> TokenClient:
        sender = NodeSender(self.other)
        return TokenClient(Gateway(self.net.w3, sender), Address.parse(self.asset))

    def balance(self, who: Address) -> int:
        return self.token().balance_of(who).base_units


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """On anvil where there is one, which can jump to a later time; else on the embedded chain."""
    folder = tmp_path_factory.mktemp("devnet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # where npm has put anvil
        kind = ANVIL if find_anvil() else EMBEDDED
        with local_node(kind, 0, folder) as node:
            yield Market(node.url, prepare(node, kind, folder), folder)
