"""One endpoint over a real socket: what is sent with each request, and what is kept from an answer."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from meterbridge.adapters.chain.rpc import Endpoint, NoAnswer


class Balancer(HTTPServer):
    """Answers every request, names another node each time, and keeps the headers that came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.came: list[dict[str, str]] = []
        self.status = 200
        self.url = f"http://user:secret@127.0.0.1:{self.server_port}/key"


class Handler(BaseHTTPRequestHandler):
    server: Balancer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.came.append(dict(self.headers))
        body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}).encode()
        self.send_response(self.server.status)
        self.send_header("Set-Cookie", f"node={len(self.server.came)}; Path=/")
        self.send_header("Location", self.server.url)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    server = Balancer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_each_request_has_the_password_and_the_last_cookie(balancer: Balancer) -> None:
    endpoint = Endpoint(balancer.url)
    told = ["0x" + "ab" * 5, {"data": '\u20ac "quoted"', "list": [True, None, 2**60]}]
    assert [endpoint.ask("eth_any", told) for _ in range(3)] == [told] * 3
    assert [headers.get("Cookie") for headers in balancer.came] == [None, "node=1", "node=2"]
    basic = "Basic " + base64.b64encode(b"user:secret").decode()
    assert {headers["Authorization"] for headers in balancer.came} == {basic}
    assert {headers["Content-Type"] for headers in balancer.came} == {"application/json"}
    endpoint.close()


def test_another_place_is_no_answer_and_gets_no_password(balancer: Balancer) -> None:
    balancer.status = 308
    endpoint = Endpoint(balancer.url)
    with pytest.raises(NoAnswer, match=r"HTTP status 308") as caught:
        endpoint.ask("eth_any")
    assert "secret" not in str(caught.value)
    assert len(balancer.came) == 1
    endpoint.close()
