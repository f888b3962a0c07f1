"""A metering service for tests and measurements: a ledger with a tariff, processes, a real PostgreSQL."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from _anvil import free_port

from meterbridge.adapters.intake.api_keys import ApiKeys, Scope
from meterbridge.adapters.ledger import DATABASE_NAME, SqlLedger
from meterbridge.adapters.signers import LocalSigner
from meterbridge.adapters.sql.database import Database
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, PartyTable, Split
from meterbridge.domain.statements import Domain
from meterbridge.domain.terms import tariff_from_document, terms_document
from meterbridge.entrypoints.api.serving import open_database
from meterbridge.services.records import TariffRecord

PROVIDER = Address(b"\x11" * 20)
OTHER_PROVIDER = Address(b"\x12" * 20)
PAYER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
METER_KEY = bytes(31) + b"\x07"
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
METERS = ("input", "cache_read", "output", "reasoning")
RATES = {"input": 3, "cache_read": 1, "output": 15, "reasoning": 15}  # dollars a million tokens


def tariff_record(
    provider: Address = PROVIDER,
    name: str = "test",
    domain: Domain | None = None,
    asset: Address | None = None,
    headroom: str | None = None,
) -> TariffRecord:
    """Return a tariff of four meters, split 60 to 40; rates are whole base units per 10^6 tokens."""
    parties = (Party(Address(b"\x21" * 20), 1, 60), Party(Address(b"\x22" * 20), 2, 40))
    root = PartyTable(parties).root
    split = Split(asset or Address(b"\x31" * 20), root.hash, root.shares)
    limit = {} if headroom is None else {"headroom": headroom}
    document = {
        "meterbridge": 1,
        "name": name,
        "currency": {"symbol": "USD", "decimals": 6},
        "meters": [
            {"name": meter, "buckets": [meter], "price": str(RATES[meter]), "per": 1_000_000, **limit}
            for meter in METERS
        ],
        "text": "",
    }
    tariff = tariff_from_document(document, provider, split.id, 6, 3_600)
    return TariffRecord(
        domain or Domain(1, Address(b"\x41" * 20)), tariff, split, parties, terms_document(document)
    )


def event(identity: str, tokens: int = 12, **changes: Any) -> dict[str, Any]:
    """Return a CloudEvent of one call."""
    usage = {"prompt_tokens": tokens, "completion_tokens": 3, "total_tokens": tokens + 3}
    return {
        "specversion": "1.0",
        "id": identity,
        "source": "gateway",
        "type": "llm.call",
        "subject": PAYER,
        "time": "2026-11-01T12:00:00Z",
        "data": {"model": "example-1", "usage": usage},
        **changes,
    }


@dataclass
class Book:
    """A ledger folder with one tariff, and keys to its service."""

    folder: Path
    database: str | None = None
    records: list[TariffRecord] = field(default_factory=lambda: [tariff_record()])

    def __post_init__(self) -> None:
        if self.database is None and not (self.folder / DATABASE_NAME).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(_migrated(), self.folder / DATABASE_NAME)
        self.ledger, self.base = self.open()
        for record in self.records:
            self.ledger.add_tariff(record)
        self.keys = ApiKeys(self.base)
        self.key = self.make_key(Scope.INGEST, Scope.READ, Scope.OPERATE)

    def open(self) -> tuple[SqlLedger, Database]:
        return open_database(str(self.folder), self.database)

    def close(self) -> None:
        """Close all connections."""
        self.base.close()

    def make_key(self, *scopes: Scope, provider: Address = PROVIDER, **more: Any) -> str:
        return self.keys.create(provider, scopes, **more)[0]

    @property
    def record(self) -> TariffRecord:
        return self.records[0]

    @property
    def signer(self) -> LocalSigner:
        return LocalSigner(METER_KEY)


@cache
def _migrated() -> Path:
    """Return a database that was opened once: all migrations take longer than most tests."""
    folder = Path(tempfile.mkdtemp(prefix="meterbridge-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    open_database(str(folder), None)[1].close()
    return folder / DATABASE_NAME


@dataclass
class Service:
    """One running `meterbridge serve` process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_ready(self, seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended: {self.log.read_text()[-2000:]}")
            try:
                urllib.request.urlopen(self.url + "/healthz", timeout=2)
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"the service does not answer: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill -9, workers included."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 60.0) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(seconds)


def start(book: Book, *arguments: str, settings: dict[str, int] | None = None, sign: bool = True) -> Service:
    """Start a service on a free port without waiting for it."""
    port = free_port()
    code = "from meterbridge.entrypoints.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--ledger", str(book.folder), "--port", str(port)]
    if book.database is not None:
        command += ["--database", book.database]
    for name, value in (settings or {}).items():
        command += ["--set", f"{name}={value}"]
    log = book.folder / f"serve-{port}.log"
    environment = {**os.environ, "METERBRIDGE_PRIVATE_KEY": METER_KEY.hex()} if sign else dict(os.environ)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments], stdout=output, stderr=output, start_new_session=True, env=environment
        )
    return Service(f"http://127.0.0.1:{port}", process, log)


@contextmanager
def running(book: Book, *arguments: str, settings: dict[str, int] | None = None) -> Iterator[Service]:
    """Run a service until the end of the block."""
    service = start(book, *arguments, settings=settings)
    try:
        service.wait_ready()
        yield service
    finally:
        if service.process.poll() is None:
            service.kill()


def postgres_missing() -> str | None:
    """Return why no PostgreSQL can be started here, or None."""
    if not (POSTGRES_BIN / "initdb").exists():
        return f"PostgreSQL 15 is not installed: {POSTGRES_BIN} is missing"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "running as root without setpriv: PostgreSQL refuses to start as root"
    return None


@contextmanager
def postgres(*, fsync: bool = False) -> Iterator[str]:
    """Start a PostgreSQL of our own, and yield the URL of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="meterbridge-pg-"))
    prefix: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, port = folder / "data", free_port()
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    initdb = [str(POSTGRES_BIN / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
    subprocess.run([*prefix, *initdb], check=True, **quiet)
    options = f"-k {folder} -p {port} -h 127.0.0.1 -c fsync={'on' if fsync else 'off'} -c max_connections=200"
    control = [*prefix, str(POSTGRES_BIN / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run([*control, "-o", options, "-l", str(folder / "log"), "start"], check=True, **quiet)
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)
        shutil.rmtree(folder, ignore_errors=True)


def post(
    url: str,
    key: str,
    body: Any,
    content_type: str = "application/cloudevents-batch+json",
    timeout: float = 30,
) -> tuple[int, Any]:
    """Post a body and return status and parsed answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"Authorization": f"Bearer {key}", "Content-Type": content_type}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
