"""Killed at any step or moment, a ledger goes on where it stopped, and ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_worker import EVENTS, REPLACED, REPLACED_IN_PLACE, VOIDED, VOIDED_IN_PLACE, whole_way
from metered_world import World

from meterbridge.domain.sum_tree import SumTree, log_element
from meterbridge.services.recovery import rebuild

Answer = dict[str, Any]


class Worker:
    """The process that runs jobs and survives their deaths."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("crash_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, *, die_at: int | None = None, kill_after: float | None = None) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"folder": str(folder), "die_at": die_at, "kill_after": kill_after}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer: Answer = json.loads(self._process.stdout.readline())
        assert answer["signal"] == signal.SIGKILL or answer["said"].isdigit(), answer
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(30) == 0


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


def outcome(world: World) -> dict[str, Any]:
    """Return what must not depend on how often a run was interrupted: receipts, totals, usage that is signed.

    How receipts are cut into batches may depend on it; that every log is whole is checked on the way.
    """
    sealed = world.sealed_receipts()
    assert world.ledger.pending_count(world.record.id) == 0
    for log in world.logs():
        batches = list(world.ledger.batches(log))
        assert [batch.segment for batch in batches] == list(world.segments.names(log)), "nothing orphaned"
        if batches:
            root = SumTree.of([log_element(batch.size, batch.root) for batch in batches]).root
            assert root.sum == world.ledger.total(log)
    assert not list(world.folder.rglob("*.tmp"))
    last = world.ledger.last_signed(world.record.id)
    timeless = {key: (r.id, r.usage, r.details, *rest) for key, (r, *rest) in sealed.items()}
    return {
        "receipts": timeless,
        "totals": {log: world.ledger.total(log) for log in world.logs()},
        "signed": {account: signed.head.usage() for account, signed in last.items() if signed.head},
        "sizes": {account: (s.head.charges.size > 0) for account, s in last.items() if s.head},
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    world = World(tmp_path_factory.mktemp("undisturbed"))
    whole_way(world)
    found = outcome(world)
    world.close()
    assert len({key for key in found["receipts"] if key[0].endswith("charges")}) >= EVENTS
    assert any(key[0].endswith("credits") for key in found["receipts"])
    return found


def check(folder: Path, undisturbed: dict[str, Any]) -> None:
    world = World(folder, fresh=False)
    assert outcome(world) == undisturbed
    world.close()


def prepare(folder: Path) -> None:
    World(folder).close()


def count_steps(worker: Worker, folder: Path) -> int:
    prepare(folder)
    return int(worker.run(folder)["said"])


def test_killed_at_every_step_that_touches_the_disk(
    worker: Worker, tmp_path: Path, undisturbed: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    steps = count_steps(worker, tmp_path / "count")
    check(tmp_path / "count", undisturbed)
    assert steps > 100
    every = 1 if request.config.getoption("--long") else 23  # a prime, so that all kinds of steps are met
    for die_at in range(1, steps + 1, every):
        folder = tmp_path / f"die-{die_at}"
        prepare(folder)
        assert worker.run(folder, die_at=die_at)["signal"] == signal.SIGKILL
        assert worker.run(folder)["signal"] is None
        check(folder, undisturbed)


def test_killed_again_and_again_it_still_gets_there(
    worker: Worker, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    folder = tmp_path / "again"
    prepare(folder)
    deaths = 0
    for die_at in range(9, 2000, 13):
        if worker.run(folder, die_at=die_at)["signal"] is None:
            break
        deaths += 1
    assert deaths >= 5
    check(folder, undisturbed)


def test_killed_at_random_moments(
    worker: Worker, tmp_path: Path, undisturbed: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    prepare(tmp_path / "time")
    start = time.monotonic()
    worker.run(tmp_path / "time")
    duration = time.monotonic() - start
    chance = random.Random(20)
    for round_ in range(50 if request.config.getoption("--long") else 4):
        folder = tmp_path / f"moment-{round_}"
        prepare(folder)
        for _ in range(3):
            worker.run(folder, kill_after=chance.uniform(0, duration))
        assert worker.run(folder)["signal"] is None
        check(folder, undisturbed)


def test_a_ledger_lost_in_a_crash_is_rebuilt_from_what_was_sealed(
    worker: Worker, new_world: Callable[..., World], tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """The worst day: killed in the middle of sealing, and the database is gone as well."""
    steps = count_steps(worker, tmp_path / "count")
    for die_at in (steps // 3, steps // 2):
        folder = tmp_path / f"lost-{die_at}"
        prepare(folder)
        assert worker.run(folder, die_at=die_at)["signal"] == signal.SIGKILL
        for file in folder.glob("ledger.db*"):
            file.unlink()
        empty = new_world(f"lost-{die_at}", fresh=False)
        report = rebuild(empty.ledger, empty.segments)
        assert report.receipts == len(empty.sealed_receipts()) > 0
        empty.close()
        prepare(folder)  # opens the accounts that had no segment yet; the others are there
        assert worker.run(folder)["signal"] is None
        world = new_world(f"lost-{die_at}", fresh=False)
        found = outcome(world)
        assert found["receipts"] == undisturbed["receipts"]
        assert found["signed"] == undisturbed["signed"]


def test_the_undisturbed_run_is_right_by_hand(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """Charges less credits is the events' usage, as corrected."""
    world = World(tmp_path / "plain")
    voided, replaced = {VOIDED_IN_PLACE, *VOIDED}, {REPLACED_IN_PLACE, *REPLACED}
    expected = {str(account.payer): [0] * 8 for account in world.accounts}
    for number, found in enumerate(world.events(EVENTS)):
        lanes = [found.buckets["input"], found.buckets["output"], found.buckets["cache_read"]]
        lanes = [] if number in voided else [3] if number in replaced else lanes
        payer = str(world.accounts[int((found.payer or "")[1:])].payer)
        for lane, count in enumerate(lanes):
            expected[payer][lane] += count
    signed = {str(account.payer): list(usage.lanes) for account, usage in undisturbed["signed"].items()}
    assert signed == expected
    world.close()
