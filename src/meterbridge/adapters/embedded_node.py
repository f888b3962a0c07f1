"""The embedded chain behind a JSON-RPC port on this machine, kept in one SQLite file.

The file holds what py-evm itself stores: blocks, receipts and every account's state. It is written after
each request, so that even a killed process loses nothing that was answered. Filters, snapshots and a clock
that was set ahead without a block live in memory only.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from eth.db.atomic import AtomicDB
from eth.db.backends.base import BaseDB
from eth.exceptions import VMError
from eth_tester import PyEVMBackend
from eth_tester.backends.pyevm.main import EVMSpoofTransaction
from eth_tester.exceptions import BlockNotFound, TransactionFailed, TransactionNotFound
from web3 import Web3
from web3.types import RPCEndpoint

from meterbridge.adapters.embedded import GAS_LIMIT, EmbeddedProvider, EmbeddedTester

LOOPBACK: Final = "127.0.0.1"
MNEMONIC: Final = "test test test test test test test test test test test junk"
"""Everybody's test accounts, the same ten as anvil's; never send real money there."""

HD_PATH: Final = "m/44'/60'/0'/0"
MAX_BODY: Final = 16 * 2**20
_JSON: Final = "application/json"
_PARSE_ERROR, _INVALID, _INTERNAL = -32700, -32600, -32603
_NOT_FOUND: Final = (BlockNotFound, TransactionNotFound)


class SqliteDatabase(BaseDB):
    """Keys and values of py-evm in a table; `commit` makes everything since the last one durable together."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it."""
        self._connection: Final = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS chain (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )

    def __getitem__(self, key: bytes) -> bytes:
        row = self._connection.execute("SELECT value FROM chain WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return bytes(row[0])

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO chain VALUES (?, ?)", (key, value))

    def __delitem__(self, key: bytes) -> None:
        if not self._connection.execute("DELETE FROM chain WHERE key = ?", (key,)).rowcount:
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        return self._connection.execute("SELECT 1 FROM chain WHERE key = ?", (key,)).fetchone() is not None

    def is_empty(self) -> bool:
        """Tell whether no chain was ever begun here."""
        return self._connection.execute("SELECT 1 FROM chain LIMIT 1").fetchone() is None

    def commit(self) -> None:
        """Keep what was written since the last commit, all of it or nothing."""
        self._connection.commit()

    def close(self) -> None:
        """Commit and close."""
        self._connection.commit()
        self._connection.close()


def _backend(database: SqliteDatabase) -> PyEVMBackend:
    """Go on with the chain in the database, or begin one there."""
    backend = PyEVMBackend.from_mnemonic(MNEMONIC, hd_path=HD_PATH)
    fresh = backend.chain
    if database.is_empty():
        for key, value in fresh.chaindb.db.wrapped_db.kv_store.items():
            database[key] = value
        database.commit()
    backend.chain = type(fresh)(AtomicDB(database))
    return backend


class NodeTester(EmbeddedTester):
    """A chain that keeps up with the clock, and estimates gas for the block to come."""

    def keep_time(self) -> None:
        """Give the block to come the present time, unless it was set further ahead."""
        chain = self.backend.chain
        now = int(time.time())
        if chain.header.timestamp < now:
            chain.header = chain.header.copy(timestamp=now)

    def estimate_gas(self, transaction: Any, block_number: Any = "pending") -> int:  # noqa: ARG002
        """Return the gas that a transaction needs in the next block, whichever block is named.

        Raises:
            TransactionFailed: when it reverts.
        """
        self.validator.validate_inbound_transaction(transaction, txn_internal_type="estimate")
        asked = self.normalizer.normalize_inbound_transaction(transaction)
        # For nothing: an account that can pay for what it does need not afford the largest gas limit.
        wanted = {name: asked[name] for name in asked if "fee" not in name} | {
            "gas": GAS_LIMIT,
            "gas_price": 0,
        }
        unsigned = self.backend._get_normalized_and_unsigned_evm_transaction(wanted, "pending")
        spoofed = EVMSpoofTransaction(unsigned, from_=wanted["from"])
        try:
            return int(self.backend.chain.estimate_gas(spoofed, self.backend.chain.header))
        except VMError as error:
            raise TransactionFailed(error.args[0] if error.args else type(error).__name__) from error


class EmbeddedNode:
    """A JSON-RPC server on this machine's own address; nothing outside can reach it.

    Attributes:
        url: where it answers.
    """

    def __init__(self, port: int, file: Path) -> None:
        """Open the chain and listen; `start` begins to answer.

        Args:
            port: where to listen; 0 takes a free one.
            file: where the chain is kept.

        Raises:
            OSError: when the port is taken.
        """
        self._server: Final = _Server((LOOPBACK, port), _Handler)
        self._database: Final = SqliteDatabase(file)
        self._server.answers = _Answers(self._database)
        self.url: Final = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        self._thread: Final = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        """Answer, in a thread of its own."""
        self._thread.start()

    def failure(self) -> str | None:
        """Tell why it ended by itself; None while it runs."""
        return None if self._thread.is_alive() else "the embedded chain ended by itself"

    def stop(self) -> None:
        """Finish the request in hand, and close the file."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        with self._server.answers.lock:
            self._server.answers.closed = True
            self._database.close()


class _Answers:
    """One request after the other: the chain is no place for two at once."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.lock: Final = threading.Lock()
        self.closed = False
        self._database: Final = database
        self._tester: Final = NodeTester(_backend(database))
        provider = EmbeddedProvider(self._tester)
        w3 = Web3(provider)
        w3.middleware_onion.clear()  # what is left are the provider's own: they speak eth-tester's dialect
        self._request: Final = provider.request_func(w3, w3.middleware_onion)

    def answer(self, body: bytes) -> Any:
        """Answer a request or a batch of them."""
        try:
            asked = json.loads(body)
        except ValueError:
            return _error(None, _PARSE_ERROR, "this is no JSON")
        with self.lock:
            if self.closed:
                return _error(None, _INTERNAL, "the chain has stopped")
            if isinstance(asked, list) and asked:
                return [self._one(request) for request in asked]
            return self._one(asked)

    def _one(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, _INVALID, "a request is an object with a method")
        number, params = request.get("id"), request.get("params") or []
        try:
            self._tester.keep_time()
            found = self._request(RPCEndpoint(request["method"]), params)
        except _NOT_FOUND:
            return {"jsonrpc": "2.0", "id": number, "result": None}
        except Exception as error:  # noqa: BLE001  # a bad parameter ends a request, never the node
            return _error(number, _INTERNAL, f"{type(error).__name__}: {error}")
        finally:
            self._database.commit()
        if "error" in found:
            return {"jsonrpc": "2.0", "id": number, "error": plain(found["error"], hexed=False)}
        return {"jsonrpc": "2.0", "id": number, "result": plain(found.get("result"))}


def _error(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def plain(value: Any, *, hexed: bool = True) -> Any:
    """Write values as JSON-RPC does: numbers and bytes in hex."""
    if isinstance(value, (bytes, bytearray)):
        return "0x" + bytes(value).hex()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return hex(value) if hexed else value
    if isinstance(value, Mapping):
        return {
            str(key): f"0x{held:0512x}" if key == "logsBloom" else plain(held, hexed=hexed)
            for key, held in value.items()
        }
    if isinstance(value, Sequence):
        return [plain(held, hexed=hexed) for held in value]
    return str(value)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an idle connection that is kept alive would hold up the end
    answers: _Answers


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Answer JSON only: no page in a browser can send that to another site unasked."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != _JSON:
            self._reply(415, _error(None, _INVALID, f"the content type must be {_JSON}"))
        elif not (length.isascii() and length.isdigit()) or int(length) > MAX_BODY:
            self._reply(413, _error(None, _INVALID, f"a body has a length of at most {MAX_BODY} bytes"))
        else:
            self._reply(200, self.server.answers.answer(self.rfile.read(int(length))))

    def _reply(self, status: int, answer: Any) -> None:
        body = json.dumps(answer, separators=(",", ":")).encode()
        if status != 200:
            self.close_connection = True  # what follows on it is the body that was not read
        self.send_response(status)
        self.send_header("Content-Type", _JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal belongs to the command."""
