"""Sealing on a real Spark: two workers of this machine, each a process, which are killed at times.

One session for all tests of this file: Spark takes seconds to start.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meterbridge.adapters.spark.session import SparkMissing, require_spark

try:
    require_spark()
except SparkMissing as error:
    pytest.skip(f"no Spark here: {error}", allow_module_level=True)

from bulk_world import MAP, START, expected, make_calls, write_ndjson, write_parquet
from spark_world import logs_of, require_same_store, require_sound, seal_on

from meterbridge.adapters.bulk.scan import Files
from meterbridge.adapters.bulk.stores import OPTIONS_VARIABLE, Store, StoreUnreachable
from meterbridge.adapters.formats.errors import BadFile
from meterbridge.adapters.spark.files import LocalAttempts
from meterbridge.adapters.spark.session import SparkFailed, spark_session
from meterbridge.adapters.spark.sources import SparkSource

World = Callable[..., Any]
MASTER = "local-cluster[2,1,1024]"
EXECUTOR = "CoarseGrainedExecutorBackend"
PYTHON_WORKER = "pyspark.daemon"
# An executor that is killed on purpose must not count as a fault of the application.
SETTINGS = {"spark.executor.memory": "640m", "spark.deploy.maxExecutorRetries": "-1"}

pytestmark = [
    # PySpark leaves the sockets of a killed worker to the collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    with spark_session(MASTER, SETTINGS) as session:
        yield session
        java = session.sparkContext._gateway.proc.pid
        workers = descendants(java, EXECUTOR)
        assert workers
    for pid in (java, *workers):  # nothing of it goes on
        deadline = time.monotonic() + 20
        while _is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _is_running(pid)


@pytest.fixture(autouse=True)
def _same_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests say when they were made."""
    monkeypatch.setattr("time.time_ns", lambda: (START + 86_400_000) * 1_000_000)


def descendants(ancestor: int, word: str) -> list[int]:
    """Return processes below another one whose command has a word in it, the deepest last."""
    parents, found = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    wave = [ancestor]
    while wave:
        wave = [pid for pid, parent in parents.items() if parent in wave]
        found += wave
    return [pid for pid in found if word in _command(pid)]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_the_root_is_the_same_on_any_number_of_partitions_in_any_order(
    spark: Any, new_bulk: World, tmp_path: Path, partitions: int
) -> None:
    calls = make_calls(6000, 5)
    doubled = calls + calls[100:400:7]
    random.Random(partitions).shuffle(doubled)
    paths = [
        write_parquet(tmp_path / "calls.parquet", doubled[:4000], row_group=500 * partitions),
        write_ndjson(tmp_path / "calls.ndjson", doubled[4000:]),
    ]
    one, many = new_bulk("one"), new_bulk("many")
    alone = one.seal(*paths)
    report = seal_on(spark, many, *paths, partitions=partitions)
    assert many.roots(report) == one.roots(alone) == expected(calls)
    assert (report.sealed, report.repeated, report.totals) == (6000, len(doubled) - 6000, alone.totals)
    assert logs_of(one) == logs_of(many)
    require_same_store(one.folder / "segments", many.folder / "segments")


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (SparkSource("iceberg", ["/a"], Files([], MAP)), "iceberg-spark-runtime-4"),
        (SparkSource("kafka", [], Files([], MAP)), "--packages org.apache.spark:spark-sql-kafka-0-10_2.13:4"),
        (SparkSource("nothing", [], Files([], MAP)), "no connector 'nothing': add it by --packages"),
        (SparkSource("delta", ["/a"], Files([], MAP)), "start the session with it"),
        (SparkSource("orc", ["/no/such/folder"], Files([], MAP)), "Path does not exist"),
        (
            SparkSource("jdbc", [], Files([], MAP), {"url": "jdbc:nothing:a", "dbtable": "a"}),
            "Spark gave up: No suitable driver",
        ),
    ],
)
def test_what_spark_cannot_read_is_told_in_one_line(
    spark: Any, new_bulk: World, source: SparkSource, advice: str
) -> None:
    world = new_bulk(payers=2)
    with pytest.raises(SparkFailed) as told:
        seal_on(spark, world, source=source)
    assert advice in str(told.value)
    assert "\n" not in str(told.value)
    assert [size for size, *_ in logs_of(world)] == [0, 0]


@pytest.mark.parametrize("format", ["delta", "Iceberg"])
def test_tables_whose_rows_move_need_a_column_of_ids(spark: Any, new_bulk: World, format: str) -> None:
    numbered = MAP.parse("id=#row time_ms=time payer=customer input=input")
    with pytest.raises(BadFile, match="name a column of ids"):
        seal_on(spark, new_bulk(payers=2), source=SparkSource(format, ["/a"], Files([], numbered)))


@pytest.mark.parametrize("victim", [EXECUTOR, PYTHON_WORKER])
def test_a_worker_that_is_killed_in_the_middle_changes_nothing(
    spark: Any, new_bulk: World, tmp_path: Path, victim: str
) -> None:
    calls = make_calls(20_000, 5)
    path = write_parquet(tmp_path / "calls.parquet", calls, row_group=2500)
    one, many = new_bulk("one"), new_bulk("many")
    one.seal(path)
    with killing(spark, victim, many.folder / "segments", "piece-") as killed:
        report = seal_on(spark, many, path, partitions=7)
        assert killed, "nothing was killed before the seal ended"
    assert many.roots(report) == expected(calls)
    assert logs_of(one) == logs_of(many)
    require_same_store(one.folder / "segments", many.folder / "segments")


@contextlib.contextmanager
def killing(spark: Any, victim: str, segments: Path, file: str) -> Iterator[list[int]]:
    """Kill a worker as soon as some task has written a file, while others have yet to."""
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if any(segments.glob(f"*/bulk/.*.tmp/attempts/{file}*")):
                executors = descendants(spark.sparkContext._gateway.proc.pid, EXECUTOR)
                pids = executors if victim == EXECUTOR else descendants(executors[0], victim)[-1:]
                if pids:
                    os.kill(pids[0], signal.SIGKILL)
                    killed.append(pids[0])
                    return
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def _topic_named(path: Path) -> type:
    """Return a connector that hands out what Kafka's does: records as bytes, by offset.

    It is made of Spark's own Python data sources, and lives in a function so that workers need not import it.
    """
    from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

    lines = path.read_bytes().splitlines()
    shares = [lines[0::2], lines[1::2]]

    class Reader(DataSourceReader):
        def __init__(self, topic: str) -> None:
            self.topic = topic

        def partitions(self) -> list[InputPartition]:
            return [InputPartition(number) for number in range(len(shares))]

        def read(self, partition: InputPartition) -> Any:
            for offset, line in enumerate(shares[partition.value]):
                yield None, line, self.topic, partition.value, offset, None, 0

    class Topic(DataSource):
        @classmethod
        def name(cls) -> str:
            return "stream"

        def schema(self) -> str:
            return (
                "key binary, value binary, topic string, partition int, offset bigint, "
                "timestamp timestamp, timestampType int"
            )

        def reader(self, schema: Any) -> DataSourceReader:
            return Reader(self.options["subscribe"])

    return Topic


@pytest.mark.long
def test_records_of_a_topic_are_sealed_and_told_by_partition_and_offset(
    spark: Any, new_bulk: World, tmp_path: Path
) -> None:
    """The shape of Kafka's rows; a broker there is none."""
    calls = make_calls(1200, 4)
    calls[7] = calls[7]._replace(customer="nobody")
    spark.dataSource.register(_topic_named(write_ndjson(tmp_path / "calls.ndjson", calls)))
    world, options = new_bulk(payers=4), {"subscribe": "calls"}
    source = SparkSource("stream", [], Files([], MAP), options)
    report = seal_on(spark, world, source=source, skip_bad=True)
    assert world.roots(report) == expected(calls[:7] + calls[8:])
    assert [(file, bad.row_number) for file, bad in report.bad] == [("stream calls-1", 3)]


@pytest.mark.long
def test_workers_write_to_an_object_store(
    spark: Any, new_bulk: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3's protocol, spoken by workers to a server on this machine."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        endpoint = "{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "me", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=f"http://{endpoint}", **keys).create_bucket(Bucket="books")
        options = {"access_key": "me", "secret_key": "secret", "region": "us-east-1", "scheme": "http"}
        monkeypatch.setenv(OPTIONS_VARIABLE, json.dumps(options | {"endpoint_override": endpoint}))
        calls, store = make_calls(2000, 4), Store("s3://books/segments")
        first, second = (
            write_parquet(tmp_path / f"{n}.parquet", some, row_group=250)
            for n, some in enumerate((calls[:1200], calls[1000:]))
        )
        one, many = new_bulk("one", payers=4), new_bulk("many", payers=4)
        for path in (first, second):
            one.seal(path)
            report = seal_on(spark, many, path, store=store, partitions=3)
        assert (report.sealed, report.repeated) == (800, 200)
        assert logs_of(one) == logs_of(many)
        require_sound(many, report)
        fs, base = store.open()
        fs.get(base, str(tmp_path / "fetched"), recursive=True)
        require_same_store(one.folder / "segments", tmp_path / "fetched")
    finally:
        server.stop()


@pytest.mark.long
def test_spark_reads_what_its_connectors_read(spark: Any, new_bulk: World, tmp_path: Path) -> None:
    """A folder of ORC, and records in JSON in a column."""
    calls = make_calls(1200, 4)
    wanted = expected(calls)
    plain = spark.read.parquet(str(write_parquet(tmp_path / "calls.parquet", calls)))
    plain.repartition(3).write.format("orc").save(str(tmp_path / "orc"))
    lines = write_ndjson(tmp_path / "calls.ndjson", calls).read_bytes().splitlines()
    pq.write_table(pa.table({"key": [b""] * len(lines), "value": lines}), tmp_path / "topic.parquet")
    files = Files([], MAP)
    for source in (
        SparkSource("orc", [str(tmp_path / "orc")], files),
        SparkSource("parquet", [str(tmp_path / "topic.parquet")], files, json_column="value"),
    ):
        world = new_bulk(f"ledger-{source.format}", payers=4)
        assert world.roots(seal_on(spark, world, source=source)) == wanted


@pytest.mark.long
def test_what_a_connector_reads_is_refused_by_file_and_row(
    spark: Any, new_bulk: World, tmp_path: Path
) -> None:
    calls = make_calls(300, 3)
    calls[123] = calls[123]._replace(customer="nobody")
    path = write_parquet(tmp_path / "calls.parquet", calls)
    source = SparkSource("parquet", [str(path)], Files([], MAP))
    one, many = new_bulk("one", payers=3), new_bulk("many", payers=3)
    alone, report = one.seal(path, skip_bad=True), seal_on(spark, many, source=source, skip_bad=True)
    assert report.bad == alone.bad
    assert [(file, bad.row_number) for file, bad in report.bad] == [(str(path), 124)]
    assert many.roots(report) == one.roots(alone)


@pytest.mark.long
def test_workers_write_to_a_store_behind_a_url(
    spark: Any, new_bulk: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of object stores, onto files that two processes see."""
    calls = make_calls(2000, 4)
    path = write_parquet(tmp_path / "calls.parquet", calls, row_group=500)
    one, many = new_bulk("one", payers=4), new_bulk("many", payers=4)
    monkeypatch.setenv(OPTIONS_VARIABLE, '{"auto_mkdir": true}')
    store = Store(f"file://{tmp_path}/store")
    one.seal(path)
    seal_on(spark, many, path, store=store, partitions=3)
    assert seal_on(spark, many, path, store=store).repeated == len(calls)
    assert logs_of(one) == logs_of(many)
    require_same_store(one.folder / "segments", tmp_path / "store")


@pytest.mark.long
def test_a_million_receipts_with_a_worker_killed_while_parts_are_written(
    spark: Any, new_bulk: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    from _calls import MAP as CALLS_MAP
    from _calls import payer, tariff_record, write_calls

    from meterbridge.adapters.bulk.folder import open_bulk
    from meterbridge.adapters.spark.sources import FileSource
    from meterbridge.services.records import AccountKey

    path = tmp_path / "calls.parquet"
    write_calls(path, 2_300_000, 1, 300)
    record = tariff_record()
    files = Files([path], CALLS_MAP)
    for name in ("one", "many"):
        with open_bulk(tmp_path / name) as opened:
            opened.ledger.add_tariff(record)
            for number in range(300):
                key = AccountKey(record.domain, record.id, payer(number))
                opened.ledger.open_account(key, number.to_bytes(32, "big"))
            world = type("W", (), {"bulk": opened, "record": record, "folder": tmp_path / name})
            if name == "one":
                from meterbridge.adapters.bulk.scan import scan_files

                opened.sealing.seal(record.id, scan_files(files))
                continue
            with killing(spark, EXECUTOR, tmp_path / name / "segments", "part-") as killed:
                report = seal_on(spark, world, source=FileSource(files), partitions=9)
                assert killed
            require_sound(world, report)
    require_same_store(tmp_path / "one" / "segments", tmp_path / "many" / "segments")


def test_tasks_say_where_a_folder_is_missing() -> None:
    missing = LocalAttempts("/nowhere/at/all")
    with pytest.raises(StoreUnreachable, match="workers share"), missing.writing("part"):
        pass
