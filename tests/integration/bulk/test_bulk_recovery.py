"""A seal says everything again: the ledger is rebuilt from seals and segments, and damage is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_world import START, bulk_world, make_calls, receipt_of, write_parquet

from meterbridge.adapters.bulk.checking import check_seal
from meterbridge.adapters.bulk.folder import open_bulk
from meterbridge.adapters.bulk.restoring import LostSeals
from meterbridge.adapters.formats import UsageRow
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.units import UsageVector
from meterbridge.services.corrections import correct
from meterbridge.services.ledger_errors import BadSegment, Conflict
from meterbridge.services.log_tree import state_at
from meterbridge.services.metering import import_usage
from meterbridge.services.records import LogKey, LogKind
from meterbridge.services.recovery import rebuild
from meterbridge.services.sealing import seal

World = Callable[..., Any]


def states(ledger: Any, keys: list[Any]) -> list[Any]:
    logs = [LogKey(key, kind) for key in keys for kind in LogKind]
    return [
        (state_at(ledger.log_size(log), partial(ledger.tree_nodes, log)), ledger.total(log)) for log in logs
    ]


def replacing(world: Any, call: Any) -> None:
    """Correct a sealed call, which seals a segment of its own on top."""
    segments = FolderSegments(world.folder / "segments")
    account = world.keys[int(call.customer[1:])]
    usage = UsageVector.of([1, 1, 0, 0, 0, 0, 0, 0])
    correct(
        world.bulk.ledger,
        segments,
        account,
        receipt_of(call).id,
        replacement=usage,
        occurred_at=START,
        reason="x",
    )
    seal(world.bulk.ledger, segments, world.record.id)


@pytest.fixture
def lived_in(new_bulk: World, tmp_path: Path) -> Any:
    """A ledger in which seals and segments take turns; 70,000 receipts, so that one payer has two pieces."""
    world = new_bulk(payers=3)
    calls = make_calls(3000, 3)
    count = 70_000
    table = pa.table(
        {
            "source": ["g"] * count,
            "id": [f"big-{i}" for i in range(count)],
            "time": START + np.arange(count),
            "customer": ["c0"] * count,
            "input": np.arange(count) % 7,
            "output": np.zeros(count, dtype=np.int64),
            "cached": np.zeros(count, dtype=np.int64),
        }
    )
    world.seal(write_parquet(tmp_path / "a.parquet", calls[:1500]))
    replacing(world, next(c for c in calls if c.customer == "c0"))
    pq.write_table(table, tmp_path / "b.parquet")
    world.seal(tmp_path / "b.parquet", write_parquet(tmp_path / "c.parquet", calls[1500:]))
    replacing(world, next(c for c in calls if c.customer == "c1"))
    world.calls, world.paths = calls, [tmp_path / f"{name}.parquet" for name in "abc"]
    return world


def rebuilt(folder: Path, segments: Path) -> Any:
    opened = open_bulk(folder)
    bulk = opened.__enter__()
    report = rebuild(bulk.ledger, FolderSegments(segments), seals_of=lambda: LostSeals(bulk.ledger, segments))
    return opened, bulk, report


def test_a_lost_ledger_is_rebuilt_from_seals_and_segments(lived_in: Any, tmp_path: Path) -> None:
    wanted = states(lived_in.bulk.ledger, lived_in.keys)
    shutil.copytree(lived_in.folder / "segments", tmp_path / "again" / "segments")
    opened, bulk, report = rebuilt(tmp_path / "again", tmp_path / "again" / "segments")
    with bulk.ledger:
        assert states(bulk.ledger, lived_in.keys) == wanted
        assert report.receipts == 73_000 + 4
        assert bulk.ledger.accounts(lived_in.record.id) == lived_in.bulk.ledger.accounts(lived_in.record.id)
    opened.__exit__(None, None, None)
    with bulk_world(tmp_path / "again", payers=3) as world:
        repeat = world.seal(*lived_in.paths)
        assert (repeat.sealed, repeat.repeated) == (0, 73_000)
        again = rebuild(
            world.bulk.ledger,
            FolderSegments(tmp_path / "again" / "segments"),
            seals_of=lambda: LostSeals(world.bulk.ledger, tmp_path / "again" / "segments"),
        )
        assert (again.batches, again.receipts) == (0, 0)


def test_a_seal_in_the_middle_that_is_missing_is_noticed(lived_in: Any, tmp_path: Path) -> None:
    shutil.copytree(lived_in.folder / "segments", tmp_path / "again" / "segments")
    [first, _] = sorted((tmp_path / "again" / "segments").glob("*/bulk/*"))
    shutil.rmtree(first)
    with pytest.raises(BadSegment, match="follows on batch"):
        rebuilt(tmp_path / "again", tmp_path / "again" / "segments")


def test_another_batch_in_the_place_of_a_seals_is_a_conflict(lived_in: Any, tmp_path: Path) -> None:
    with bulk_world(tmp_path / "other", payers=3) as other:
        rows = [UsageRow(number, call.event()) for number, call in enumerate(make_calls(20, 3, seed=9))]
        import_usage(other.bulk.ledger, other.record, rows)
        seal(other.bulk.ledger, FolderSegments(tmp_path / "other" / "segments"), other.record.id)
        lost = LostSeals(other.bulk.ledger, lived_in.folder / "segments")
        with pytest.raises(Conflict, match="another batch 0"):
            lost.restore_next()


def seal_path(world: Any, number: int = 1) -> Path:
    return sorted((world.folder / "segments").glob("*/bulk/*"))[number]


def test_a_sound_seal_passes(lived_in: Any) -> None:
    for path in (seal_path(lived_in, 0), seal_path(lived_in, 1)):
        name = path.relative_to(lived_in.folder / "segments").as_posix()
        assert check_seal(lived_in.folder / "segments", name).sizes.sum() > 0


def change_column(path: Path, column: str, change: Callable[[list[Any]], list[Any]]) -> None:
    part = path / "part-00000.parquet"
    table = pq.read_table(part, partitioning=None)
    index = table.schema.get_field_index(column)
    field = table.schema.field(index)
    changed = pa.array(change(table[column].to_pylist()), field.type)
    pq.write_table(table.set_column(index, field, changed), part)


def swapped(values: list[Any]) -> list[Any]:
    return [values[1], values[0], *values[2:]]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "usage": lambda p: change_column(p, "usage_0", lambda v: [v[0] + 1, *v[1:]]),
    "negative": lambda p: change_column(p, "usage_0", lambda v: [-1, *v[1:]]),
    "event id": lambda p: change_column(p, "event_id", lambda v: ["x", *v[1:]]),
    "details": lambda p: change_column(p, "details", lambda v: ['{"a":1}', *v[1:]]),
    "source": lambda p: change_column(p, "source", lambda v: ["other", *v[1:]]),
    "id": lambda p: change_column(p, "id", lambda v: [bytes(32), *v[1:]]),
    "order": lambda p: [change_column(p, c, swapped) for c in ("id", "event_id", "source", "occurred_at")],
    "nodes": lambda p: (p / "nodes").write_bytes((p / "nodes").read_bytes()[:-96] + bytes(96)),
    "short nodes": lambda p: (p / "nodes").write_bytes((p / "nodes").read_bytes()[:-96]),
    "events": lambda p: (p / "events").write_bytes(bytes(24) + (p / "events").read_bytes()[24:]),
    "no part": lambda p: (p / "part-00000.parquet").unlink(),
    "cut part": lambda p: (p / "part-00000.parquet").write_bytes(b"PAR1" * 20),
    "manifest": lambda p: (p / "batches.parquet").write_bytes(b"PAR1" * 20),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_kind_of_damage_is_found(new_bulk: World, tmp_path: Path, damage: str) -> None:
    world = new_bulk(payers=3)
    world.seal(write_parquet(tmp_path / "a.parquet", make_calls(1200, 3)))
    path = seal_path(world, 0)
    DAMAGE[damage](path)
    with pytest.raises(BadSegment):
        check_seal(world.folder / "segments", path.relative_to(world.folder / "segments").as_posix())
