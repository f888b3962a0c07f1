"""A seal that dies at any point leaves the old state or the new one, and the next one cleans up."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bulk_world import expected, make_calls, write_parquet

from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk.intake import RECEIPT_MEMORY
from meterbridge.services.ledger_errors import LedgerBehindSegments
from meterbridge.services.records import LogKey, LogKind

World = Callable[..., Any]
DEAD = 77

# Each names a function that the worker dies in, and whether before or after it has done its work.
POINTS = {
    "before a spill": ("meterbridge.adapters.bulk.spill:SpilledRun.__init__", "before"),
    "after a spill": ("meterbridge.adapters.bulk.spill:SpillFolder.spill", "after"),
    "before events are written": ("meterbridge.adapters.bulk.events:EventIndexWriter.append", "before"),
    "before a part": ("meterbridge.adapters.bulk.parts:PartWriter.write", "before"),
    "before a part is synced": ("meterbridge.adapters.bulk.parts:PartWriter.close", "before"),
    "after a part": ("meterbridge.adapters.bulk.parts:PartWriter.close", "after"),
    "before the manifest": ("meterbridge.adapters.bulk.seals:write_manifest", "before"),
    "before the seal has its name": ("meterbridge.adapters.bulk.seals:write_manifest", "after"),
    "after the seal has its name": ("meterbridge.adapters.bulk.seals:FolderSealWriter.finish", "after"),
    "before the commit": ("meterbridge.adapters.bulk.ledger:BulkSqlLedger.commit_seal", "before"),
    "within the commit": ("meterbridge.adapters.bulk.ledger:_grow", "after"),
    "after the commit": ("meterbridge.adapters.bulk.ledger:BulkSqlLedger.commit_seal", "after"),
}
COMMITTED = {"after the commit"}

WORKER = """
import importlib, importlib.util, os, sys
from pathlib import Path

folder, path, memory, point, when, helper = sys.argv[1:]
spec = importlib.util.spec_from_file_location("bulk_world", helper)
world = sys.modules["bulk_world"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(world)
module, _, names = point.partition(":")
*owners, name = names.split(".")
owner = importlib.import_module(module)
for part in owners:
    owner = getattr(owner, part)
whole = getattr(owner, name)

def dies(*args, **kwargs):
    if when == "after":
        whole(*args, **kwargs)
    os._exit(77)

setattr(owner, name, dies)
with world.bulk_world(Path(folder), payers=4) as opened:
    opened.seal(Path(path), memory_bytes=int(memory))
"""


def seal_and_die(folder: Path, path: Path, memory: int, point: str, when: str) -> int:
    helper = Path(__file__).with_name("bulk_world.py")
    command = [sys.executable, "-c", WORKER, str(folder), str(path), str(memory), point, when, str(helper)]
    return subprocess.run(command, env=os.environ, check=False).returncode


@pytest.mark.parametrize("point", POINTS)
def test_a_seal_that_dies_is_whole_or_never_was(new_bulk: World, tmp_path: Path, point: str) -> None:
    calls = make_calls(3000, 4)
    first = write_parquet(tmp_path / "first.parquet", calls[:1000], row_group=200)
    second = write_parquet(tmp_path / "second.parquet", calls[500:], row_group=200)
    new_bulk(payers=4).seal(first)
    memory = RECEIPT_MEMORY * (700 if "spill" in point else 10_000)
    folder = tmp_path / "ledger"
    assert seal_and_die(folder, second, memory, *POINTS[point]) == DEAD
    world = new_bulk(payers=4)
    sizes = set(world.bulk.ledger.log_sizes(world.record.id).values())
    assert sizes == ({2} if point in COMMITTED else {1})
    report = world.seal(second, memory_bytes=memory)
    assert world.roots(report) == ({} if point in COMMITTED else expected(calls[1000:]))
    assert report.repeated == (2500 if point in COMMITTED else 500)
    for number, key in enumerate(world.keys):
        total = world.bulk.ledger.total(LogKey(key, LogKind.CHARGES))
        mine = [call.usage() for call in calls if call.customer == f"c{number}"]
        assert total == sum(mine, UsageVector.zero())
    assert not (folder / "spill").exists()
    left = {path.name for path in (folder / "segments").glob("*/bulk/*")}
    names = world.bulk.ledger.seal_names(world.record.id)
    assert left == {Path(name).name for name in names}
    assert len(names) == 2


def test_seals_that_an_older_ledger_does_not_know_are_not_removed(new_bulk: World, tmp_path: Path) -> None:
    """A database from a backup lacks two seals: to remove them would lose receipts."""
    calls, world = make_calls(900, 3), new_bulk(payers=3)
    database = world.folder / "ledger.db"
    world.seal(write_parquet(tmp_path / "a.parquet", calls[:300]))
    with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(tmp_path / "backup.db")) as copy:
        live.backup(copy)
    world.seal(write_parquet(tmp_path / "b.parquet", calls[300:600]))
    world.seal(write_parquet(tmp_path / "c.parquet", calls[600:]))
    world.bulk.ledger.close()
    for file in world.folder.glob("ledger.db*"):
        file.unlink()
    (tmp_path / "backup.db").rename(database)
    again = new_bulk(payers=3)
    before = sorted(path.name for path in (world.folder / "segments").rglob("*.parquet"))
    with pytest.raises(LedgerBehindSegments, match="older than its segments"):
        again.seal(tmp_path / "c.parquet")
    assert sorted(path.name for path in (world.folder / "segments").rglob("*.parquet")) == before


def test_two_processes_do_not_seal_at_once(new_bulk: World, tmp_path: Path) -> None:
    calls = make_calls(200, 4)
    path = write_parquet(tmp_path / "a.parquet", calls)
    world = new_bulk(payers=4)
    with world.bulk.ledger.sole_writer():
        helper = Path(__file__).with_name("bulk_world.py")
        program = WORKER.replace("os._exit(77)", "return whole(*args, **kwargs)").replace(
            "opened.seal(",
            "opened.bulk.ledger.sole_writer = lambda w=opened.bulk.ledger.sole_writer: w(0.1); opened.seal(",
        )
        arguments = [str(world.folder), str(path), "1000000", "os:getcwd", "before", str(helper)]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True
        )
    assert done.returncode == 1
    assert "LedgerBusy" in done.stderr
    assert world.seal(path).sealed == 200
