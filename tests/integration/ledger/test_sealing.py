"""Batches are what the protocol says, sealed once, and durable before the ledger knows them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from metered_world import World, event

from meterbridge.domain.receipts import Receipt, ReceiptColumns, batch_tree, details_hash, receipt_id
from meterbridge.domain.sum_tree import SumTree, log_element
from meterbridge.domain.units import UsageVector
from meterbridge.services import sealing
from meterbridge.services.ledger_errors import BadSegment, Conflict, LedgerBehindSegments, LedgerBusy
from meterbridge.services.ports import Segment, SegmentMeta
from meterbridge.services.records import BatchRecord, LogKey


def expected_receipts(world: World, payer: int, events: list[Any]) -> list[Receipt]:
    """Build an account's receipts one by one, by the domain's scalar functions."""
    return [
        Receipt(
            receipt_id(world.blind(payer), e.source, e.id),
            e.occurred_at,
            UsageVector.of([e.buckets["input"], e.buckets["output"], e.buckets["cache_read"], 0, 0, 0, 0, 0]),
            details_hash(e.details),
        )
        for e in events
        if e.payer == f"c{payer}"
    ]


def test_a_batch_is_the_sorted_tree_of_its_receipts(world: World) -> None:
    events = world.events(200)
    world.take(events)
    batches = world.seal()
    assert [batch.log for batch in batches] == [world.charges(i) for i in range(3)]
    for payer, batch in enumerate(batches):
        receipts = sorted(expected_receipts(world, payer, events), key=lambda r: r.id)
        assert batch.root == batch_tree(ReceiptColumns.of(receipts)).root
        assert (batch.seq, batch.size) == (0, len(receipts))
        segment = world.segments.get(batch.segment or "")
        assert [segment.table.receipts.receipt(i) for i in range(batch.size)] == receipts
        assert segment.meta.batch == batch
        assert segment.meta.account == world.ledger.account(batch.log.account)
    assert world.ledger.pending_count(world.record.id) == 0


def test_logs_grow_by_batches(world: World) -> None:
    for i in range(5):
        world.take(world.events(30, first=30 * i))
        world.seal()
    for log in world.logs():
        batches = list(world.ledger.batches(log))
        assert [batch.seq for batch in batches] == list(range(len(batches)))
        elements = [log_element(batch.size, batch.root) for batch in batches]
        assert [world.ledger.tree_nodes(log, [(0, i)])[0] for i in range(len(batches))] == elements
        if elements:
            total = SumTree.of(elements).root.sum
            assert total == world.ledger.total(log)
    assert len(world.sealed_receipts()) == 150


def test_nothing_pending_seals_nothing(world: World) -> None:
    assert world.seal() == []
    world.take(world.events(10))
    assert world.seal()
    assert world.seal() == []


def test_a_large_backlog_becomes_several_batches(world: World) -> None:
    events = world.events(100)
    world.take(events)
    done: list[int] = []
    batches = world.seal(max_receipts=20, on_progress=done.append)
    by_payer = Counter(e.payer for e in events)
    for payer in range(3):
        sizes = [b.size for b in batches if b.log == world.charges(payer)]
        count = by_payer[f"c{payer}"]
        assert sizes == [20] * (count // 20) + ([count % 20] if count % 20 else [])
    assert done[-1] == 100
    assert len(world.sealed_receipts()) == 100


def test_the_oldest_arrivals_are_sealed_first(world: World) -> None:
    events = [event(n, "c0", input=1) for n in range(30)]
    world.take(events)
    first, *_ = world.seal(max_receipts=10)
    table = world.segments.get(first.segment or "").table
    assert sorted(table.event_ids) == [f"call-{n:06d}" for n in range(10)]


def test_segments_can_be_read_by_anyone(world: World) -> None:
    world.take(world.events(20))
    for batch in world.seal():
        table = pq.read_table(world.folder / "segments" / (batch.segment or ""))
        assert table.column_names[:2] == ["id", "occurred_at"]
        sums = tuple(sum(table[f"usage_{lane}"].to_pylist()) for lane in range(8))
        assert sums == batch.root.sum.lanes
        payer = str(batch.log.account.payer)
        seq_and_root = f"{batch.seq:08d}-{batch.root.hash.hex()[:8]}"
        assert batch.segment == f"{world.record.id.hex()[:8]}/{payer}/charges/{seq_and_root}.parquet"


def leave_an_orphan(world: World, log: LogKey) -> str:
    """Write the segment of the next batch and stop there, as a crash would."""
    pending = sealing._in_batch_order(world.ledger.pending(log))
    root = batch_tree(pending.table.receipts).root
    batch = BatchRecord(log, world.ledger.log_size(log), len(pending.table), root, None)
    meta = SegmentMeta(batch, world.ledger.account(log.account))
    (name,) = world.segments.put([Segment(meta, pending.table)])
    return name


def test_an_orphan_whose_receipts_are_pending_is_swept(world: World) -> None:
    world.take([event(1, "c0", input=1)])
    orphan = leave_an_orphan(world, world.charges(0))
    (world.folder / "segments" / orphan).with_name(".00000000-abc.parquet.99.tmp").write_bytes(b"half")
    world.take([event(2, "c0", input=1)])
    (batch,) = world.seal()
    assert batch.size == 2
    assert batch.segment != orphan
    assert list(world.segments.names()) == [batch.segment]
    assert not list((world.folder / "segments").rglob("*.tmp"))


def test_an_orphan_with_unknown_receipts_is_never_removed(world: World, new_world: Any) -> None:
    older = new_world("backup")
    events = [event(n, "c0", input=1) for n in range(3)]
    world.take(events)
    older.take(events[:1])
    world.seal()
    older.segments = world.segments  # a ledger restored from a backup, beside the segments of today
    with pytest.raises(LedgerBehindSegments, match="2 receipts that the ledger neither sealed nor awaits"):
        older.seal()
    assert len(world.sealed_receipts()) == 3
    assert older.ledger.pending_count(world.record.id) == 1


def test_only_one_process_seals_at_a_time(world: World, new_world: Any) -> None:
    other = new_world(fresh=False)
    world.take(world.events(10))
    with (
        other.ledger.sole_writer(),
        pytest.raises(LedgerBusy, match="another process"),
        world.ledger.sole_writer(0.1),
    ):
        pytest.fail("two writers at once")
    assert world.seal()


def test_a_receipt_that_changes_while_it_is_sealed_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.take([event(1, "c0", input=10)])
    log, put = world.charges(0), world.segments.put

    def put_and_change(segments: Any) -> list[str]:
        pending = world.ledger.pending(log)
        changed = pending.table.receipts.receipt(0)
        columns = ReceiptColumns.of([Receipt(changed.id, 1, UsageVector.of([9] + [0] * 7), changed.details)])
        table = pending.table
        world.ledger.replace_pending(
            log, int(pending.arrivals[0]), type(table)(columns, table.sources, table.event_ids, table.details)
        )
        return put(segments)

    monkeypatch.setattr(world.segments, "put", put_and_change)
    with pytest.raises(Conflict, match="1 receipts changed while they were sealed"):
        world.seal()
    monkeypatch.undo()
    assert world.ledger.log_size(log) == 0
    (batch,) = world.seal()
    assert batch.root.sum.lanes[0] == 9


@pytest.mark.parametrize("what", ["cut", "other rows"])
def test_a_damaged_segment_is_noticed(world: World, what: str) -> None:
    world.take(world.events(20))
    batch = world.seal()[0]
    path = world.folder / "segments" / (batch.segment or "")
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)
    with pytest.raises(BadSegment, match=str(batch.segment)):
        world.segments.get(batch.segment or "")


@pytest.mark.parametrize(
    "column", ["source", "event_id", "details", "details_hash", "id", "usage_3", "occurred_at"]
)
def test_every_column_of_a_segment_is_bound_to_its_root(world: World, column: str) -> None:
    world.take([event(1, "c0", input=1), event(2, "c0", input=2)])
    batch = world.seal()[0]
    path = world.folder / "segments" / (batch.segment or "")
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[0] = {"source": "gatewax", "usage_3": 1}.get(column, values[1])
    place = table.schema.get_field_index(column)
    field = table.schema.field(place)
    changed = table.set_column(place, field, pa.array(values, field.type))
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(BadSegment, match="damaged"):
        world.segments.get(batch.segment or "")


def test_many_small_payers_share_transactions(new_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = new_world(payers=40)
    world.take([event(n, f"c{n % 40}", input=n + 1) for n in range(80)])
    commits: list[int] = []
    commit = world.ledger.commit_batches

    def counted(sealed: Any) -> None:
        commits.append(len(sealed))
        commit(sealed)

    monkeypatch.setattr(world.ledger, "commit_batches", counted)
    monkeypatch.setattr(sealing, "GROUP_BATCHES", 15)
    assert len(world.seal()) == 40
    assert commits == [15, 15, 10]
    assert len(world.sealed_receipts()) == 80
