"""Delta, Iceberg and Kafka by their own connectors, on a real Spark.

The connectors come from Maven, and each is made for one version of Spark. So they are named by the
environment, as --packages or --jars would name them, and are skipped without:

    METERBRIDGE_TEST_DELTA=io.delta:delta-spark_4.1_2.13:4.1.0
    METERBRIDGE_TEST_ICEBERG=/jars/iceberg-spark-runtime-4.1_2.13-1.11.0.jar
    METERBRIDGE_TEST_KAFKA=org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.4
    METERBRIDGE_TEST_KAFKA_BROKER=127.0.0.1:9092    a broker that makes topics when they are written to
"""

from __future__ import annotations

import os
import secrets
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

from bulk_world import MAP, expected, make_calls, write_ndjson, write_parquet
from spark_world import require_sound, seal_on

from meterbridge.adapters.bulk.scan import Files
from meterbridge.adapters.spark.connectors import connector_of
from meterbridge.adapters.spark.sealing import SparkOptions, SparkSealing
from meterbridge.adapters.spark.session import SparkFailed, spark_session
from meterbridge.adapters.spark.sources import SparkSource
from meterbridge.adapters.spark.store import SparkSeals

World = Callable[..., Any]
FILES = Files([], MAP)

# PySpark leaves the sockets of a session that ended to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def session_with(kind: str) -> Iterator[Any]:
    """Start Spark with a connector, and with what `seal --format` gives it."""
    variable = f"METERBRIDGE_TEST_{kind.upper()}"
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"no connector of {kind}: name it by {variable}, as {connector_of(kind).package}")
    setting = "spark.jars" if named.split(",")[0].endswith(".jar") else "spark.jars.packages"
    settings = connector_of(kind).settings_beside({setting: named, "spark.sql.shuffle.partitions": "2"})
    with spark_session("local[2]", settings) as session:
        yield session


@pytest.fixture(scope="module")
def delta() -> Iterator[Any]:
    yield from session_with("delta")


@pytest.fixture(scope="module")
def iceberg() -> Iterator[Any]:
    yield from session_with("iceberg")


@pytest.fixture(scope="module")
def kafka() -> Iterator[Any]:
    if "METERBRIDGE_TEST_KAFKA_BROKER" not in os.environ:
        pytest.skip("no broker: name one by METERBRIDGE_TEST_KAFKA_BROKER, as 127.0.0.1:9092")
    yield from session_with("kafka")


def write_table(
    spark: Any, kind: str, table: Path, calls: list[Any], mode: str = "append", **more: str
) -> None:
    """Write calls to a table, with one file for each of two tasks."""
    plain = write_parquet(table.parent / f"calls-{secrets.token_hex(4)}.parquet", calls)
    rows = spark.read.parquet(str(plain)).repartition(2)
    rows.write.format(kind).mode(mode).options(**more).save(str(table))


def require_sealed_once(
    spark: Any, new_bulk: World, source: SparkSource, calls: list[Any], name: str
) -> None:
    """Seal a source: the roots are the domain's, the seal is sound, and all of it is known the next time."""
    world = new_bulk(name, payers=4)
    report = seal_on(spark, world, source=source, partitions=3)
    assert world.roots(report) == expected(calls)
    require_sound(world, report)
    again = seal_on(spark, world, source=source)
    assert (again.sealed, again.repeated) == (0, len(calls))


def require_one_version(
    spark: Any, new_bulk: World, source: SparkSource, calls: list[Any], change: Callable[[], None]
) -> None:
    """Seal a source that changes between judging and writing: what was judged is what is sealed."""
    world = new_bulk("changing", payers=4)
    sealing = SparkSealing(world.bulk.ledger, SparkSeals(world.bulk.seals), spark)
    changed = []

    def on_stage(name: str) -> None:
        if name == "write":
            change()
            changed.append(name)

    report = sealing.seal(world.record.id, source, SparkOptions(partitions=3), on_stage)
    assert changed
    assert world.roots(report) == expected(calls)
    require_sound(world, report)


def test_a_table_of_delta_is_sealed(delta: Any, new_bulk: World, tmp_path: Path) -> None:
    calls, table = make_calls(3000, 4), tmp_path / "my calls"
    write_table(delta, "delta", table, calls[:2000])
    write_table(delta, "delta", table, calls[2000:])
    require_sealed_once(delta, new_bulk, SparkSource("delta", [str(table)], FILES), calls, "all")
    first = SparkSource("delta", [str(table)], FILES, {"versionAsOf": "0"})
    require_sealed_once(delta, new_bulk, first, calls[:2000], "first")


def test_rows_that_were_deleted_from_delta_are_not_sealed(
    delta: Any, new_bulk: World, tmp_path: Path
) -> None:
    calls, table = make_calls(3000, 4), tmp_path / "calls"
    calls[7] = calls[7]._replace(customer="nobody", input=77)
    vectors = {"delta.enableDeletionVectors": "true"}
    write_table(delta, "delta", table, calls, **vectors)
    delta.sql(f"DELETE FROM delta.`{table}` WHERE input % 3 = 0")
    kept = [call for call in calls if call.input % 3]
    held = delta.read.format("delta").load(str(table)).count()
    assert held == len(kept)
    world = new_bulk("vectors", payers=4)
    report = seal_on(delta, world, source=SparkSource("delta", [str(table)], FILES), skip_bad=True)
    [(file, bad)] = report.bad
    assert file.startswith(str(table))
    assert pq.read_table(file, columns=["id"], partitioning=None)["id"][bad.row_number - 1].as_py() == bad.id
    kept.remove(calls[7])
    assert world.roots(report) == expected(kept)


def test_a_feed_of_changes_gives_what_came_in(delta: Any, new_bulk: World, tmp_path: Path) -> None:
    calls, table = make_calls(600, 4), tmp_path / "calls"
    delta.conf.set("spark.databricks.delta.properties.defaults.enableChangeDataFeed", "true")
    write_table(delta, "delta", table, calls[:500])
    write_table(delta, "delta", table, calls[500:])
    feed = {"readChangeFeed": "true", "startingVersion": "0"}
    source = SparkSource("delta", [str(table)], FILES, feed)
    require_sealed_once(delta, new_bulk, source, calls, "inserted")
    delta.sql(f"DELETE FROM delta.`{table}` WHERE id = '{calls[3].id}'")
    world = new_bulk("deleted", payers=4)
    report = seal_on(delta, world, source=source, skip_bad=True)
    assert world.roots(report) == expected(calls)
    assert [bad.value for _, bad in report.bad] == ["delete"]


def test_a_table_of_delta_that_changes_meanwhile(delta: Any, new_bulk: World, tmp_path: Path) -> None:
    calls, table = make_calls(900, 4), tmp_path / "calls"
    write_table(delta, "delta", table, calls)
    others = [call._replace(output=call.output + 1) for call in calls]
    source = SparkSource("delta", [str(table)], FILES)
    require_one_version(
        delta, new_bulk, source, calls, lambda: write_table(delta, "delta", table, others, "overwrite")
    )


def test_what_is_no_table_of_delta_is_told(delta: Any, new_bulk: World, tmp_path: Path) -> None:
    write_parquet(tmp_path / "calls.parquet", make_calls(10, 2))
    with pytest.raises(SparkFailed, match="DELTA_TABLE_NOT_FOUND"):
        seal_on(delta, new_bulk(payers=2), source=SparkSource("delta", [str(tmp_path)], FILES))


def test_a_table_of_iceberg_is_sealed(iceberg: Any, new_bulk: World, tmp_path: Path) -> None:
    calls, table = make_calls(3000, 4), tmp_path / "calls"
    create(iceberg, table)
    write_table(iceberg, "iceberg", table, calls[:2000])
    write_table(iceberg, "iceberg", table, calls[2000:])
    require_sealed_once(iceberg, new_bulk, SparkSource("iceberg", [str(table)], FILES), calls, "all")
    [metadata] = (table / "metadata").glob("v2.metadata.json")
    first = SparkSource("iceberg", [str(metadata)], FILES)
    require_sealed_once(iceberg, new_bulk, first, calls[:2000], "first")


def test_rows_of_iceberg_are_told_by_file_and_row(iceberg: Any, new_bulk: World, tmp_path: Path) -> None:
    calls, table = make_calls(2000, 4), tmp_path / "calls"
    calls[1234] = calls[1234]._replace(customer="nobody")
    create(iceberg, table)
    write_table(iceberg, "iceberg", table, calls)
    world, source = new_bulk(payers=4), SparkSource("iceberg", [str(table)], FILES, {"split-size": "16384"})
    report = seal_on(iceberg, world, source=source, skip_bad=True)
    assert world.roots(report) == expected(calls[:1234] + calls[1235:])
    [(file, bad)] = report.bad
    assert pq.read_table(file, columns=["id"], partitioning=None)["id"][bad.row_number - 1].as_py() == bad.id


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_table_of_iceberg_that_changes_meanwhile(
    iceberg: Any, new_bulk: World, tmp_path: Path, mode: str
) -> None:
    """Spark looks for newer versions of such tables at each action."""
    calls, table = make_calls(900, 4), tmp_path / "calls"
    create(iceberg, table)
    write_table(iceberg, "iceberg", table, calls)
    others = [call._replace(output=call.output + 1) for call in calls]
    source = SparkSource("iceberg", [str(table)], FILES)
    require_one_version(
        iceberg, new_bulk, source, calls, lambda: write_table(iceberg, "iceberg", table, others, mode)
    )


def create(spark: Any, table: Path) -> None:
    """Make an empty table of Iceberg at a path, which a writer by path needs."""
    schema = spark.read.parquet(str(write_parquet(table.parent / "empty.parquet", make_calls(1, 1))))
    jvm = spark._jvm
    tables = jvm.org.apache.iceberg.hadoop.HadoopTables(spark._jsc.hadoopConfiguration())
    convert = jvm.org.apache.iceberg.spark.SparkSchemaUtil.convert
    tables.create(convert(schema._jdf.schema()), str(table))


def test_records_of_kafka_are_sealed(kafka: Any, new_bulk: World, tmp_path: Path) -> None:
    calls = make_calls(900, 4)
    topics = [f"calls-{secrets.token_hex(6)}" for _ in range(2)]
    for topic, some in zip(topics, (calls[:600], calls[600:]), strict=True):
        write_topic(kafka, tmp_path, topic, some)
    source = SparkSource("kafka", [], FILES, {**broker(), "subscribe": ",".join(topics)})
    require_sealed_once(kafka, new_bulk, source, calls, "both")


def test_records_of_kafka_are_told_by_offset(kafka: Any, new_bulk: World, tmp_path: Path) -> None:
    calls, topic = make_calls(90, 4), f"calls-{secrets.token_hex(6)}"
    calls[40] = calls[40]._replace(customer="nobody")
    write_topic(kafka, tmp_path, topic, calls)
    world = new_bulk(payers=4)
    source = SparkSource("kafka", [], FILES, {**broker(), "subscribe": topic})
    report = seal_on(kafka, world, source=source, skip_bad=True)
    assert world.roots(report) == expected(calls[:40] + calls[41:])
    assert [(file, bad.row_number) for file, bad in report.bad] == [(f"kafka {topic}-0", 40)]


def test_a_topic_that_is_not_there_is_told(kafka: Any, new_bulk: World) -> None:
    options = {**broker(), "subscribe": "no-such-topic", "fetchOffset.numRetries": "1"}
    options["kafka.allow.auto.create.topics"] = "false"
    with pytest.raises(SparkFailed, match=r"[Tt]opic"):
        seal_on(kafka, new_bulk(payers=2), source=SparkSource("kafka", [], FILES, options))


def broker() -> dict[str, str]:
    return {"kafka.bootstrap.servers": os.environ["METERBRIDGE_TEST_KAFKA_BROKER"]}


def write_topic(spark: Any, folder: Path, topic: str, calls: list[Any]) -> None:
    """Send records to a topic's first partition, in their order; the last alone, after all others."""
    lines = write_ndjson(folder / f"{topic}.ndjson", calls).read_bytes().splitlines()
    for number, some in enumerate((lines[:-1], lines[-1:])):
        path = folder / f"{topic}-{number}.parquet"
        pq.write_table(pa.table({"value": some, "partition": pa.array([0] * len(some), pa.int32())}), path)
        rows = spark.read.parquet(str(path)).coalesce(1)
        rows.write.format("kafka").options(**broker()).option("topic", topic).save()
