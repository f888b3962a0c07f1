"""Out of a seal again: proofs of single receipts, whole batches, and streams of a payer's period."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_world import START, blind, make_calls, receipt_of, write_parquet

from meterbridge.adapters.bulk.layout import NODES, split_name
from meterbridge.adapters.bulk.reading import SealReader
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.receipts import receipt_id
from meterbridge.domain.sum_tree import verify_inclusion
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.records import LogKey, LogKind

World = Callable[..., Any]


def reader_of(world: Any) -> SealReader:
    return SealReader(world.folder / "segments")


def prove(world: Any, reader: SealReader, source: str, event_id: str) -> Any:
    """Find an event through the ledger and check the way from its leaf to its batch's root."""
    ledger = world.bulk.ledger
    located = ledger.locate(world.record.id, source, event_id)
    assert located is not None
    log, id_ = located
    place = ledger.find(log, id_)
    assert place is not None
    batch = ledger.batch(log, place.seq)
    seal, number = split_name(batch.segment or "") or ("", -1)
    manifest = reader.manifest(seal)
    table = reader.receipts(manifest, number, place.row, place.row + 1)
    path = reader.path(manifest, number, place.row)
    verify_inclusion(table.receipts.receipt(0).node(), place.row, batch.size, path, batch.root)
    return log, table


def test_any_receipt_is_proven_by_its_source_and_event_id(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(1800, 5), new_bulk()
    for number in range(3):
        world.seal(write_parquet(tmp_path / f"{number}.parquet", calls[number::3]))
    reader = reader_of(world)
    sizes = {
        batch.size for key in world.keys for batch in world.bulk.ledger.batches(LogKey(key, LogKind.CHARGES))
    }
    assert min(sizes) <= 32 < max(sizes), "both kinds of batches are here: with stored nodes and without"
    for call in random.Random(5).sample(calls, 60):
        log, table = prove(world, reader, call.source, call.id)
        assert log.account == world.keys[int(call.customer[1:])]
        assert table.receipts.receipt(0) == receipt_of(call)
        assert (table.sources, table.event_ids) == ([call.source], [call.id])


def test_a_payer_of_several_pieces_is_proven_at_its_seams(new_bulk: World, tmp_path: Path) -> None:
    count = 65_536 + 300
    table = pa.table(
        {
            "source": ["g"] * count,
            "id": [f"call-{i}" for i in range(count)],
            "time": START + np.arange(count),
            "customer": ["c0"] * count,
            "input": np.arange(count) % 977,
            "output": np.zeros(count, dtype=np.int64),
            "cached": np.zeros(count, dtype=np.int64),
        }
    )
    pq.write_table(table, tmp_path / "calls.parquet")
    world = new_bulk(payers=1)
    world.seal(tmp_path / "calls.parquet")
    ids = sorted((receipt_id(blind(0), "g", f"call-{i}"), i) for i in range(count))
    reader = reader_of(world)
    for row in (0, 31, 32, 65_535, 65_536, 65_567, 65_568, count - 1):
        log, found = prove(world, reader, "g", f"call-{ids[row][1]}")
        assert world.bulk.ledger.find(log, ids[row][0]).row == row
        assert found.receipts.usage[0, 0] == ids[row][1] % 977


def test_a_proof_takes_milliseconds_without_a_compiler(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(60_000, 5), new_bulk()
    world.seal(write_parquet(tmp_path / "calls.parquet", calls, row_group=60_000))
    reader, taken = reader_of(world), []
    for call in random.Random(1).sample(calls, 15):
        start = time.thread_time()  # other tests share the processor
        prove(world, reader, call.source, call.id)
        taken.append(time.thread_time() - start)
    assert sorted(taken)[7] < 0.05


def test_unknown_events_are_not_found(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(500, 5), new_bulk()
    world.seal(write_parquet(tmp_path / "calls.parquet", calls))
    ledger = world.bulk.ledger
    assert ledger.locate(world.record.id, "gateway-eu", "nobody's") is None
    assert ledger.locate(world.record.id, "another", calls[0].id) is None
    for key in world.keys:
        assert ledger.find(LogKey(key, LogKind.CHARGES), bytes(32)) is None
        assert ledger.find(LogKey(key, LogKind.CHARGES), b"\xff" * 32) is None


def test_a_batch_is_read_whole_and_checked(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(2000, 5), new_bulk()
    report = world.seal(write_parquet(tmp_path / "calls.parquet", calls))
    segments = FolderSegments(world.folder / "segments")
    for batch in report.batches:
        segment = segments.get(batch.segment)
        assert segment.meta.batch == batch
        assert segment.meta.account == world.bulk.ledger.account(batch.log.account)
        mine = sorted(
            (receipt_of(c) for c in calls if world.keys[int(c.customer[1:])] == batch.log.account),
            key=lambda receipt: receipt.id,
        )
        assert [segment.table.receipts.receipt(i) for i in range(len(segment.table))] == mine
    with pytest.raises(BadSegment, match="has no batch 99"):
        segments.get(f"{(batch.segment or '').partition('#')[0]}#99")


@pytest.mark.parametrize("damage", ["part", "nodes", "cut nodes"])
def test_damage_is_noticed_and_not_proven(new_bulk: World, tmp_path: Path, damage: str) -> None:
    calls, world = make_calls(3000, 2), new_bulk(payers=2)
    report = world.seal(write_parquet(tmp_path / "calls.parquet", calls))
    folder = world.folder / "segments" / (report.batches[0].segment or "").partition("#")[0]
    file = folder / ("part-00000.parquet" if damage == "part" else NODES)
    if damage == "part":
        table = pq.read_table(file, partitioning=None)
        more = pa.array([n + 1 for n in table["usage_0"].to_pylist()], pa.int64())
        pq.write_table(table.set_column(table.schema.get_field_index("usage_0"), "usage_0", more), file)
    else:
        data = bytearray(file.read_bytes())
        file.write_bytes(data[:4000] if "cut" in damage else data[:2000] + bytes(len(data) - 2000))
    damaged = 0
    for call in calls[:60]:
        try:
            prove(world, reader_of(world), call.source, call.id)
        except BadSegment:
            damaged += 1
    assert damaged > 10
