"""Several endpoints: failing, lagging, lying ones, and ones of another chain, each behind a real socket."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from chains import Town

from meterbridge.adapters.chain import Gateway, SplitterClient
from meterbridge.adapters.chain.delivery import DeliveryClient
from meterbridge.adapters.chain.endpoints import Endpoints, connect_all
from meterbridge.adapters.devnet import connect
from meterbridge.services.chain_errors import ChainUnavailable, WrongChain

pytestmark = pytest.mark.node
Answer = Callable[[dict[str, Any], Callable[[], bytes]], tuple[int, bytes]]


@contextmanager
def in_front_of(url: str, answer: Answer) -> Iterator[str]:
    """Serve a URL where `answer(request, ask the node)` decides what comes back."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))

            def ask() -> bytes:
                request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=60) as response:
                    content: bytes = response.read()
                return content

            status, content = answer(json.loads(body), ask)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}/v2/key-of-mine"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def result(request: dict[str, Any], value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()


def test_next_endpoint_is_asked_where_one_fails_and_the_failing_one_rests(town: Town) -> None:
    asked: list[str] = []

    def fail(request: dict[str, Any], _ask: Callable[[], bytes]) -> tuple[int, bytes]:
        asked.append(request["method"])
        return 503, b"overloaded"

    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    with in_front_of(town.url, fail) as failing:
        report = town.settler(failing, town.url).step()
    assert town.states() == ["final"]
    assert report.errors == ()
    assert len(asked) <= 4  # of some twenty requests: it is left alone for a while


@pytest.mark.parametrize(
    "garbage",
    [b"", b"<html>", b'{"jsonrpc":"2.0","id":1', b"[]", b'{"jsonrpc":"2.0","id":999999,"result":"0x1"}'],
)
def test_answer_that_is_none_is_passed_over(town: Town, garbage: bytes) -> None:
    with in_front_of(town.url, lambda _request, _ask: (200, garbage)) as broken:
        endpoints = Endpoints([broken, town.url])
        assert endpoints.head() == town.splitter.newest_block()
        assert int(endpoints.ask("eth_chainId"), 16) == town.books.record.domain.chain_id


def test_endpoint_that_lags_behind_is_not_believed(town: Town) -> None:
    old = town.splitter.newest_block()
    town.mine(3)

    def lag(request: dict[str, Any], ask: Callable[[], bytes]) -> tuple[int, bytes]:
        if request["method"] == "eth_blockNumber":
            return 200, result(request, hex(old))
        if request["method"] == "eth_getTransactionReceipt":
            return 200, result(request, None)
        return 200, ask()

    with in_front_of(town.url, lag) as lagging:
        endpoints = Endpoints([town.url, lagging])
        assert endpoints.head() == old + 3
        endpoints = Endpoints([lagging, town.url])
        assert endpoints.head() == old  # nothing newer was seen yet
        endpoints._highest = old + 3
        assert endpoints.head() == old + 3
        assert "3 behind" in dict(endpoints.health())[endpoints._known[0].endpoint.where]


def test_receipt_that_only_one_endpoint_knows_makes_nothing_final(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    lies = [True]

    def lie(request: dict[str, Any], ask: Callable[[], bytes]) -> tuple[int, bytes]:
        """A fork of its own: each block has another hash there."""
        content = json.loads(ask())
        if lies[0] and isinstance(content.get("result"), dict):
            found = content["result"]
            for key in ("hash", "blockHash"):
                if (
                    request["method"] in ("eth_getBlockByNumber", "eth_getTransactionReceipt")
                    and key in found
                ):
                    found[key] = "0x" + "66" * 32
        return 200, json.dumps(content).encode()

    with in_front_of(town.url, lie) as lying:
        settler = town.settler(lying, town.url)
        settler.step()
        assert town.states() == ["mined"]
        assert "must agree" in town.deliveries()[0].reason
        lies[0] = False
        settler.step()
        assert town.states() == ["final"]


def test_endpoint_of_another_chain_is_left_out_and_named_without_its_secrets(town: Town) -> None:
    domain = town.books.record.domain

    def foreign(request: dict[str, Any], ask: Callable[[], bytes]) -> tuple[int, bytes]:
        return 200, result(request, "0x539") if request["method"] == "eth_chainId" else ask()

    with in_front_of(town.url, foreign) as wrong:
        endpoints = Endpoints([wrong, town.url])
        client = DeliveryClient(endpoints, domain)
        assert client.head().number == town.splitter.newest_block()
        said = [words for _, words in endpoints.health()]
        assert said[0].endswith(f"is on chain 1337; {domain.chain_id} is meant")
        assert said[1] == ""
        with pytest.raises(WrongChain) as caught:
            DeliveryClient(Endpoints([wrong]), domain)
        for text in (str(caught.value), repr(endpoints), str(endpoints.health()), endpoints.where):
            assert "secret" not in text
            assert "key-of-mine" not in text


def test_other_code_at_the_address_is_another_contract(town: Town) -> None:
    def other(request: dict[str, Any], ask: Callable[[], bytes]) -> tuple[int, bytes]:
        return 200, result(request, "0x6001") if request["method"] == "eth_getCode" else ask()

    with in_front_of(town.url, other) as wrong:
        endpoints = Endpoints([town.url, town.url, wrong])
        DeliveryClient(endpoints, town.books.record.domain)
        assert [words != "" for _, words in endpoints.health()] == [False, False, True]


def test_quorum_holds_finality_back_until_enough_answer(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    up = [False]

    def flaky(_request: dict[str, Any], ask: Callable[[], bytes]) -> tuple[int, bytes]:
        return (200, ask()) if up[0] else (503, b"")

    with in_front_of(town.url, flaky) as second:
        settler = town.settler(town.url, second, quorum=2)
        settler.step()
        assert town.states() == ["mined"]
        up[0] = True
        settler.step()
        assert town.states() == ["final"]


def test_view_without_an_answer_is_asked_elsewhere_and_nothing_is_made_of_it(town: Town) -> None:
    town.deposit(town.payer, 1000)
    payers, domain = [town.payer.address], town.books.record.domain
    empty = [True]

    def lose(request: dict[str, Any], ask: Callable[[], bytes]) -> tuple[int, bytes]:
        return 200, result(request, "0x") if request["method"] == "eth_call" and empty[0] else ask()

    with in_front_of(town.url, lose) as losing:
        both = DeliveryClient(Endpoints([losing, town.url]), domain)
        assert both.escrows(town.books.record.id, payers)[0].balance.base_units == 1000
        alone = DeliveryClient(Endpoints([losing]), domain)
        with pytest.raises(ChainUnavailable, match="with no bytes"):
            alone.escrows(town.books.record.id, payers)
        town.state({town.payer: 100})
        settler = town.settler(losing)
        assert settler.step().errors
        assert town.states() == ["waiting"]
        empty[0] = False
        settler.step()
        assert town.states() == ["final"]


def test_node_that_answers_a_view_with_nothing_is_asked_again(town: Town) -> None:
    town.deposit(town.payer, 1000)
    lost: list[str] = []

    def lose_once(request: dict[str, Any], ask: Callable[[], bytes]) -> tuple[int, bytes]:
        if request["method"] == "eth_call" and len(lost) < 1:
            lost.append(request["method"])
            return 200, result(request, "0x")
        return 200, ask()

    with in_front_of(town.url, lose_once) as losing:
        client = SplitterClient(Gateway(connect(losing)), town.splitter.address)
        [escrow] = client.escrows(town.books.record.id, [town.payer.address])
        assert (escrow.balance.base_units, lost) == (1000, ["eth_call"])
        elsewhere = SplitterClient(Gateway(connect(losing)), town.payer.address)
        with pytest.raises(ChainUnavailable, match="is this the right contract"):
            elsewhere.pot(bytes(32))


def test_web3_works_over_several_endpoints(town: Town) -> None:
    with in_front_of(town.url, lambda _request, _ask: (429, b"slow down")) as limited:
        w3 = connect_all([limited, town.url])
        assert Gateway(w3).newest_block() == town.splitter.newest_block()
        assert w3.eth.get_block("latest")["number"] == town.splitter.newest_block()


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(ChainUnavailable, match="none of them answers"):
        Endpoints(["http://127.0.0.1:9", "http://127.0.0.1:10"]).head()
    with pytest.raises(ChainUnavailable, match="begins with http"):
        Endpoints(["ftp://example.org"])
    with pytest.raises(ChainUnavailable, match="cannot agree"):
        Endpoints(["http://127.0.0.1:9"], 2)
