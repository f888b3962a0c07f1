"""From a configuration to a running service: everything is opened here and nowhere else."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from fastapi import FastAPI

from meterbridge.adapters.bulk.known import SealsOfFolder
from meterbridge.adapters.intake.api_keys import ApiKeys
from meterbridge.adapters.intake.bulk_ledger import BulkLedger, open_bulk_postgresql, open_bulk_sqlite
from meterbridge.adapters.intake.group_commit import Bounds
from meterbridge.adapters.intake.quarantine import Quarantine
from meterbridge.adapters.intake.recorder import Recorder
from meterbridge.adapters.intake.stored import StoredEvents
from meterbridge.adapters.ledger import SEGMENTS_NAME
from meterbridge.adapters.segments import FolderSegments
from meterbridge.adapters.sql.database import Database
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.keccak import keccak256_rows
from meterbridge.domain.statements import Domain, SignedStatement
from meterbridge.entrypoints.api.app import create_app
from meterbridge.entrypoints.api.delivering import Delivering
from meterbridge.entrypoints.api.deps import Deps
from meterbridge.entrypoints.api.observed import Metrics, configure_logging
from meterbridge.entrypoints.api.settings import Settings
from meterbridge.entrypoints.api.worker import Settle, Work, Worker
from meterbridge.services.chain_errors import ChainError
from meterbridge.services.following.metrics import metrics_text
from meterbridge.services.ports import StatementSigner
from meterbridge.services.records import TariffRecord
from meterbridge.services.settlement import submit
from meterbridge.services.settling.packing import Packing

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient

CONFIG_VARIABLE: Final = "METERBRIDGE_SERVE"
_KERNEL_ROWS: Final = 50_000
_STARTS_WITHIN_SECONDS: Final = 120
"""A worker that compiles its kernels for the first time answers nobody meanwhile; it is not to be killed."""
_SWITCH_SECONDS: Final = 0.001
"""How long requests may wait for a thread that hashes or writes; Python's own is 5 ms, each time."""


class SeveralContracts(MeterbridgeError):
    """The ledger's tariffs are on several contracts; one service settles on one."""


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What `meterbridge serve` was told; passes to worker processes as JSON. Holds no secret.

    Attributes:
        ledger: the ledger's folder; its segments are there with PostgreSQL, too.
        database: a PostgreSQL URL, or None for the SQLite database in the folder.
        keystore, password_file: of the key that signs statements; the password may be in the environment.
        rpc: a node, for credit and settling; several, separated by spaces, are asked in turn where one fails.
        settle: whether to submit statements.
        gas_keystore: of the account that pays the gas for it; None takes the key that signs statements.
    """

    ledger: str
    database: str | None = None
    keystore: str | None = None
    password_file: str | None = None
    rpc: str | None = None
    settle: bool = False
    gas_keystore: str | None = None
    log_level: str = "INFO"
    settings: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return all of it."""
        return json.dumps(dataclasses.asdict(self))


def application() -> FastAPI:
    """Build the application of a worker process from its environment; uvicorn calls this."""
    config = ServeConfig(**json.loads(os.environ[CONFIG_VARIABLE]))
    configure_logging(config.log_level)
    app = create_app(build(config))
    _settle_in()
    return app


def open_database(folder: str, database: str | None) -> tuple[BulkLedger, Database]:
    """Open the ledger of a folder, in SQLite or in PostgreSQL."""
    opened = open_bulk_sqlite(Path(folder)) if database is None else open_bulk_postgresql(database)
    opened[0].seals = SealsOfFolder(Path(folder) / SEGMENTS_NAME)
    return opened


def build(config: ServeConfig, metrics: Metrics | None = None) -> Deps:
    """Open everything that a configuration names."""
    settings = Settings.of(config.settings)
    ledger, database = open_database(config.ledger, config.database)
    segments = FolderSegments(Path(config.ledger) / "segments")
    quarantine = Quarantine(database)
    recorder = Recorder(
        ledger,
        quarantine,
        StoredEvents(database, ledger, segments),
        Bounds(settings.group_events, settings.waiting_events),
    )
    signer = _signer(config)
    chain = None if config.rpc is None else _connect(config.rpc, ledger, None)
    deps = Deps(
        ledger=ledger,
        segments=segments,
        keys=ApiKeys(database),
        quarantine=quarantine,
        recorder=recorder,
        settings=settings,
        signer=signer,
        escrows=chain,
        close=ledger.close,
        chain_metrics=lambda: metrics_text(ledger, int(time.time())),
        metrics=metrics or Metrics(),
    )
    work = Work(ledger, segments, settings, deps.metrics, lambda: recorder.stored_events, signer)
    if config.rpc is not None and config.settle:
        work.deliver, work.packing = _delivering(config, ledger, deps), _packing(config)
    deps.worker = Worker(work)
    return deps


def _signer(config: ServeConfig) -> StatementSigner | None:
    from meterbridge.entrypoints.cli.keys import KEY_VARIABLE, open_signer

    if config.keystore is None and KEY_VARIABLE not in os.environ:
        return None
    return open_signer(config.keystore, None if config.password_file is None else Path(config.password_file))


def _connect(rpc: str, ledger: BulkLedger, signer: StatementSigner | None) -> SplitterClient | None:
    """Connect to the contract of the ledger's tariffs; web3 is loaded only now."""
    from meterbridge.adapters.chain import Gateway, KeySender, SplitterClient
    from meterbridge.adapters.chain.endpoints import connect_all
    from meterbridge.adapters.devnet import connect

    contracts: set[Address] = {record.domain.verifying_contract for record in ledger.tariffs()}
    if len(contracts) > 1:
        raise SeveralContracts("the ledger's tariffs are on several contracts: run one each", contracts)
    if not contracts:
        return None
    urls = rpc.split()
    w3 = connect(rpc) if len(urls) == 1 else connect_all(urls)
    gateway = Gateway(w3, None if signer is None else KeySender(signer))
    return SplitterClient(gateway, contracts.pop())


def _delivering(config: ServeConfig, ledger: BulkLedger, deps: Deps) -> Delivering:
    """Prepare the thread that submits statements; nothing is asked of a node yet."""
    from meterbridge.entrypoints.cli.keys import find_sender
    from meterbridge.library.settlers import SettleConfig, make_settlers

    password = None if config.password_file is None else Path(config.password_file)
    sender = find_sender(config.gas_keystore or config.keystore, password, None)
    settle = SettleConfig((config.rpc or "").split())

    def domains() -> list[Domain]:
        return list(dict.fromkeys(record.domain for record in ledger.tariffs()))

    return Delivering(
        domains,
        lambda found: make_settlers(settle, ledger, found, sender),
        deps.metrics,
        deps.settings.settle_seconds,
    )


def _packing(config: ServeConfig) -> Packing:
    """Return what one statement may cost to settle on the chain of the node."""
    from meterbridge.adapters.profiles import profile_for
    from meterbridge.library.settlers import SettleConfig

    try:
        chain_id = int(SettleConfig((config.rpc or "").split()).endpoints().ask("eth_chainId"), 16)
    except ChainError:
        return Packing()  # the node is down: Ethereum's cap is the smallest of all
    return Packing(gas_cap=profile_for(chain_id).gas_cap)


def _settler(chain: SplitterClient, ledger: BulkLedger) -> Settle:
    def settle(record: TariffRecord, signed: SignedStatement) -> None:
        submit(chain, ledger, record.tariff, signed)

    return settle


def _settle_in() -> None:
    """Load the kernels before the first request needs them; take what is loaded out of the GC."""
    keccak256_rows(np.zeros((_KERNEL_ROWS, 1), dtype=np.uint8))
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(50_000, 20, 100)  # thousands of short-lived objects a request, none of them in cycles


def run(config: ServeConfig, host: str, port: int, workers: int) -> None:
    """Serve until told to stop (SIGTERM, SIGINT); what was taken is written before it ends."""
    import uvicorn

    os.environ[CONFIG_VARIABLE] = config.to_json()
    options: dict[str, Any] = {
        "factory": True,
        "host": host,
        "port": port,
        "workers": workers,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_worker_healthcheck": _STARTS_WITHIN_SECONDS,
        "timeout_graceful_shutdown": Settings.of(config.settings).drain_seconds,
    }
    uvicorn.run("meterbridge.entrypoints.api.serving:application", **options)
