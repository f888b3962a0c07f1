"""Bulk sealing gives the batches that the domain gives, whatever the files, their order and the memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_world import (
    COLUMNS,
    START,
    Call,
    blind,
    expected,
    make_calls,
    write_csv,
    write_ndjson,
    write_parquet,
)

from meterbridge.domain.receipts import receipt_id
from meterbridge.domain.sum_tree import SumTree, log_element
from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk.intake import RECEIPT_MEMORY
from meterbridge.services.log_tree import state_at
from meterbridge.services.metering import import_usage
from meterbridge.services.records import LogKey, LogKind
from meterbridge.services.sealing import seal

World = Callable[..., Any]
WRITERS = {"parquet": write_parquet, "csv": write_csv, "ndjson": write_ndjson}


@pytest.mark.parametrize("kind", WRITERS)
def test_each_kind_of_file_gives_the_domains_batches(new_bulk: World, tmp_path: Path, kind: str) -> None:
    calls, world = make_calls(4000, 5), new_bulk()
    report = world.seal(WRITERS[kind](tmp_path / f"calls.{kind}", calls))
    assert world.roots(report) == expected(calls)
    assert (report.sealed, report.repeated, report.bad) == (4000, 0, [])
    assert report.totals == UsageVector.of(np.array([c.usage().lanes for c in calls]).sum(axis=0).tolist())


def test_the_order_of_calls_files_and_row_groups_changes_nothing(new_bulk: World, tmp_path: Path) -> None:
    calls = make_calls(5000, 5)
    wanted = expected(calls)
    for seed in range(3):
        random.Random(seed).shuffle(calls)
        parts = [calls[seed::3], calls[(seed + 1) % 3 :: 3], calls[(seed + 2) % 3 :: 3]]
        paths = [
            write_parquet(tmp_path / f"{seed}.parquet", parts[0], row_group=177 * (seed + 1)),
            write_csv(tmp_path / f"{seed}.csv", parts[1]),
            write_ndjson(tmp_path / f"{seed}.ndjson", parts[2]),
        ]
        world = new_bulk(f"ledger{seed}")
        assert world.roots(world.seal(*paths)) == wanted


def test_a_payer_of_many_pieces_beside_payers_of_one_receipt(new_bulk: World, tmp_path: Path) -> None:
    """Two pieces and a bit for the first payer: the trees of pieces must join as one."""
    count, payers = 2 * 65_536 + 300, 40
    customers = np.where(np.arange(count) % 1000 == 999, np.arange(count) // 1000 % payers, 0)
    table = pa.table(
        {
            "source": ["gateway"] * count,
            "id": [f"call-{i}" for i in range(count)],
            "time": START + np.arange(count),
            "customer": [f"c{c}" for c in customers.tolist()],
            "input": np.arange(count) % 977,
            "output": np.arange(count) % 89,
            "cached": np.zeros(count, dtype=np.int64),
        }
    )
    pq.write_table(table, tmp_path / "calls.parquet", row_group_size=50_000)
    world = new_bulk(payers=payers)
    report = world.seal(tmp_path / "calls.parquet")
    calls = [Call(*row) for row in zip(*(_column(table, name) for name in COLUMNS), strict=True)]
    assert world.roots(report) == expected(calls)


def _column(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist() if name in table.schema.names else [None] * len(table)


@pytest.mark.parametrize("rows", [500, 3000])
def test_what_exceeds_memory_goes_through_disk_and_gives_the_same(
    new_bulk: World, tmp_path: Path, rows: int
) -> None:
    calls = make_calls(9000, 5)
    doubled = calls + calls[100:4000:7]
    random.Random(3).shuffle(doubled)
    path = write_parquet(tmp_path / "calls.parquet", doubled, row_group=400)
    world = new_bulk()
    report = world.seal(path, memory_bytes=rows * RECEIPT_MEMORY)
    assert world.roots(report) == expected(calls)
    assert report.repeated == len(doubled) - len(calls)
    assert not (world.folder / "spill").exists()


def test_one_by_one_and_at_once_are_the_same_log(new_bulk: World, tmp_path: Path) -> None:
    """Another ledger takes the same calls one by one, through SQL, and seals them in the same rounds."""
    rounds = [make_calls(800, 4, seed) for seed in range(5)]
    one, at_once = new_bulk("one", payers=4), new_bulk("at-once", payers=4)
    for number, calls in enumerate(rounds):
        rows = [_Row(i, call.event()) for i, call in enumerate(calls)]
        import_usage(one.bulk.ledger, one.record, rows)
        seal(one.bulk.ledger, _segments(one), one.record.id)
        at_once.seal(write_parquet(tmp_path / f"{number}.parquet", calls))
    for key in one.keys:
        log = LogKey(key, LogKind.CHARGES)
        ledgers = [world.bulk.ledger for world in (one, at_once)]
        states = [state_at(ledger.log_size(log), partial(ledger.tree_nodes, log)) for ledger in ledgers]
        assert states[0] == states[1]
        assert one.bulk.ledger.total(log) == at_once.bulk.ledger.total(log) == states[0].root.sum
        batches = list(at_once.bulk.ledger.batches(log))
        tree = SumTree.of([log_element(batch.size, batch.root) for batch in batches])
        assert tree.root == states[1].root


class _Row(tuple[int, Any]):
    """A row as a reader gives it."""

    def __new__(cls, row_number: int, event: Any) -> _Row:
        return super().__new__(cls, (row_number, event))

    row_number = property(lambda self: self[0])
    event = property(lambda self: self[1])


def _segments(world: Any) -> Any:
    from meterbridge.adapters.segments import FolderSegments

    return FolderSegments(world.folder / "segments")


def test_parts_hold_the_receipts_in_order_for_any_reader_of_parquet(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(3000, 5), new_bulk()
    report = world.seal(write_parquet(tmp_path / "calls.parquet", calls))
    seal_name = (report.batches[0].segment or "").partition("#")[0]
    table = pq.read_table(world.folder / "segments" / seal_name / "part-00000.parquet", partitioning=None)
    rows = table.to_pylist()
    order = [str(key.payer) for key in world.keys]
    assert [(order.index(row["payer"]), row["id"]) for row in rows] == sorted(
        (order.index(row["payer"]), row["id"]) for row in rows
    )
    found = {(row["source"], row["event_id"]): row for row in rows}
    assert len(found) == len(calls)
    for call in calls:
        row = found[call.source, call.id]
        payer = int(call.customer[1:])
        assert row["payer"] == order[payer]
        assert row["id"] == receipt_id(blind(payer), call.source, call.id)
        assert int(row["occurred_at"].timestamp() * 1000 + 0.5) == call.time
        assert tuple(row[f"usage_{lane}"] for lane in range(8)) == call.usage().lanes
        assert row["details"] == ("" if call.model is None else f'{{"model":"{call.model}"}}')


def test_an_input_without_anything_new_leaves_no_trace(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(500, 3), new_bulk(payers=3)
    path = write_csv(tmp_path / "calls.csv", calls)
    world.seal(path)
    before = sorted(p for p in (world.folder / "segments").rglob("*"))
    report = world.seal(path)
    assert (report.sealed, report.repeated, report.batches) == (0, 500, [])
    assert sorted(p for p in (world.folder / "segments").rglob("*")) == before
