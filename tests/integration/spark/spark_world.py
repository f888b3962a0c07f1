"""What the tests of sealing on Spark share; no test itself.

`Stepwise` runs the tasks in this process, in any order, each as often as one likes: what Spark may do to
them, without its seconds of start. The tests of `test_spark_cluster.py` run the real one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from bulk_world import MAP

from meterbridge.adapters.bulk.checking import check_seal
from meterbridge.adapters.bulk.scan import Files
from meterbridge.adapters.bulk.stores import Store
from meterbridge.adapters.spark.sealing import SparkOptions, SparkSealing
from meterbridge.adapters.spark.sources import FileSource
from meterbridge.adapters.spark.store import SparkSeals
from meterbridge.services.bulk.sealing import SealReport

Partitions = list[list[Any]]


class Stepwise:
    """Runs tasks one after another, in an order of chance, and each `attempts` times."""

    def __init__(self, seed: int = 1, attempts: int = 1) -> None:
        self.chance, self.attempts = random.Random(seed), attempts
        self.folder: Path | None = None
        self.sparkContext = SimpleNamespace(defaultParallelism=2)

    def range(self, start: int, stop: int, step: int, partitions: int) -> Frame:
        numbers = list(range(start, stop, step))
        self.chance.shuffle(numbers)
        batches = [
            [pa.record_batch([pa.array(numbers[i::partitions], pa.int64())], ["id"])]
            for i in range(partitions)
        ]
        return Frame(self, lambda: batches)


class Frame:
    """As much of a DataFrame as sealing uses."""

    def __init__(self, spark: Stepwise, run: Callable[[], Partitions]) -> None:
        self.spark, self.run = spark, run

    def mapInArrow(self, task: Callable[[Iterator[Any]], Iterator[Any]], schema: str) -> Frame:  # noqa: N802
        def run() -> Partitions:
            found = self.run()
            self.spark.chance.shuffle(found)
            with chdir(self.spark.folder or Path.cwd()):
                return [[list(task(iter(b))) for _ in range(self.spark.attempts)][-1] for b in found]

        return Frame(self.spark, run)

    def repartitionById(self, partitions: int, column: str) -> Frame:  # noqa: N802
        def run() -> Partitions:
            rows = [batch.slice(i, 1) for part in self.run() for batch in part for i in range(len(batch))]
            self.spark.chance.shuffle(rows)
            found: Partitions = [[] for _ in range(partitions)]
            for row in rows:
                found[row.column(column)[0].as_py() % partitions].append(row)
            return found

        return Frame(self.spark, run)

    def filter(self, condition: str) -> Frame:
        name, sign, value = condition.split()

        def keep(batch: Any) -> Any:
            cells = batch.column(name).to_pylist()
            return batch.filter(pa.array([(cell == int(value)) == (sign == "=") for cell in cells]))

        return Frame(self.spark, lambda: [[keep(batch) for batch in part] for part in self.run()])

    def select(self, *columns: str) -> Frame:
        return self

    def localCheckpoint(self, eager: bool) -> Frame:  # noqa: N802
        return self.persist(None)

    def persist(self, level: object) -> Frame:
        found: list[Partitions] = []

        def run() -> Partitions:
            if not found:
                found.append(self.run())
            return [list(part) for part in found[0]]

        return Frame(self.spark, run)

    def unpersist(self) -> None:
        pass

    def collect(self) -> list[Any]:
        return [SimpleNamespace(**row) for part in self.run() for batch in part for row in batch.to_pylist()]


def seal_on(
    spark: Any, world: Any, *paths: Path, source: Any = None, store: Store | None = None, **options: Any
) -> Any:
    """Seal files of calls in a world."""
    sealing = SparkSealing(world.bulk.ledger, SparkSeals(world.bulk.seals.onto(store)), spark)
    files = source or FileSource(Files(list(paths), MAP))
    return sealing.seal(world.record.id, files, SparkOptions(**options))


def require_same_store(one: Path, other: Path) -> None:
    """Compare two folders of segments: the same files with the same content."""
    names = sorted(path.relative_to(one) for path in one.rglob("*"))
    assert names == sorted(path.relative_to(other) for path in other.rglob("*"))
    assert any(path.name == "batches.parquet" for path in names)
    for name in names:
        if name.suffix == ".parquet":
            tables = [pq.read_table(folder / name, partitioning=None) for folder in (one, other)]
            assert tables[0].equals(tables[1]), name
        elif (one / name).is_file():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def logs_of(world: Any) -> list[Any]:
    """Return every log of a world: its size, total, batches and nodes."""
    from meterbridge.services.records import LogKey, LogKind

    ledger, found = world.bulk.ledger, []
    for key in world.keys:
        log = LogKey(key, LogKind.CHARGES)
        size = ledger.log_size(log)
        places = [(level, at) for level in range(8) for at in range(size >> level)]
        found.append(
            (size, ledger.total(log), list(ledger.batches(log)), list(ledger.tree_nodes(log, places)))
        )
    return found


def require_sound(world: Any, report: SealReport) -> None:
    """Check a seal from its receipts up."""
    check_seal(world.folder / "segments", (report.batches[0].segment or "").partition("#")[0])
