"""Several processes on one outbox, one account, one real chain: nothing is lost, nothing is sent twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from books import fresh_database
from chains import Town

pytestmark = pytest.mark.node
STATEMENTS = 8


def start(town: Town, *arguments: str, lease: int = 60) -> subprocess.Popen[bytes]:
    """Start a worker: `settle_worker.py` beside this file."""
    script = Path(__file__).with_name("settle_worker.py")
    key = town.submitter._key.to_bytes().hex()
    where = [town.url, str(town.folder), town.database or "", str(lease), *arguments]
    environment = {**os.environ, "SETTLE_KEY": key}
    return subprocess.Popen([sys.executable, str(script), *where], env=environment, stderr=subprocess.PIPE)


@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=pytest.mark.long), "postgresql"])
def test_workers_settle_side_by_side(
    database: str, anvil_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = fresh_database(request.getfixturevalue("postgres_url")) if database == "postgresql" else None
    town = Town(anvil_url, tmp_path, url)
    town.deposit(town.payer, 10_000)
    town.deposit(town.other, 10_000)
    workers = [start(town) for _ in range(2)]
    try:
        for number in range(STATEMENTS):
            town.state({(town.payer, town.other)[number % 2]: 10})
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and town.pot() < 10 * STATEMENTS:
            assert all(worker.poll() is None for worker in workers), [w.stderr for w in workers]
            time.sleep(0.2)
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
            worker.communicate(timeout=300)
    town.settler().drain(timeout=300)
    assert town.pot() == 10 * STATEMENTS
    assert set(town.states()) <= {"final", "superseded"}
    attempts = [a for d in town.deliveries() for a in town.books.ledger.attempts(d) if d.nonce is not None]
    nonces = Counter(attempt.nonce for attempt in attempts)
    assert sorted(nonces) == list(range(town.nonce()))  # each once, none missing, none foreign
    settled = town.books.ledger.settlements(town.books.record.id)
    assert sum(draw.drawn.base_units for record in settled for draw in record.draws) == 10 * STATEMENTS
    town.books.ledger.close()


def test_another_process_takes_over_from_one_that_was_killed(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    with town.by_hand():
        worker = start(town, lease=5)
        deadline = time.monotonic() + 300
        while town.states() != ["sent"] and time.monotonic() < deadline:
            time.sleep(0.1)
        worker.kill()
        worker.communicate()
        assert town.states() == ["sent"]
    town.mine()
    report = town.settler().drain(timeout=300)
    assert report.errors == ()
    assert (town.states(), town.pot(), town.nonce()) == (["final"], 100, 1)
