"""A payer's receipts of a period, as NDJSON and Parquet: what was sealed one by one and at once alike."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_world import START, Call, bulk_world, make_calls, receipt_of, write_parquet
from typer.testing import CliRunner

from meterbridge.adapters.bulk.streaming import SealedPeriods, write_ndjson
from meterbridge.adapters.bulk.streaming import write_parquet as stream_parquet
from meterbridge.adapters.formats import UsageRow
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.units import UsageVector
from meterbridge.entrypoints.cli.app import app
from meterbridge.services.corrections import correct
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.metering import import_usage
from meterbridge.services.periods import lost_batches, receipts_of_period
from meterbridge.services.records import LogKind
from meterbridge.services.sealing import seal

World = Callable[..., Any]
DAY = 86_400_000


def seal_slowly(world: Any, calls: list[Call]) -> None:
    rows = [UsageRow(number, call.event()) for number, call in enumerate(calls, 1)]
    import_usage(world.bulk.ledger, world.record, rows)
    seal(world.bulk.ledger, FolderSegments(world.folder / "segments"), world.record.id)


def line_of(call: Call, batch: int) -> dict[str, Any]:
    return {
        "id": "0x" + receipt_of(call).id.hex(),
        "source": call.source,
        "event_id": call.id,
        "occurred_at": call.time,
        "usage": list(call.usage().lanes),
        "details": {} if call.model is None else {"model": call.model},
        "log": "charges",
        "batch": batch,
    }


def streamed(world: Any, payer: int, first: int = 0, stop: int = 2**47, **options: Any) -> Any:
    source = SealedPeriods(world.folder / "segments")
    return receipts_of_period(world.bulk.ledger, source, world.keys[payer], first, stop, **options)


def test_a_period_streams_as_json_and_parquet_however_it_was_sealed(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(4500, 3), new_bulk(payers=3)
    rounds = [calls[number::3] for number in range(3)]
    world.seal(write_parquet(tmp_path / "0.parquet", rounds[0]))
    seal_slowly(world, rounds[1])
    world.seal(write_parquet(tmp_path / "2.parquet", rounds[2]))
    first, stop = START + 3 * DAY, START + 11 * DAY
    wanted = [
        sorted(
            (line_of(c, n) for c in some if c.customer == "c1" and first <= c.time < stop),
            key=lambda line: line["id"],
        )
        for n, some in enumerate(rounds)
    ]
    sink = io.BytesIO()
    assert write_ndjson(streamed(world, 1, first, stop), sink) == sum(map(len, wanted))
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert lines == [line for batch in wanted for line in batch]
    sink = io.BytesIO()
    assert stream_parquet(streamed(world, 1, first, stop), sink) == len(lines)
    rows = pq.read_table(io.BytesIO(sink.getvalue())).to_pylist()
    for row, line in zip(rows, lines, strict=True):
        assert "0x" + row["id"].hex() == line["id"]
        assert [row[f"usage_{lane}"] for lane in range(8)] == line["usage"]
        assert round(row["occurred_at"].timestamp() * 1000) == line["occurred_at"]
        assert (row["source"], row["event_id"], row["log"]) == (line["source"], line["event_id"], "charges")
        assert (json.loads(row["details"] or "{}"), row["batch"]) == (line["details"], line["batch"])


def test_the_edges_of_a_period_are_its_first_millisecond_and_before_its_last(
    new_bulk: World, tmp_path: Path
) -> None:
    call, world = make_calls(1, 1)[0], new_bulk(payers=1)
    calls = [call._replace(id=str(n), time=START + n) for n in range(5)]
    world.seal(write_parquet(tmp_path / "a.parquet", calls))

    def found(first: int, stop: int) -> list[str]:
        tables = list(streamed(world, 0, first, stop))
        return sorted(text for table in tables for text in table["event_id"].to_pylist())

    assert found(START + 1, START + 3) == ["1", "2"]
    assert found(START, START + 5) == ["0", "1", "2", "3", "4"]
    assert found(START + 4, START + 4) == []
    assert found(START + 5, 2**47) == []


def test_credits_follow_and_may_be_asked_for_alone(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(300, 2), new_bulk(payers=2)
    world.seal(write_parquet(tmp_path / "a.parquet", calls))
    call = next(call for call in calls if call.customer == "c1" and call.input)
    segments = FolderSegments(world.folder / "segments")
    correct(
        world.bulk.ledger,
        segments,
        world.keys[1],
        receipt_of(call).id,
        replacement=None,
        occurred_at=START + 40 * DAY,
        reason="wrong",
    )
    seal(world.bulk.ledger, segments, world.record.id)
    sink = io.BytesIO()
    write_ndjson(streamed(world, 1), sink)
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    usage = [[n if line["log"] == "charges" else -n for n in line["usage"]] for line in lines]
    total = UsageVector.of(map(sum, zip(*usage, strict=True)))
    mine = [c.usage() for c in calls if c.customer == "c1" and c != call]
    assert total == sum(mine, UsageVector.zero())
    [credit] = [line for line in lines if line["log"] == "credits"]
    assert (credit["source"], credit["event_id"]) == ("void", receipt_of(call).id.hex())
    assert write_ndjson(streamed(world, 1, kinds=[LogKind.CREDITS]), io.BytesIO()) == 1
    assert lost_batches(world.bulk.ledger, world.keys[1]) == 0


def test_a_period_without_receipts_is_an_empty_file(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(100, 2), new_bulk(payers=3)
    world.seal(write_parquet(tmp_path / "calls.parquet", calls))
    for payer, first in ((2, 0), (0, START + 1000 * DAY)):
        sink = io.BytesIO()
        assert stream_parquet(streamed(world, payer, first), sink) == 0
        assert len(pq.read_table(io.BytesIO(sink.getvalue()))) == 0


def test_only_some_receipts_are_in_memory_at_a_time(
    new_bulk: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 70_000
    call = make_calls(1, 1)[0]
    columns = {name: [value] * count for name, value in call._asdict().items() if name != "model"}
    columns["id"] = [f"call-{n}" for n in range(count)]
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    world = new_bulk(payers=1)
    world.seal(tmp_path / "a.parquet")
    groups: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def read(self: Any, group: int, **options: Any) -> Any:
        groups.append(group)
        return whole(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    tables = streamed(world, 0)
    sizes = [len(next(tables))]
    assert len(groups) == 1
    sizes += [len(table) for table in tables]
    assert max(sizes) <= 16_384
    assert sum(sizes) == count


@pytest.mark.parametrize("how", ["at once", "one by one"])
def test_a_damaged_segment_is_named(new_bulk: World, tmp_path: Path, how: str) -> None:
    calls, world = make_calls(200, 1), new_bulk(payers=1)
    if how == "at once":
        world.seal(write_parquet(tmp_path / "calls.parquet", calls))
    else:
        seal_slowly(world, calls)
    for path in (world.folder / "segments").rglob("*.parquet"):
        if path.name != "batches.parquet":
            path.write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    with pytest.raises(BadSegment, match="cannot be read"):
        list(streamed(world, 0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger with 3,000 calls of three payers, sealed."""
    with bulk_world(tmp_path / "ledger", payers=3) as world:
        world.seal(write_parquet(tmp_path / "calls.parquet", make_calls(3000, 3)))
    return tmp_path / "ledger"


def run(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["receipts", *arguments, "--ledger", str(folder)])


def test_the_command_writes_lines_to_stdout_and_whole_files(folder: Path, tmp_path: Path) -> None:
    calls = [call for call in make_calls(3000, 3) if call.customer == "c1"]
    first, stop = START + 5 * DAY, START + 9 * DAY
    wanted = {call.id for call in calls if first <= call.time < stop}
    times = ["--from", str(first // 1000), "--until", str(stop // 1000)]
    done = run(folder, "--payer", "c1", *times)
    assert done.exit_code == 0
    assert {json.loads(line)["event_id"] for line in done.stdout.splitlines()} == wanted
    for kind in ("ndjson", "parquet"):
        out = tmp_path / f"out.{kind}"
        done = run(folder, "--payer", "c1", *times, "--format", kind, "--out", str(out), "--json")
        assert json.loads(done.stdout) == {"file": str(out), "format": kind, "receipts": len(wanted)}
        assert out.stat().st_mode & 0o777 == 0o600
    assert set(pq.read_table(tmp_path / "out.parquet")["event_id"].to_pylist()) == wanted
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == len(wanted)
    assert "receipts" in run(folder, "--payer", "c1", "--out", str(tmp_path / "all.ndjson")).stdout
    assert len((tmp_path / "all.ndjson").read_text().splitlines()) == len(calls)


def test_what_makes_no_sense_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "add --out" in run(folder, "--payer", "c1", "--json").stderr
    assert "no account 'nobody'" in run(folder, "--payer", "nobody").stderr
    assert "is no time" in run(folder, "--payer", "c1", "--from", "yesterday").stderr
    missing = run(folder, "--payer", "c1", "--out", str(tmp_path / "no folder" / "x"))
    assert missing.exit_code == 1
    assert "No such file" in missing.stderr


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    command = [sys.executable, "-m", "meterbridge", "receipts", "--payer", "c0", "--ledger", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        os.read(process.stdout.fileno(), 100)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
