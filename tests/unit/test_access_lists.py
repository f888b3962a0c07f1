"""What an access list saves, by the prices of EIP-2929 and EIP-2930; and nodes that cannot tell."""

from __future__ import annotations

from typing import Any

import pytest
from web3 import Web3
from web3.exceptions import MethodUnavailable
from web3.providers.base import BaseProvider

from meterbridge.adapters.chain.access import paying_access_list

SPLITTER, TOKEN, CODE, SENDER = (Web3.to_checksum_address("0x" + f"{n:02x}" * 20) for n in (1, 2, 3, 4))
SLOTS = ["0x" + f"{n:064x}" for n in range(30)]
CLAIM: Any = {"from": SENDER, "to": SPLITTER, "data": b"\x12\x34"}


class Node(BaseProvider):
    """Answers with one access list, and keeps what it was asked."""

    def __init__(self, entries: Any, chain_id: int = 1) -> None:
        super().__init__()
        self.entries, self.chain_id = entries, chain_id
        self.asked: list[Any] = []

    def make_request(self, method: Any, params: Any) -> Any:
        if method == "eth_chainId":
            return {"jsonrpc": "2.0", "id": 1, "result": hex(self.chain_id)}
        self.asked.append((method, params))
        if isinstance(self.entries, Exception):
            raise self.entries
        if self.entries is None:
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "unknown method"}}
        return {"jsonrpc": "2.0", "id": 1, "result": {"accessList": self.entries, "gasUsed": "0x1"}}


def entry(address: str, slots: int) -> dict[str, Any]:
    return {"address": address.lower(), "storageKeys": SLOTS[:slots]}


def saved(address: str, slots: int, *, open_already: bool) -> int:
    """Gas of reads without the list, less that of the list and reads with it, as the proposals price them."""
    listed = 2400 + 1900 * slots + 100 * slots + (0 if open_already else 100)
    return 2100 * slots + (0 if open_already else 2600) - listed


@pytest.mark.parametrize(
    ("address", "slots"),
    [(TOKEN, 5), (CODE, 0), (SPLITTER, 2), (SPLITTER, 24), (SPLITTER, 25), (SENDER, 0), (SENDER, 30)],
)
def test_an_entry_is_kept_exactly_where_it_saves_gas(address: str, slots: int) -> None:
    node = Node([entry(address, slots)])
    found = paying_access_list(Web3(node), CLAIM)
    pays = saved(address, slots, open_already=address in (SPLITTER, SENDER)) > 0
    assert found == ([{"address": address, "storageKeys": SLOTS[:slots]}] if pays else [])
    ((method, (asked, block)),) = node.asked
    assert (method, block) == ("eth_createAccessList", "latest")
    assert asked == {"from": SENDER, "to": SPLITTER, "data": "0x1234"}


@pytest.mark.parametrize(
    "entries", [None, MethodUnavailable("no"), NotImplementedError(), [{"address": TOKEN}]]
)
def test_a_node_that_cannot_tell_leaves_the_transaction_as_it_is(entries: Any) -> None:
    assert paying_access_list(Web3(Node(entries)), CLAIM) == []


def test_a_rollup_is_not_even_asked() -> None:
    node = Node([entry(TOKEN, 5)], chain_id=8453)
    assert paying_access_list(Web3(node), CLAIM) == []
    assert node.asked == []
