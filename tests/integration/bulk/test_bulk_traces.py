"""Real traces, replayed many times under new ids: what is sealed adds up to the files' own sums, exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meterbridge.adapters.bulk.scan import Files, scan_files
from meterbridge.adapters.formats import ColumnMap, UsageRow, read_usage
from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk.sealing import Scanning, SealOptions
from meterbridge.services.records import LogKey, LogKind

World = Callable[..., Any]
TRACES = (
    "AzureLLMInferenceTrace_code.csv",
    "AzureLLMInferenceTrace_conv.csv",
    "mooncake_conversation_trace.jsonl",
)
BLOCK = 512
BUCKETS = ("input", "cache_read", "output")


def sums_of(path: Path) -> tuple[int, list[int]]:
    """Return rows, and tokens of input, output and cache: by plain Python, from the file as it stands."""
    if path.suffix == ".csv":
        lines = [line.split(",") for line in path.read_text().splitlines()[1:] if line]
        return len(lines), [sum(int(line[1]) for line in lines), sum(int(line[2]) for line in lines), 0]
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    seen: set[int] = set()
    cached = 0
    for row in rows:
        known = next(
            (i for i, block in enumerate(row["hash_ids"]) if block not in seen), len(row["hash_ids"])
        )
        cached += min(known * BLOCK, row["input_length"])
        seen.update(row["hash_ids"])
    whole, output = (sum(row[name] for row in rows) for name in ("input_length", "output_length"))
    return len(rows), [whole - cached, output, cached]


def replay(path: Path, times: int, column_map: ColumnMap | None) -> Callable[[Scanning], Iterator[Any]]:
    """Scan a file again and again, each time as another source, hence under new ids."""

    def scan(scanning: Scanning) -> Iterator[Any]:
        files = (Files([path], column_map, f"replay {n}", f"c{n % 3}") for n in range(times))
        return chain.from_iterable(scan_files(one)(scanning) for one in files)

    return scan


def check_replays(
    world: Any,
    path: Path,
    times: int,
    column_map: ColumnMap | None = None,
    said: tuple[int, list[int]] | None = None,
) -> None:
    """Seal half of the replays, then all, and compare with the sums of the trace's own file."""
    rows, sums = said or sums_of(path)
    chosen = SealOptions(retention_days=None)
    half = world.bulk.sealing.seal(world.record.id, replay(path, times // 2, column_map), chosen)
    done = world.bulk.sealing.seal(world.record.id, replay(path, times, column_map), chosen)
    assert (half.sealed, half.repeated) == (rows * (times // 2), 0)
    assert (done.sealed, done.repeated) == (rows * (times - times // 2), rows * (times // 2))
    wanted = UsageVector.of([*(n * times for n in sums), 0, 0, 0, 0, 0])
    assert half.totals + done.totals == wanted
    ledger, logs = world.bulk.ledger, [LogKey(key, LogKind.CHARGES) for key in world.keys]
    assert sum((ledger.total(log) for log in logs), UsageVector.zero()) == wanted
    assert sum(batch.size for log in logs for batch in ledger.batches(log)) == rows * times
    for number, log in enumerate(logs):
        mine = len(range(number, times, 3))
        assert ledger.total(log) == UsageVector.of([*(n * mine for n in sums), 0, 0, 0, 0, 0])


def as_parquet(path: Path, target: Path) -> Path:
    """Read a trace's calls once and write them as columns: its JSON takes too long a thousand times."""
    events = [row.event for row in read_usage(path) if isinstance(row, UsageRow)]
    columns = {bucket: [event.buckets.get(bucket, 0) for event in events] for bucket in BUCKETS}
    times = pa.array([event.occurred_at for event in events], pa.timestamp("ms"))
    pq.write_table(pa.table({"id": [event.id for event in events], "time": times, **columns}), target)
    return target


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_that_is_replayed_adds_up(new_bulk: World, shared_data: Path, name: str) -> None:
    times = 2 if name.endswith("jsonl") else 6
    check_replays(new_bulk(payers=3), shared_data / name, times)


@pytest.mark.long
@pytest.mark.parametrize("name", TRACES)
def test_a_trace_that_is_replayed_a_thousandfold_adds_up(
    new_bulk: World, shared_data: Path, tmp_path: Path, name: str
) -> None:
    path, column_map = shared_data / name, None
    if name.endswith("jsonl"):
        path = as_parquet(path, tmp_path / "trace.parquet")
        column_map = ColumnMap.parse("id=id time=time " + " ".join(f"{b}={b}" for b in BUCKETS))
    check_replays(new_bulk(payers=3), path, 1000, column_map, sums_of(shared_data / name))
