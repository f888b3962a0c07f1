"""The tasks of a seal give what one machine gives, in any order and however often they are tried."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("pyspark", reason='PySpark is not installed: pip install "meterbridge[spark]"')

from bulk_world import COLUMNS, MAP, START, Call, expected, make_calls, write_csv, write_ndjson, write_parquet
from spark_world import Frame, Stepwise, logs_of, require_same_store, require_sound, seal_on

from meterbridge.adapters.bulk.scan import Files
from meterbridge.adapters.bulk.stores import Store
from meterbridge.adapters.formats.errors import BadFile
from meterbridge.adapters.spark.cells import Cells, checksum, count_cells, cuts_of
from meterbridge.adapters.spark.rows import CHANGE, FILE, NOT_CALLS, ROW, VALUE, RowReader
from meterbridge.adapters.spark.sealing import SparkOptions, SparkSealing
from meterbridge.adapters.spark.sources import FileSource, Input
from meterbridge.adapters.spark.store import SparkSeals
from meterbridge.adapters.spark.work import TaskFailed
from meterbridge.domain.receipt_rows import RECEIPT
from meterbridge.services.bulk import plan as plans
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.ledger_errors import BadUsage, HeadroomExceeded, UsageConflict
from meterbridge.services.metering import import_usage

World = Callable[..., Any]


@pytest.fixture(autouse=True)
def _same_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests say when they were made."""
    monkeypatch.setattr("time.time_ns", lambda: (START + 86_400_000) * 1_000_000)


def files_of(folder: Path, calls: list[Call]) -> list[Path]:
    return [
        write_parquet(folder / "calls.parquet", calls[::3], row_group=177),
        write_csv(folder / "calls.csv", calls[1::3]),
        write_ndjson(folder / "calls.ndjson", calls[2::3]),
    ]


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_any_cut_of_the_work_gives_the_domains_batches_and_one_machines_files(
    new_bulk: World, tmp_path: Path, partitions: int
) -> None:
    calls = make_calls(4000, 5)
    doubled = calls + calls[100:900:7]
    random.Random(partitions).shuffle(doubled)
    paths = files_of(tmp_path, doubled)
    one, many = new_bulk("one"), new_bulk("many")
    reports = one.seal(*paths), seal_on(Stepwise(partitions, attempts=2), many, *paths, partitions=partitions)
    assert many.roots(reports[1]) == expected(calls)
    for report in reports:
        assert (report.sealed, report.repeated, report.bad) == (4000, len(doubled) - 4000, [])
    assert reports[0].totals == reports[1].totals
    assert logs_of(one) == logs_of(many)
    require_same_store(one.folder / "segments", many.folder / "segments")


def test_parts_are_cut_between_any_two_receipts(
    new_bulk: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payers of several pieces, whose pieces lie in several parts, beside payers of a few receipts."""
    monkeypatch.setattr(plans, "BLOCKS_PER_PART", 1)
    monkeypatch.setattr("meterbridge.adapters.spark.cells.CELL_RECEIPTS", 1000)
    count, payers = 2 * 65_536 + 70_300, 30
    customers = np.where(np.arange(count) % 3 > 0, 1, np.arange(count) // 3 % payers)
    columns = {
        "source": ["gateway"] * count,
        "id": [f"call-{i}" for i in range(count)],
        "time": START + np.arange(count),
        "customer": [f"c{c}" for c in customers.tolist()],
        "input": np.arange(count) % 977,
        "output": np.arange(count) % 89,
        "cached": np.zeros(count, dtype=np.int64),
    }
    pq.write_table(pa.table(columns), tmp_path / "calls.parquet", row_group_size=50_000)
    one, many = new_bulk("one", payers=payers), new_bulk("many", payers=payers)
    one.seal(tmp_path / "calls.parquet")
    report = seal_on(Stepwise(), many, tmp_path / "calls.parquet", partitions=3)
    require_same_store(one.folder / "segments", many.folder / "segments")
    assert len(list((many.folder / "segments").rglob("part-*.parquet"))) > 3
    require_sound(many, report)


def test_history_is_left_out_and_contradictions_are_named_as_on_one_machine(
    new_bulk: World, tmp_path: Path
) -> None:
    calls = make_calls(1500, 4)
    changed = [c._replace(output=c.output + 1) for c in calls[:20]]
    bad = [c._replace(id=f"bad-{n}", input=-1) for n, c in enumerate(calls[:3])]
    later = make_calls(500, 4, seed=2)
    first = write_parquet(tmp_path / "first.parquet", calls)
    second = write_parquet(tmp_path / "second.parquet", calls[20:] + changed + bad + later + changed[:5])
    worlds = new_bulk("one", payers=4), new_bulk("many", payers=4)
    for world in worlds:  # some events came one by one, before and apart from any seal
        rows = [_Row((i, c.event())) for i, c in enumerate(later[:100])]
        import_usage(world.bulk.ledger, world.record, rows)
    one, many = worlds
    one.seal(first)
    assert seal_on(Stepwise(), many, first, partitions=2).sealed == len(calls)
    for skip, error in ((False, BadUsage),):
        with pytest.raises(error, match=r"row \d+: .*second\.parquet"):
            seal_on(Stepwise(), many, second, partitions=3, skip_bad=skip)
    reports = one.seal(second, skip_bad=True), seal_on(Stepwise(3), many, second, skip_bad=True)
    for report in reports:
        assert (report.sealed, report.repeated, report.left_out) == (400, 1480 + 100, 28)
    assert sorted(reports[0].bad, key=_place) == sorted(reports[1].bad, key=_place)
    assert logs_of(one) == logs_of(many)
    require_same_store(one.folder / "segments", many.folder / "segments")


def _place(pair: Any) -> tuple[str, int]:
    return pair[0], pair[1].row_number


class _Row(tuple[int, Any]):
    """A row as a reader gives it."""

    row_number = property(lambda self: self[0])
    event = property(lambda self: self[1])


def test_a_contradiction_stops_a_seal_and_leaves_nothing(new_bulk: World, tmp_path: Path) -> None:
    calls = make_calls(300, 3)
    path = write_parquet(tmp_path / "calls.parquet", [*calls, calls[7]._replace(input=9999)])
    world = new_bulk(payers=3)
    with pytest.raises(UsageConflict, match=r"is there already with another content"):
        seal_on(Stepwise(), world, path)
    assert [size for size, *_ in logs_of(world)] == [0, 0, 0]
    assert list((world.folder / "segments").glob("*/bulk/*")) == []


def test_what_exceeds_the_headroom_is_not_sealed(new_bulk: World, tmp_path: Path) -> None:
    calls = [c._replace(input=2**53 - 1, id=f"{n}", customer="c0") for n, c in enumerate(make_calls(1200, 1))]
    world = new_bulk(payers=1)
    seal_on(Stepwise(), world, write_parquet(tmp_path / "first.parquet", calls[:700]))
    with pytest.raises(HeadroomExceeded):
        seal_on(Stepwise(), world, write_parquet(tmp_path / "second.parquet", calls[700:]))
    assert [path.name for path in (world.folder / "segments").glob("*/bulk/*")] == ["00000000"]


def test_a_file_that_is_none_is_refused_by_name(new_bulk: World, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("no,known,columns\n1,2,3\n")
    with pytest.raises(BadFile, match="column"):
        seal_on(Stepwise(), new_bulk(), tmp_path / "calls.csv")


def test_an_orphan_of_a_killed_driver_is_swept(new_bulk: World, tmp_path: Path) -> None:
    """The driver dies before it tells the ledger: the seal is there, and nobody knows it."""
    calls = make_calls(200, 3)
    path, world = write_parquet(tmp_path / "calls.parquet", calls), new_bulk(payers=3)
    ledger = world.bulk.ledger
    commit = ledger.commit_seal
    ledger.commit_seal = _die
    with pytest.raises(KeyboardInterrupt):
        seal_on(Stepwise(), world, path)
    ledger.commit_seal = commit
    assert len(list((world.folder / "segments").glob("*/bulk/*"))) == 1
    report = seal_on(Stepwise(), world, path)
    assert world.roots(report) == expected(calls)
    assert len(list((world.folder / "segments").glob("*/bulk/*"))) == 1


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_store_behind_a_url_holds_the_same_files(new_bulk: World, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    calls = make_calls(900, 4)
    first, second = (
        write_parquet(tmp_path / f"{n}.parquet", some) for n, some in enumerate((calls[:500], calls[400:]))
    )
    one, many = new_bulk("one", payers=4), new_bulk("many", payers=4)
    place = Store(f"memory://segments-{tmp_path.name}")
    for path in (first, second):
        one.seal(path)
        report = seal_on(Stepwise(2, attempts=2), many, path, store=place, partitions=2)
    assert (report.sealed, report.repeated) == (400, 100)
    assert logs_of(one) == logs_of(many)
    fsspec.filesystem("memory").get(f"/segments-{tmp_path.name}/", str(tmp_path / "fetched"), recursive=True)
    require_same_store(one.folder / "segments", tmp_path / "fetched")


def test_cells_tell_ranks_exactly() -> None:
    """Against sorting all rows: each part finds exactly its receipts between its bounds."""
    chance = np.random.default_rng(5)
    rows = np.zeros(40_000, dtype=RECEIPT)
    rows["account"] = np.minimum(chance.geometric(0.3, len(rows)), 9)
    rows["id"] = chance.integers(0, 2**64, (len(rows), 4), dtype=np.uint64)
    rows["leaf"] = chance.integers(0, 2**64, (len(rows), 4), dtype=np.uint64)
    order = np.lexsort((rows["id"][:, 0].byteswap(), rows["account"]))
    rows = rows[order]
    whose = chance.integers(0, 3, len(rows))
    bits = [np.full(12, fine, dtype=np.int64) for fine in (3, 5, 0)]
    counted = [count_cells(rows[whose == task], bits[task]) for task in range(2)]
    counted.append(count_cells(rows[whose == 2], bits[0]))
    cells = Cells.of(np.concatenate(counted))
    assert cells.receipts_of(12).tolist() == np.bincount(rows["account"], minlength=12).tolist()
    plan = SealPlan.of(cells.receipts_of(12))
    for cut in cuts_of(plan, cells):
        first, stop = cut.low.within(rows), cut.high.within(rows)
        assert (first, stop - first) == (cut.first, cut.size)
        assert cut.checksum == checksum(rows[first:stop]) != checksum(rows[first : stop - 1])


@pytest.mark.parametrize(
    "change", [{"output": 9}, {"time": START + 1}, {"id": "another"}, {"model": "other"}]
)
def test_input_that_changes_while_it_is_sealed_is_refused(
    new_bulk: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Nothing is kept between actions, as where a worker is lost, and one call of as many is another now."""
    for keeping in ("persist", "localCheckpoint"):
        monkeypatch.setattr(Frame, keeping, lambda self, *_, **__: self)
    calls, path = make_calls(300, 3), tmp_path / "calls.parquet"
    write_parquet(path, calls)
    world = new_bulk(payers=3)
    sealing = SparkSealing(world.bulk.ledger, SparkSeals(world.bulk.seals), Stepwise())
    changed = [*calls[:7], calls[7]._replace(**change), *calls[8:]]

    def on_stage(name: str) -> None:
        if name == "write":
            write_parquet(path, changed)

    with pytest.raises(TaskFailed, match="changed while it was sealed; seal again"):
        sealing.seal(world.record.id, FileSource(Files([path], MAP)), SparkOptions(), on_stage)
    assert [size for size, *_ in logs_of(world)] == [0, 0, 0]
    write_parquet(path, calls)
    assert world.roots(seal_on(Stepwise(), world, path)) == expected(calls)


@dataclass
class Rows:
    """A connector's rows, as its tasks are given them."""

    table: pa.Table
    files: Files
    is_json: bool = False

    def open(self, spark: Any, _partitions: int) -> Input:
        columns = [name for name in self.table.column_names if name not in NOT_CALLS]
        batches = self.table.to_batches(max_chunksize=100)
        frame: Any = Frame(spark, lambda: [batches])
        return Input(frame, RowReader(self.files, "lake", columns, self.is_json), None)


def rows_of(calls: list[Call], **more: list[Any]) -> pa.Table:
    columns = {name: [getattr(call, name) for call in calls] for name in COLUMNS}
    return pa.table(columns | {name: more.get(name, [None] * len(calls)) for name in (FILE, ROW)} | more)


def test_rows_between_deleted_ones_keep_their_numbers(new_bulk: World) -> None:
    calls = make_calls(1000, 4)
    kept = [n for n in range(1000) if n % 10]  # every tenth was deleted, as by a vector of deletions
    for at in (333, 777):
        calls[at] = calls[at]._replace(customer="nobody")
    table = rows_of(
        [calls[n] for n in kept],
        **{FILE: [f"file:/lake/{n // 500}%20a.parquet" for n in kept], ROW: [n % 500 + 1 for n in kept]},
    )
    world, column_map = new_bulk(payers=4), MAP
    report = seal_on(Stepwise(), world, source=Rows(table, Files([], column_map)), skip_bad=True)
    assert world.roots(report) == expected([calls[n] for n in kept if n not in (333, 777)])
    told = sorted((file, bad.row_number) for file, bad in report.bad)
    assert told == [("/lake/0 a.parquet", 334), ("/lake/1 a.parquet", 278)]


def test_rows_without_numbers_say_where_they_were_counted(new_bulk: World) -> None:
    calls = make_calls(300, 3)
    calls[250] = calls[250]._replace(customer="nobody")
    table = rows_of(calls, **{FILE: ["s3://lake/b"] * 200 + ["s3://lake/a"] * 100})
    world = new_bulk(payers=3)
    report = seal_on(Stepwise(), world, source=Rows(table, Files([], MAP)), skip_bad=True)
    [(file, bad)] = report.bad
    assert file == "s3://lake/a, rows counted in lake, partition 0"
    assert bad.row_number == 251


def test_changes_of_a_table_are_no_calls(new_bulk: World) -> None:
    calls = make_calls(300, 3)
    changes: list[str | None] = ["insert", "INSERT"] * 150
    changes[5:9] = ["update_preimage", "update_postimage", "delete", None]
    table = rows_of(calls, **{CHANGE: changes})
    world = new_bulk(payers=3)
    with pytest.raises(BadUsage, match=r"row 6: the row is a change \(update_preimage\)"):
        seal_on(Stepwise(), world, source=Rows(table, Files([], MAP)))
    report = seal_on(Stepwise(), world, source=Rows(table, Files([], MAP)), skip_bad=True)
    assert [bad.row_number for _, bad in report.bad] == [6, 7, 8, 9]
    assert world.roots(report) == expected(calls[:5] + calls[9:])


def test_records_of_a_topic_are_told_by_their_offsets(new_bulk: World, tmp_path: Path) -> None:
    """Records without a value, blank ones, and ones over several lines; offsets leave gaps."""
    calls = make_calls(60, 3)
    records: list[bytes | None] = list(write_ndjson(tmp_path / "calls", calls).read_bytes().splitlines())
    good = json.loads(records[20] or b"")
    records[20] = json.dumps(good, indent=2).encode() + b" \n"
    records[30:33] = [None, b"", b" \r\n"]
    records[33] = (records[33] or b"").replace(b'"id": "', b'"id": "a\n', 1)
    records[34] = (records[34] or b"") * 2
    records[35] = b"null"
    records[36] = b"\xff" + (records[36] or b"")
    offsets = [2 * n for n in range(60)]
    table = pa.table({VALUE: records, FILE: ["kafka calls-3"] * 60, ROW: offsets})
    world = new_bulk(payers=3)
    source = Rows(table, Files([], MAP), is_json=True)
    with pytest.raises(BadUsage, match=r"row 60: .*null, or a record nothing.*kafka calls-3"):
        seal_on(Stepwise(), world, source=source)
    report = seal_on(Stepwise(), world, source=source, skip_bad=True)
    assert [bad.row_number for _, bad in report.bad] == [60, 62, 64, 66, 68, 70, 72]
    assert world.roots(report) == expected(calls[:30] + calls[37:])


def test_records_that_only_their_number_names_are_refused(new_bulk: World) -> None:
    """A trace whose rows have no ids, in a column of a table: its rows would be sealed again elsewhere."""
    record = json.dumps({"timestamp": 5, "input_length": 7, "output_length": 8, "hash_ids": [1]}).encode()
    table = pa.table({VALUE: [record], FILE: ["a"], ROW: [1]})
    source = Rows(table, Files([], None, payer="c1"), is_json=True)
    with pytest.raises(BadUsage, match="seal its file without --format"):
        seal_on(Stepwise(), new_bulk(payers=2), source=source)


def test_options_of_files_reach_the_tasks(new_bulk: World, tmp_path: Path) -> None:
    calls = [c._replace(customer="") for c in make_calls(50, 1)]
    table = pa.table({"id": [c.id for c in calls], "time": [c.time for c in calls], "input": [7] * 50})
    pq.write_table(table, tmp_path / "calls.parquet")
    world = new_bulk(payers=2)
    column_map = MAP.parse("id=id time_ms=time input=input")
    source = FileSource(Files([tmp_path / "calls.parquet"], column_map, "edge", "c1"))
    report = seal_on(Stepwise(), world, source=source)
    assert world.roots(report)["c1"][0] == 50


def test_files_keep_the_names_that_were_given(
    new_bulk: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers run in other folders than the driver."""
    calls = make_calls(60, 2)
    calls[40] = calls[40]._replace(customer="nobody")
    write_parquet(tmp_path / "calls.parquet", [*calls, calls[3]._replace(output=77_777)], row_group=25)
    monkeypatch.chdir(tmp_path)
    one, many = new_bulk("one", payers=2), new_bulk("many", payers=2)
    alone = one.seal(Path("calls.parquet"), skip_bad=True)
    spark = Stepwise()
    spark.folder = tmp_path.parent
    report = seal_on(spark, many, Path("calls.parquet"), skip_bad=True, partitions=2)
    assert [file for file, _ in alone.bad] == ["calls.parquet"] * 2
    assert sorted(report.bad, key=_place) == sorted(alone.bad, key=_place)
