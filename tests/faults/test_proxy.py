"""Each fault does what its name says: the node behind the proxy is asked directly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from eth_account import Account

from faults.kinds import Fault, faults_of
from faults.proxy import FaultProxy, Script
from faults.stage import RICH, Stage

pytestmark = pytest.mark.node
SENDER = Account.from_key("0x" + "5a" * 32)
SEND = "eth_sendRawTransaction"


@pytest.fixture
def proxy(stage: Stage) -> Iterator[FaultProxy]:
    stage.reset()
    stage.node.rpc("anvil_setBalance", SENDER.address, RICH)
    with FaultProxy(stage.url) as found:
        yield found


class Client:
    """The plainest client there is: one connection, one request at a time."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy, self.number = proxy, 0
        self.session, self.patience = requests.Session(), 60.0

    def ask(self, method: str, *params: Any) -> Any:
        self.number += 1
        body: Any = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": list(params)}
        return self.session.post(self.proxy.url, json=body, timeout=self.patience)

    def send(self, nonce: int = 0) -> tuple[str, Any]:
        """Send one transaction through the proxy; return its hash, and the answer or the error."""
        fields = {
            "type": 2,
            "chainId": 31337,
            "nonce": nonce,
            "to": "0x" + "12" * 20,
            "value": 1,
            "gas": 21_000,
        }
        signed = SENDER.sign_transaction({**fields, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9})
        try:
            answer: Any = self.ask(SEND, "0x" + signed.raw_transaction.hex().removeprefix("0x"))
        except requests.RequestException as error:
            answer = error
        return "0x" + signed.hash.hex().removeprefix("0x"), answer


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Client]:
    found = Client(proxy)
    yield found
    found.session.close()


def waiting(proxy: FaultProxy) -> int:
    """How many transactions the node's mempool holds."""
    status = proxy.node.rpc("txpool_status")
    return int(status["pending"], 16) + int(status["queued"], 16)


def test_without_faults_everything_passes(proxy: FaultProxy, client: Client) -> None:
    tx_hash, answer = client.send()
    assert answer.json() == {"jsonrpc": "2.0", "id": 1, "result": tx_hash}
    assert (waiting(proxy), proxy.requests, dict(proxy.done)) == (1, 1, {})


# fault: what the client gets, and what the node holds afterwards
SENDING: dict[Fault, tuple[Any, int]] = {
    Fault.LOST_ANSWER: (requests.ConnectionError, 1),
    Fault.LOST_REQUEST: (requests.ConnectionError, 0),
    Fault.TOO_MANY: (429, 0),
    Fault.SERVER_ERROR: (503, 0),
    Fault.BAD_GATEWAY: (502, 1),
    Fault.TRUNCATED: (requests.exceptions.ChunkedEncodingError, 1),
    Fault.RATE_LIMITED: ("limit exceeded", 0),
    Fault.ALREADY_KNOWN: ("already known", 1),
    Fault.ALREADY_KNOWN_LIE: ("already known", 0),
    Fault.UNDERPRICED: ("replacement transaction underpriced", 0),
    Fault.SAYS_NONCE_TOO_LOW: ("nonce too low", 0),
    Fault.DUPLICATE: ("already imported", 1),
    Fault.SWALLOWED: (200, 0),
    Fault.MEMPOOL_LOST: (200, 0),
    Fault.RESTART: (requests.ConnectionError, 0),
}


@pytest.mark.parametrize("fault", SENDING, ids=lambda fault: fault.name.lower())
def test_a_transaction_meets_a_fault(proxy: FaultProxy, client: Client, fault: Fault) -> None:
    told, held = SENDING[fault]
    client.ask("eth_chainId"), client.ask("eth_chainId")
    proxy.schedule = Script((SEND, fault))
    _, answer = client.send()
    if isinstance(told, type):
        assert isinstance(answer, told)
    elif isinstance(told, str):
        assert told in answer.json()["error"]["message"]
    else:
        assert answer.status_code == told
    assert waiting(proxy) == held
    assert proxy.done == {fault: 1}


def test_silence_lasts_longer_than_the_client_waits(proxy: FaultProxy, client: Client) -> None:
    client.ask("eth_chainId")  # so that the connection stands
    proxy.silent, proxy.schedule, client.patience = True, Script((SEND, Fault.LOST_ANSWER)), 0.25
    _, answer = client.send()
    assert isinstance(answer, requests.ReadTimeout)
    give_up = time.monotonic() + 60
    while not waiting(proxy) and time.monotonic() < give_up:  # the node may take longer than the client waits
        time.sleep(0.02)
    assert waiting(proxy) == 1


def test_an_answer_that_belongs_to_another_request_says_so_by_its_id(
    proxy: FaultProxy, client: Client
) -> None:
    proxy.schedule = Script(("eth_blockNumber", Fault.REORDERED))
    first = client.ask("eth_chainId").json()
    assert client.ask("eth_blockNumber").json() == first
    assert client.number == 2


def test_half_a_json_text_is_a_whole_http_answer(proxy: FaultProxy, client: Client) -> None:
    proxy.schedule = Script(("eth_chainId", Fault.CUT_JSON))
    answer = client.ask("eth_chainId")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        answer.json()


def test_stale_and_lagging_nodes_answer_from_two_blocks_ago(
    stage: Stage, proxy: FaultProxy, client: Client
) -> None:
    tx_hash, _ = client.send()
    stage.mine(1)
    height = stage.height()
    looks = {
        "eth_blockNumber": ((), hex(height), hex(height - 2)),
        "eth_getTransactionCount": ((SENDER.address, "pending"), "0x1", "0x0"),
    }
    for method, (params, now, then) in looks.items():
        proxy.schedule = Script((method, Fault.STALE))
        assert client.ask(method, *params).json()["result"] == then
        assert client.ask(method, *params).json()["result"] == now
    proxy.schedule = Script(("eth_chainId", Fault.LAGGING))
    client.ask("eth_chainId")
    assert client.ask("eth_getTransactionReceipt", tx_hash).json()["result"] is None
    assert client.ask("eth_getTransactionByHash", tx_hash).json()["result"] is None
    for _ in range(proxy.lag):
        assert client.ask("eth_blockNumber").json()["result"] == hex(height - 2)
    assert client.ask("eth_getTransactionReceipt", tx_hash).json()["result"]["status"] == "0x1"


def test_counts_null_and_fees_lie_as_planned(stage: Stage, proxy: FaultProxy, client: Client) -> None:
    client.send()
    stage.mine(1)
    count = "eth_getTransactionCount"
    proxy.schedule = Script(
        (count, Fault.NONCE_LOW),
        (count, Fault.NONCE_HIGH),
        ("eth_blockNumber", Fault.NULL),
        ("eth_chainId", Fault.FEE_SPIKE),
    )
    found = [client.ask(count, SENDER.address, "latest").json()["result"] for _ in range(3)]
    assert found == ["0x0", "0x4", "0x1"]
    assert client.ask("eth_blockNumber").json()["result"] is None
    client.ask("eth_chainId")
    stage.mine(1)
    assert int(stage.node.rpc("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16) == 400 * 10**9


def test_a_node_that_restarts_misses_requests_and_forgets_its_mempool(
    proxy: FaultProxy, client: Client
) -> None:
    client.send()
    proxy.take_down(2)
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            client.ask("eth_chainId")
    assert client.ask("eth_chainId").json()["result"] == hex(31337)
    assert waiting(proxy) == 0


def test_every_fault_can_happen_to_some_method() -> None:
    methods = (SEND, "eth_getTransactionCount", "eth_call", "eth_estimateGas")
    assert {fault for method in methods for fault in faults_of(method)} == set(Fault)


@pytest.mark.parametrize("depth", [1, 2, 5, 13, 20])
def test_a_reorganisation_takes_a_mined_transaction_away(stage: Stage, client: Client, depth: int) -> None:
    tx_hash, _ = client.send()
    stage.mine(depth)
    before = client.ask("eth_getTransactionReceipt", tx_hash).json()["result"]
    assert int(before["blockNumber"], 16) == stage.height() - depth + 1
    stage.node.rpc("anvil_reorg", depth, [])
    assert client.ask("eth_getTransactionReceipt", tx_hash).json()["result"] is None
    block = client.ask("eth_getBlockByNumber", before["blockNumber"], False).json()["result"]
    assert block["hash"] != before["blockHash"]
