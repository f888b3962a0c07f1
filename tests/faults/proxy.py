"""A JSON-RPC proxy that does on purpose what nodes and networks do by chance.

It stands between the client and a real node, on a real socket. For each request a schedule says which fault
happens to it, if any; hooks before and after let a test do things in between (mine, reorganise, kill).
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from faults.actions import act
from faults.kinds import Exchange, Fault, Reply

HOLD_SECONDS: Final = 10
"""How long a silent answer is held back; clients of the tests wait much shorter."""
DOWN_REQUESTS: Final = 4
"""How many requests a node that restarts misses."""


class Schedule(Protocol):
    """Says what happens to which request."""

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """Return the fault of this request; None lets it pass."""


class Calm:
    """No fault at all."""

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """See `Schedule`."""
        return None


class Script:
    """Faults for the first requests with given methods, in order; then calm."""

    def __init__(self, *planned: tuple[str, Fault]) -> None:
        """Take pairs of method and fault."""
        self._planned = list(planned)

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """See `Schedule`."""
        for at, (method, fault) in enumerate(self._planned):
            if method == exchange.method:
                del self._planned[at]
                return fault
        return None


Hook = Callable[[Exchange], None]


class Node:
    """The node behind the proxy, asked without any fault, over one connection."""

    def __init__(self, url: str) -> None:
        """Name it; the connection is opened when it is needed, and again when the node has closed it."""
        self.url: Final = url
        found = urlsplit(url)
        self._connection = HTTPConnection(str(found.hostname), found.port, timeout=60)
        self._lock = threading.Lock()

    def post(self, body: bytes) -> bytes:
        """Forward a body."""
        with self._lock:
            try:
                return self._post(body)
            except (HTTPException, OSError):
                self._connection.close()
                return self._post(body)

    def rpc(self, method: str, *params: Any) -> Any:
        """Call a method; raise where the node says no."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = json.loads(self.post(json.dumps(body).encode()))
        if "error" in answer:
            raise RuntimeError(f"{method}{params}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, body: bytes) -> bytes:
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        return self._connection.getresponse().read()


class FaultProxy:
    """The proxy. Use as a context manager; `url` is where it listens.

    Attributes:
        node: the node behind it.
        schedule: may be replaced at any time.
        before, after: called before a request is forwarded, and before its answer is passed on.
        seen: how often each method came; `done`: how often each fault happened.
        silent: hold a lost answer back until the client gives up, instead of ending the connection.
    """

    def __init__(self, upstream: str, schedule: Schedule | None = None, *, silent: bool = False) -> None:
        """Stand before a node; nothing listens yet."""
        self.node = Node(upstream)
        self.schedule: Schedule = schedule or Calm()
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.silent = silent
        self.seen: Counter[str] = Counter()
        self.done: Counter[Fault] = Counter()
        self.requests = 0
        self.lag = 0
        self._down = 0
        self._last = b""
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.node.close()

    def calm(self) -> None:
        """End all trouble: from now on requests pass as they are."""
        self.schedule, self.lag, self._down = Calm(), 0, 0

    def take_down(self, requests: int = DOWN_REQUESTS) -> None:
        """Miss the next requests, and forget the mempool, as a node that restarts does."""
        self.node.rpc("anvil_dropAllTransactions")
        self._down = requests

    def handle(self, body: bytes) -> Reply | None:
        """Answer one request; None ends the connection without a word."""
        with self._lock:
            self.requests += 1
            read = json.loads(body)
            exchange = Exchange(self.requests, body, tuple(read if isinstance(read, list) else [read]))
            self.seen.update(call["method"] for call in exchange.calls)
            if self.before is not None:
                self.before(exchange)
            if self._down > 0:
                self._down -= 1
                return None
            reply = self._answer(exchange)
            if self.after is not None:
                self.after(exchange)
        if reply is None and self.silent:
            time.sleep(HOLD_SECONDS)
        return reply

    def _answer(self, exchange: Exchange) -> Reply | None:
        fault = self.schedule.fault_for(exchange)
        if fault is not None:
            self.done[fault] += 1
        reply = act(self, exchange, fault)
        if reply is not None and reply.status == 200 and reply.cut is None:
            self._last = reply.body
        return reply

    @property
    def last_answer(self) -> bytes:
        """The last whole answer that was given."""
        return self._last


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            reply = self.server.proxy.handle(body)
        except (HTTPException, OSError):
            reply = None  # the node is not there
        if reply is None:
            self._hang_up()
            return
        head = [f"HTTP/1.1 {reply.status} Answer", "Content-Type: application/json"]
        head += [f"Content-Length: {len(reply.body)}", *(f"{name}: {value}" for name, value in reply.headers)]
        message = "\r\n".join(head).encode() + b"\r\n\r\n" + reply.body[: reply.cut]
        try:
            self.wfile.write(message)
        except OSError:
            self.close_connection = True
        if reply.cut is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass
