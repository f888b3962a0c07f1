"""Four processes with two accounts on one PostgreSQL, one of them killed: they never collide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from faults.checks import read_chain
from faults.crashes import TESTS
from faults.crowd import crowd, deposit_for, open_accounts, sign
from faults.stage import SENDERS, Stage
from meterbridge.adapters.ledger import SqlLedger
from meterbridge.adapters.postgres import PostgresDatabase
from meterbridge.services.settling.records import DeliveryState

pytestmark = pytest.mark.node
STATEMENTS = 24
WORKERS = 4
ACCOUNTS = 2
TOKENS = 7
IN_FLIGHT = 2
"""Transactions of one account at once: so few that no account can take all the work before another begins."""


def keep_mining(stage: Stage, ended: threading.Event) -> None:
    """Mine a block every 0.3 seconds, as a chain does."""
    while not ended.wait(0.3):
        stage.node.rpc("evm_mine")


def compete(stage: Stage, postgres_url: str, folder: Path) -> list[dict[str, int]]:
    """Let the workers settle what is signed, one of them killed on the way; return how each ended."""
    job = {
        "folder": str(folder),
        "database": postgres_url,
        "url": stage.url,
        "workers": WORKERS,
        "senders": ACCOUNTS,
        "confirmations": 3,
        "lease": 4,
        "in_flight": IN_FLIGHT,
        "kill_after": 1.5,
        "ahead": max(0, stage.now() - int(time.time())),
    }
    ended = threading.Event()
    miner = threading.Thread(target=keep_mining, args=(stage, ended))
    miner.start()
    try:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "bench")])}
        command = [sys.executable, "-m", "faults.workers", json.dumps(job)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        ended.set()
        miner.join()
    assert done.returncode == 0, done.stderr
    answer: list[dict[str, int]] = json.loads(done.stdout)
    return answer


def check(stage: Stage, ledger: SqlLedger, since: int) -> None:
    """Hold what the ledger says of its transactions against the chain's blocks."""
    deliveries = ledger.deliveries(stage.record.domain)
    assert Counter(each.state for each in deliveries) == {DeliveryState.FINAL: STATEMENTS}
    attempts = {a.tx_hash: a for each in deliveries for a in ledger.attempts(each)}
    settled: Counter[bytes] = Counter()
    for sender in SENDERS[:ACCOUNTS]:
        sent = read_chain(stage, sender.address, since).sent
        assert [each.nonce for each in sent] == list(range(len(sent)))
        assert ledger.next_nonce(stage.record.domain.chain_id, sender.address) == len(sent)
        assert all(each.tx_hash in attempts for each in sent)
        settled.update(each.data for each in sent if each.succeeded and each.data)
        assert len(sent) > 2, "both accounts had work"
    assert (len(settled), set(settled.values())) == (STATEMENTS, {1})


def test_workers_never_collide_and_each_statement_settles_once(
    stage: Stage, postgres_url: str, tmp_path: Path
) -> None:
    """X402 #2471, xmtpd #1420: nonces are taken by compare-and-set in the database, whoever works on it."""
    stage.node.rpc("evm_setAutomine", True)
    payers = crowd(STATEMENTS)
    deposit_for(stage, payers, 1_000)
    stage.node.rpc("evm_setAutomine", False)
    since = stage.height()
    with SqlLedger(PostgresDatabase.open(postgres_url)) as ledger:
        open_accounts(ledger, stage.record, payers)
        for part, payer in enumerate(payers):
            sign(ledger, stage.record, [payer], TOKENS, stage.now(), part)
        ended = compete(stage, postgres_url, tmp_path)
        assert [each["code"] for each in ended] == [-9, 0, 0, 0]
        check(stage, ledger, since)
    escrows = stage.splitter.escrows(stage.record.id, payers)
    assert {escrow.settled.base_units for escrow in escrows} == {TOKENS * 3}
