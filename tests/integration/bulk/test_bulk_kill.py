"""A seal that is killed at any moment (SIGKILL, so nothing cleans up) left the old state or the new one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bulk_world import make_calls, write_parquet

from meterbridge.adapters.bulk.checking import check_seal
from meterbridge.adapters.bulk.streaming import SealedPeriods
from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk.intake import RECEIPT_MEMORY
from meterbridge.services.periods import receipts_of_period
from meterbridge.services.records import LogKey, LogKind

World = Callable[..., Any]
PAYERS = 4
ROWS = 6000

# A process of its own, which loads everything once and forks for each seal: so kills fall into sealing.
NURSERY = """
import importlib.util, json, os, random, signal, sys, time
from pathlib import Path

folder, memory, seed, helper, *paths = sys.argv[1:]
spec = importlib.util.spec_from_file_location("bulk_world", helper)
world = sys.modules["bulk_world"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(world)
import meterbridge.services.bulk.sealing, meterbridge.adapters.bulk.seals
chance = random.Random(int(seed))

def seal(where, path):
    with world.bulk_world(Path(where), payers=4) as opened:
        opened.seal(Path(path), memory_bytes=int(memory))

def born(work, *arguments):
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child

def sizes():
    with world.bulk_world(Path(folder), payers=4) as opened:
        found = list(opened.bulk.ledger.log_sizes(opened.record.id).values()) or [0]
        print(json.dumps({"least": min(found), "most": max(found)}), flush=True)

start = time.perf_counter()
os.waitpid(born(seal, folder + "-dry", paths[0]), 0)
whole = time.perf_counter() - start
for path in paths:
    child = born(seal, folder, path)
    time.sleep(chance.random() * 1.2 * whole)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _, status = os.waitpid(born(sizes), 0)
    assert status == 0, status
"""


def kill(folder: Path, paths: list[Path], memory: int, seed: int) -> list[int]:
    """Seal each file and kill it; return how many batches every log had after each."""
    helper = Path(__file__).with_name("bulk_world.py")
    command = [sys.executable, "-c", NURSERY, str(folder), str(memory), str(seed), str(helper)]
    done = subprocess.run(
        [*command, *map(str, paths)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    states = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(states) == len(paths)
    assert all(state["least"] == state["most"] for state in states), states
    return [state["most"] for state in states]


def check_kills(new_bulk: World, tmp_path: Path, kills: int, memory: int, seed: int) -> list[int]:
    calls = make_calls(ROWS, PAYERS, seed)
    step = ROWS // (kills + 1)
    paths = [  # each file brings something new, and half of what the one before it had
        write_parquet(tmp_path / f"{n}.parquet", calls[max(0, n * step - step // 2) : (n + 1) * step], 100)
        for n in range(kills)
    ]
    folder = tmp_path / "ledger"
    sizes = kill(folder, paths, memory, seed)
    assert all(0 <= after - before <= 1 for before, after in zip([0, *sizes], sizes, strict=False))
    world = new_bulk(payers=PAYERS)
    for path in paths:
        world.seal(path)
    _check_all(world, calls[: kills * step])
    return sizes


def _check_all(world: Any, calls: list[Any]) -> None:
    """Every event is there once, every seal is sound, and nothing else is left in the folder."""
    ledger, source = world.bulk.ledger, SealedPeriods(world.folder / "segments")
    found: Counter[str] = Counter()
    for number, key in enumerate(world.keys):
        for table in receipts_of_period(ledger, source, key, 0, 2**47):
            found.update(table["event_id"].to_pylist())
        mine = [call.usage() for call in calls if call.customer == f"c{number}"]
        assert ledger.total(LogKey(key, LogKind.CHARGES)) == sum(mine, UsageVector.zero())
    assert found == Counter(call.id for call in calls)
    names = ledger.seal_names(world.record.id)
    assert [name for name in names if check_seal(world.folder / "segments", name) is None] == []
    left = {path.name for path in (world.folder / "segments").glob("*/bulk/*")}
    assert left == {Path(name).name for name in names}
    assert not (world.folder / "spill").exists()


def test_seals_that_are_killed_are_whole_or_never_were(new_bulk: World, tmp_path: Path) -> None:
    check_kills(new_bulk, tmp_path, 3, RECEIPT_MEMORY * 400, seed=11)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_many_seals_that_are_killed(new_bulk: World, tmp_path: Path, seed: int) -> None:
    sizes = check_kills(new_bulk, tmp_path, 30, RECEIPT_MEMORY * (10_000 if seed % 2 else 120), seed)
    assert 0 < sizes[-1] < 30, "some were killed before the commit, and some after it"
