"""Kill -9 at random moments under load: what was acknowledged is in exactly one receipt, and nothing twice.

What is checked is read from the Parquet files alone, with nothing of the service's code in between.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
import urllib.error
from collections import Counter
from pathlib import Path

import _service as support
import pyarrow.parquet as pq
import pytest

SETTINGS = {"seal_seconds": 1, "batch_receipts": 500}
SENDERS = 3


class Load:
    """Senders that never stop: each repeats what was not acknowledged, as a client does."""

    def __init__(self, key: str, seed: int) -> None:
        self.key = key
        self.acknowledged: set[str] = set()
        self.sent: set[str] = set()
        self.refused: list[object] = []
        self.urls: list[str] = []
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._send, args=(f"{seed}-{n}", random.Random(seed * 100 + n)), daemon=True
            )
            for n in range(SENDERS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _send(self, name: str, dice: random.Random) -> None:
        number, batch = 0, []
        while not self._ended.is_set():
            if not batch:
                batch = [f"{name}-{number + i}" for i in range(dice.choice((1, 5, 60)))]
                number += len(batch)
                self.sent.update(batch)
            try:
                url = dice.choice(self.urls) + "/v1/events"
                status, answer = support.post(url, self.key, [support.event(i) for i in batch], timeout=20)
            except (urllib.error.URLError, http.client.HTTPException, OSError):
                time.sleep(0.05)  # it was killed; nothing is known of the batch, so it is sent again
                continue
            if status == 200:
                self.acknowledged.update(batch)
                batch = []
            elif status == 503:
                time.sleep(0.05)
            else:
                self.refused.append(answer)
                return


def sealed_ids(folder: Path) -> Counter[str]:
    """Count the event ids in all segments."""
    found: Counter[str] = Counter()
    for path in (folder / "segments").rglob("*.parquet"):
        found.update(pq.read_table(path, columns=["event_id"], partitioning=None)["event_id"].to_pylist())
    return found


def until_all_stated(book: support.Book) -> None:
    """Wait until all is sealed and the newest statement is of all batches: one is signed a second at most."""
    deadline = time.monotonic() + 600
    while (book.ledger.pending_count(book.record.id) or unstated(book)) and time.monotonic() < deadline:
        time.sleep(0.2)


def unstated(book: support.Book) -> int:
    """Count the batches that came after the newest statement."""
    sizes = book.ledger.log_sizes(book.record.id).values()
    heads = [record.heads[0] for record in book.ledger.statements(book.record.id)][-1:]
    return sum(sizes) - sum(head.charges.size + head.credits.size for head in heads)


def campaign(book: support.Book, *, rounds: int, processes: int, seed: int) -> Load:
    """Kill and start again `rounds` times while events come in."""
    dice, load = random.Random(seed), Load(book.key, seed)
    services = [support.start(book, settings=SETTINGS) for _ in range(processes)]
    for service in services:
        service.wait_ready()
    load.urls = [service.url for service in services]
    load.start()
    try:
        for _ in range(rounds):
            time.sleep(dice.uniform(0.1, 1.5))
            victim = dice.randrange(processes)
            services[victim].kill()
            services[victim] = support.start(book, settings=SETTINGS)
            load.urls[victim] = services[victim].url
            services[victim].wait_ready()
        time.sleep(0.5)
        load.end()
        until_all_stated(book)
    finally:
        load.end()
        for service in services:
            service.stop()
    return load


def check(book: support.Book, load: Load) -> None:
    found = sealed_ids(book.folder)
    assert load.refused == []
    assert len(load.acknowledged) > 0
    assert load.acknowledged - found.keys() == set(), "acknowledged events are missing"
    assert {name: count for name, count in found.items() if count > 1} == {}, "events were counted twice"
    assert found.keys() - load.sent == set()
    # Each event counts 12 tokens in and 3 out: the signed total is what the receipts add up to.
    newest = list(book.ledger.statements(book.record.id))[-1]
    lanes = newest.signed.statement.lines[0].usage.lanes
    assert lanes[:4] == (12 * len(found), 0, 3 * len(found), 0)


def run(folder: Path, database: str | None, *, rounds: int, processes: int, seed: int) -> None:
    book = support.Book(folder, database)
    try:
        check(book, campaign(book, rounds=rounds, processes=processes, seed=seed))
    finally:
        book.close()


def test_kill_9_on_sqlite_loses_nothing_and_counts_nothing_twice(tmp_path):
    run(tmp_path, None, rounds=2, processes=1, seed=1)


def test_kill_9_of_processes_that_share_postgresql(tmp_path):
    if missing := support.postgres_missing():
        pytest.skip(missing)
    with support.postgres() as url:
        run(tmp_path, url, rounds=2, processes=2, seed=2)


@pytest.mark.long
def test_50_rounds_of_kill_9_on_sqlite(tmp_path):
    run(tmp_path, None, rounds=50, processes=1, seed=3)


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 4])
def test_50_rounds_of_kill_9_on_postgresql(tmp_path, processes):
    if missing := support.postgres_missing():
        pytest.skip(missing)
    with support.postgres() as url:
        run(tmp_path, url, rounds=50, processes=processes, seed=4)
