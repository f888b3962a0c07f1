"""A day's run in small: memory stays flat, and the database holds what is unsealed plus its index."""

from __future__ import annotations

import json
import time
from pathlib import Path

import _service as support
import pytest

INDEX_BYTES = 500
"""What the database may keep of a sealed receipt: two entries of its index, in pages half full."""
MIB = 2**20


def resident(pid: int) -> int:
    """Return a process' resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def run(folder: Path, events: int, growth: int) -> None:
    book = support.Book(folder)
    settings = {
        "seal_seconds": 2,
        "batch_receipts": 50_000,
        "events_per_second": 10**7,
        "burst_events": 10**7,
    }
    seen = []
    with support.running(book, "--log-level", "WARNING", settings=settings) as service:
        for start in range(0, events, 1_000):
            body = json.dumps([support.event(str(i)) for i in range(start, start + 1_000)]).encode()
            while support.post(service.url + "/v1/events", book.key, body, timeout=120)[0] == 503:
                time.sleep(0.1)
            if start % (events // 10) == 0:
                seen.append(resident(service.process.pid))
        deadline = time.monotonic() + 300
        while book.ledger.pending_count(book.record.id) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert service.stop() is not None
    settled, last = max(seen[2:5]), max(seen[7:])
    assert last - settled < growth, [size // MIB for size in seen]
    newest = list(book.ledger.statements(book.record.id))[-1].signed.statement.lines[0]
    assert newest.usage.lanes[:3] == (12 * events, 0, 3 * events)
    book.close()
    database = sum(path.stat().st_size for path in folder.glob("ledger.db*"))
    assert database < INDEX_BYTES * events + 128 * MIB, f"{database / events:.0f} bytes an event"


def test_memory_and_database_stay_bounded(tmp_path):
    run(tmp_path, 30_000, growth=100 * MIB)


@pytest.mark.long
def test_five_million_events(tmp_path):
    run(tmp_path, 5_000_000, growth=100 * MIB)
