"""What is sealed: files that the workers read as one machine does, or anything that Spark reads."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.scan import Files, scan_files
from meterbridge.adapters.formats.column_map import ROW_NUMBER
from meterbridge.adapters.formats.errors import BadFile
from meterbridge.adapters.formats.lines import PARQUET_MAGIC
from meterbridge.adapters.spark.connectors import Connector, connector_of
from meterbridge.adapters.spark.measuring import Reader
from meterbridge.adapters.spark.rows import CHANGE, FILE, NOT_CALLS, ROW, VALUE, RowReader
from meterbridge.adapters.spark.session import SparkFailed
from meterbridge.services.bulk.chunk import UsageChunk
from meterbridge.services.bulk.sealing import Scanning

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_TOPIC: Final = frozenset({"topic", "partition", "offset", "value"})
"""Columns of records as Kafka's connector hands them out, and others that took its shape."""
_MISSING: Final = ("DATA_SOURCE_NOT_FOUND", "KAFKA_DATA_SOURCE_NOT_ENABLED")
"""Conditions by which Spark says that it has no such connector."""
_OF_CHANGES: Final = ("_commit_version", "_commit_timestamp", "_change_ordinal", "_commit_snapshot_id")
"""Further columns of feeds of changes, of Delta and of Iceberg."""
_ROW_BYTES: Final = 100
_PACKED: Final = 4  # by what compressed files grow in memory
_NO_IDEA: Final = 1 << 60  # what Spark's planner says of sources that do not tell their size, and more


@dataclass(frozen=True, slots=True)
class Input:
    """Usage as Spark hands it out.

    Attributes:
        frame: what the tasks are given.
        reader: turns that into calls.
        receipts: about how many; None where nobody knows.
    """

    frame: DataFrame
    reader: Reader
    receipts: int | None


class Source(Protocol):
    """Something to seal."""

    def open(self, spark: SparkSession, partitions: int) -> Input:
        """Lay it out for tasks, on about so many partitions where the source leaves a choice."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """Files that every worker sees at the same path, of any kind that one machine reads."""

    files: Files

    def open(self, spark: SparkSession, partitions: int) -> Input:
        """See `Source`: a Parquet file is shared among tasks by its row groups."""
        items, receipts = [], 0
        for path in self.files.paths:
            shares, rows = _shares(path, partitions)
            items += [(path, number, shares) for number in range(shares)]
            receipts += rows
        frame = spark.range(0, len(items), 1, max(1, min(partitions, len(items))))
        return Input(frame, FileReader(self.files, items, Path.cwd()), receipts)


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads shares of files; see `measuring.Reader`.

    Attributes:
        files: how to read them.
        items: of each share its file, its number, and how many shares the file has.
        base: what relative paths are below: workers have folders of their own to work in.
    """

    files: Files
    items: Sequence[tuple[Path, int, int]]
    base: Path

    def chunks(self, scanning: Scanning, batches: Iterable[Any]) -> Iterator[UsageChunk]:
        """See `measuring.Reader`."""
        how = self.files
        for batch in batches:
            for number in batch.column(0).to_pylist():
                path, share, shares = self.items[number]
                there = Files([self.base / path], how.column_map, how.source, how.payer, how.latest)
                for job, read in enumerate(scan_files(there)(_named(scanning, path))):
                    if job % shares == share:
                        for chunk in read():
                            yield replace(chunk, origin=replace(chunk.origin, file=str(path)))


def _named(scanning: Scanning, path: Path) -> Scanning:
    """Let bad rows be told by the name that was given."""
    return replace(scanning, refuse=lambda _file, bad: scanning.refuse(str(path), bad))


def _shares(path: Path, most: int) -> tuple[int, int]:
    """Return into how many shares a file is cut, and about how many rows it has."""
    try:
        with path.open("rb") as file:
            if file.read(len(PARQUET_MAGIC)) != PARQUET_MAGIC:
                return 1, path.stat().st_size // _ROW_BYTES
        with pq.ParquetFile(path) as parquet:
            return max(1, min(most, parquet.metadata.num_row_groups)), parquet.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"{path} cannot be read: {error}", str(path)) from error


@dataclass(frozen=True, slots=True)
class SparkSource:
    """Whatever Spark reads.

    Attributes:
        format: as Spark names it: parquet, delta, iceberg, kafka, orc, jdbc, ...
        paths: what to load; none where options say it.
        options: of the connector.
        files: what rows mean; its paths are not used.
        json_column: a column that holds the record as JSON; by default `value` beside topic and offset.
    """

    format: str
    paths: Sequence[str]
    files: Files
    options: Mapping[str, str] = field(default_factory=dict)
    json_column: str | None = None

    def open(self, spark: SparkSession, partitions: int) -> Input:  # noqa: ARG002  # connectors cut as they do
        """See `Source`.

        Raises:
            BadFile: when rows have no ids that stay, or are not usage.
            SparkFailed: when Spark has no such connector.
        """
        connector = connector_of(self.format)
        column_map = self.files.column_map
        if connector.rewrites_files and column_map is not None and column_map.id == ROW_NUMBER:
            raise BadFile(
                f"id=#row is not for tables of {self.format}: their rows move when files are rewritten, and "
                "would be sealed again; name a column of ids",
                self.format,
            )
        found = _changes_named(self._load(spark, connector))
        column = self.json_column or ("value" if set(found.columns) >= _TOPIC else None)
        frame = _placed(found, self.format)
        if column is not None:
            said = [name for name in NOT_CALLS if name in frame.columns]
            frame = frame.selectExpr(f"CAST(`{column}` AS BINARY) AS {VALUE}", *said)
        name = " ".join([self.format, *self.paths])
        columns = [c for c in frame.columns if c not in NOT_CALLS]
        reader = RowReader(self.files, name, columns, column is not None)
        return Input(frame, reader, _estimate(found))

    def _load(self, spark: SparkSession, connector: Connector) -> DataFrame:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        connector.require(spark)
        given = {name.lower() for name in self.options}
        more = {name: value for name, value in connector.options.items() if name not in given}
        loader = spark.read.format(self.format).options(**more, **self.options)
        try:
            return loader.load(list(self.paths)) if self.paths else loader.load()
        except (PySparkException, Py4JError) as error:
            if not any(condition in str(error) for condition in _MISSING):
                raise
            raise SparkFailed(
                f"Spark has no connector {self.format!r}: {connector.advice(spark.version)}", self.format
            ) from error


def _changes_named(found: DataFrame) -> DataFrame:
    """Tell the column of a feed of changes that says what became of a row from those of the call."""
    if "_change_type" not in found.columns:
        return found
    return found.withColumnRenamed("_change_type", CHANGE).drop(*_OF_CHANGES)


def _placed(found: DataFrame, kind: str) -> DataFrame:
    """Add where each row stands, as far as the connector tells."""
    from pyspark.errors import AnalysisException

    attempts = []
    if set(found.columns) >= _TOPIC:
        # Without a slash, which would make the partition's number a file's name.
        attempts.append([f"concat('{kind} ', topic, '-', partition)", "offset"])
    hidden = _hidden_columns(found)
    if hidden is None or hidden >= {"_file", "_pos"}:
        attempts.append(["_file", "_pos + 1"])
    if hidden is None or "_metadata" in hidden:
        attempts.append(["_metadata.file_path", "_metadata.row_index + 1"])
        attempts.append(["_metadata.file_path", "CAST(NULL AS BIGINT)"])
    own = {name.lower() for name in found.columns}
    with _no_log_of_attempts():
        for file, row in attempts:
            if file.partition(".")[0] in own:
                continue
            try:
                placed = found.selectExpr("*", f"{file} AS {FILE}", f"{row} AS {ROW}")
                placed.schema  # noqa: B018  # a client of Spark Connect looks at columns only when asked
            except AnalysisException:
                continue
            return placed
    return found.selectExpr("*", f"CAST(NULL AS STRING) AS {FILE}", f"CAST(NULL AS BIGINT) AS {ROW}")


def _hidden_columns(found: DataFrame) -> set[str] | None:
    """Return the columns that a connector has besides those of its rows; None where nobody tells."""
    if not hasattr(found, "_jdf"):
        return None
    output: Any = found._jdf.queryExecution().analyzed().metadataOutput()
    return {output.apply(number).name() for number in range(output.size())}


@contextmanager
def _no_log_of_attempts() -> Iterator[None]:
    """Keep PySpark from logging each column that is not there with Java's whole stack."""
    logger = logging.getLogger("SQLQueryContextLogger")
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was


def _estimate(found: DataFrame) -> int | None:
    """Return about how many rows there are, as Spark's planner guesses; None where it has no idea."""
    if not hasattr(found, "_jdf"):
        return None
    stats: Any = found._jdf.queryExecution().optimizedPlan().stats()
    if stats.rowCount().isDefined():
        return int(str(stats.rowCount().get()))
    size = int(str(stats.sizeInBytes()))
    return None if size >= _NO_IDEA else size * _PACKED // _ROW_BYTES
