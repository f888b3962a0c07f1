"""A metering service in this process, over real HTTP."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import _service as support  # found through the line above

from meterbridge.adapters.signers import LocalSigner
from meterbridge.entrypoints.api.app import create_app
from meterbridge.entrypoints.api.deps import Deps
from meterbridge.entrypoints.api.serving import ServeConfig, build
from meterbridge.services.records import AccountKey, LogKey, LogKind


@dataclass
class Live:
    """A running service, its ledger, and a client with all rights."""

    book: support.Book
    deps: Deps
    url: str
    http: httpx.Client

    def send(self, *events: dict[str, object], **options: object) -> httpx.Response:
        """Post a CloudEvents batch."""
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        return self.http.post("/v1/events", json=list(events), headers=headers, **options)

    def usage(self, kind: LogKind = LogKind.CHARGES) -> tuple[int, ...]:
        """Return the total of a log of the test's payer, sealed or not."""
        accounts = [
            a for a in self.book.ledger.accounts(self.book.record.id) if str(a.key.payer) == support.PAYER
        ]
        return self.book.ledger.total(LogKey(accounts[0].key, kind)).lanes if accounts else (0,) * 8

    def account(self) -> AccountKey:
        return next(
            a.key for a in self.book.ledger.accounts(self.book.record.id) if str(a.key.payer) == support.PAYER
        )

    def path(self, rest: str = "") -> str:
        return f"/v1/tariffs/0x{self.book.record.id.hex()}/accounts/{support.PAYER}{rest}"


@contextmanager
def serving(book: support.Book, *, sign: bool = True, **settings: int) -> Iterator[Live]:
    """Serve on a free port in a thread; the worker does rounds only when a test says so."""
    deps = build(ServeConfig(str(book.folder), book.database, settings={"seal_seconds": 3_600, **settings}))
    if sign:
        deps.signer = deps.worker._work.signer = LocalSigner(support.METER_KEY)
    port = support.free_port()
    server = uvicorn.Server(
        uvicorn.Config(create_app(deps), port=port, log_config=None, access_log=False, lifespan="on")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {book.key}"}, timeout=30) as http:
            yield Live(book, deps, url, http)
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def book(tmp_path: Path) -> support.Book:
    return support.Book(tmp_path)


@pytest.fixture
def live(book: support.Book) -> Iterator[Live]:
    with serving(book) as found:
        yield found


@pytest.fixture
def serve() -> Callable[..., object]:
    return serving


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    missing = support.postgres_missing()
    if missing:
        pytest.skip(missing)
    with support.postgres() as url:
        yield url


@pytest.fixture
def database(postgres_url: str) -> str:
    """An empty schema of the test's own on the one server."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return postgres_url
