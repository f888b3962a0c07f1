"""From options to a watch or a reconciliation: the ledger, the chain, the receivers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.chain_errors import WrongChain

if TYPE_CHECKING:
    from meterbridge.adapters.chain.followed import FollowedSplitter
    from meterbridge.adapters.ledger import SqlLedger
    from meterbridge.adapters.profiles import ChainProfile
    from meterbridge.services.records import TariffRecord

SECRET_VARIABLE = "METERBRIDGE_WEBHOOK_SECRET"


class NoSecret(MeterbridgeError):
    """Webhooks are named, and no secret to sign with."""


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """How to reach the chain; see `cli.profiles`."""

    rpc: Sequence[str] = field(repr=False)
    profile: str | None = None
    profiles: Path | None = None


@contextmanager
def open_books(folder: str, database: str | None) -> Iterator[SqlLedger]:
    """Open the ledger of a folder; with a database, the folder has the segments only.

    Raises:
        NoLedger: when there is none.
    """
    from meterbridge.library.workspace import workspace

    if database is None:
        with workspace(folder) as opened:
            yield opened.ledger
        return
    from meterbridge.adapters.bulk.known import SealsOfFolder
    from meterbridge.adapters.ledger import SEGMENTS_NAME, SqlLedger
    from meterbridge.adapters.postgres import PostgresDatabase

    with SqlLedger(PostgresDatabase.open(database)) as ledger:
        ledger.seals = SealsOfFolder(Path(folder) / SEGMENTS_NAME)
        yield ledger


def followed_contracts(
    options: ChainOptions, records: Sequence[TariffRecord]
) -> tuple[list[FollowedSplitter], ChainProfile]:
    """Return the contracts of these tariffs that are on the chain of the endpoints, and its profile.

    Raises:
        WrongChain: when none is.
    """
    from meterbridge.adapters.chain.endpoints import connect_all
    from meterbridge.adapters.chain.followed import FollowedSplitter
    from meterbridge.adapters.chain.gateway import Gateway
    from meterbridge.adapters.profiles import profile_for

    chain_id = Gateway(connect_all(options.rpc)).chain_id()
    domains = dict.fromkeys(record.domain for record in records)
    here = [domain for domain in domains if domain.chain_id == chain_id]
    if not here:
        meant = ", ".join(str(domain.chain_id) for domain in domains) or "none, for the ledger has no tariff"
        raise WrongChain(f"the node is on chain {chain_id}; {meant} is meant", chain_id)
    profile = profile_for(chain_id, options.profile, options.profiles)
    gateway = Gateway(connect_all(options.rpc, timeout=profile.rpc_timeout_seconds))
    made = [FollowedSplitter(gateway, d.verifying_contract, **profile.following()) for d in here]
    return made, profile


@contextmanager
def serve_metrics(port: int | None, render: Callable[[], str]) -> Iterator[int | None]:
    """Answer GET /metrics on this machine's own address while the block runs; yields the port."""
    if port is None:
        yield None
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the metrics."""
            found = self.path == "/metrics"
            body = render().encode() if found else b"see /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the terminal belongs to the command."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def log_to_stderr() -> None:
    """Send what watching logs to stderr, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    handler.formatter.converter = time.gmtime  # type: ignore[union-attr]  # set the line before
    logger = logging.getLogger("meterbridge.watch")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
