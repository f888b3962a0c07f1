"""Providers as they refuse: a real HTTP server before a real node, in the words and codes of several."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from meterbridge.adapters.chain.endpoints import connect_all
from meterbridge.adapters.chain.followed import FollowedSplitter
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.devnet import connect, rpc_chain
from meterbridge.domain.units import UsageVector
from meterbridge.services.following.indexer import follow

pytestmark = pytest.mark.node

# (HTTP status, code, message, most blocks): what is known to be said when a range has too many blocks.
PROVIDERS = {
    "results": (200, -32005, "query returned more than 10000 results", 3),
    "bad request": (400, -32600, "You can make eth_getLogs requests with up to a 5 block range.", 5),
    "payload": (
        413,
        -32602,
        "Log response size exceeded. this block range should work: [{first:#x}, {next:#x}]",
        2,
    ),
    "limited": (200, -32614, "eth_getLogs is limited to a 4 range", 4),
    "plain": (200, -32005, "limit exceeded", 4),
    "slow": (200, -32000, "query timeout exceeded", 6),
}


class Provider:
    """Passes everything on to a node, except ranges of logs that are too long."""

    def __init__(self, upstream: str, status: int, code: int, message: str, most: int) -> None:
        self.refused = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked = json.loads(body)
                wanted = asked["params"][0] if asked["method"] == "eth_getLogs" else {}
                first, last = (_number(wanted.get(name, "0x0")) for name in ("fromBlock", "toBlock"))
                if last - first + 1 > most and "blockHash" not in wanted:
                    provider.refused += 1
                    said = message.format(first=first, next=first + most - 1)
                    answer = {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": code, "message": said}}
                    self._reply(status, json.dumps(answer).encode())
                    return
                request = urllib.request.Request(upstream, body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as reply:
                    self._reply(200, reply.read())

            def _reply(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _number(quantity: Any) -> int:
    return quantity if isinstance(quantity, int) else int(quantity, 16)


@pytest.fixture
def lived(anvil_url: str, make_world: Any) -> Any:
    world = make_world(rpc_chain(anvil_url))
    payer = world.payers[0]
    for n in range(1, 7):
        world.deposit(payer, 100)
        world.splitter.settle(world.tariff, world.sign({payer: UsageVector.of((n, 0, 0, 0, 0, 0, 0, 0))}))
    return world


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest, anvil_url: str) -> Iterator[Provider]:
    made = Provider(anvil_url, *PROVIDERS[request.param])
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize("client", [lambda url: connect_all([url]), connect], ids=["endpoints", "web3"])
def test_a_contract_is_followed_whatever_the_provider_allows(
    lived: Any, sqlite_ledger: Any, provider: Provider, in_agreement: Any, client: Any
) -> None:
    reader = FollowedSplitter(
        Gateway(client(provider.url)), lived.splitter.address, finality="latest", confirmations=64
    )
    follow(reader, sqlite_ledger)
    in_agreement(lived, sqlite_ledger)
    assert 1 <= provider.refused <= 20
    asked = provider.refused
    assert len(reader.events(lived.deployment.block, lived.splitter.newest_block())) == len(
        list(sqlite_ledger.chain_events(reader.domain))
    ), "plain reads of events are split as well"
    assert provider.refused >= asked
