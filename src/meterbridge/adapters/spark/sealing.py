"""The driver of a seal on Spark: plans, joins heads of subtrees, commits; receipts never come here.

    rows -> receipts, by key -> what is new, by payer and id -> parts -> one index, one file of nodes

What tasks write has a name for each attempt. Only attempts that a finished task named become part of the
seal, so that retries, speculation and workers that die leave nothing but files that are swept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import meterbridge
from meterbridge.adapters.bulk.events import EventIndexWriter
from meterbridge.adapters.bulk.layout import EVENTS, NODES, part_name
from meterbridge.adapters.bulk.ledger import BulkSqlLedger, SqlEvents
from meterbridge.adapters.bulk.manifest import SealHeader, write_manifest
from meterbridge.adapters.spark.cells import Cells, cuts_of
from meterbridge.adapters.spark.judging import counted_cells, judge_ranges
from meterbridge.adapters.spark.measuring import bad_rows, measure_usage
from meterbridge.adapters.spark.packs import SPARK_SCHEMA, Kind, Message
from meterbridge.adapters.spark.session import SparkFailed, first_line
from meterbridge.adapters.spark.sources import Input, Source
from meterbridge.adapters.spark.store import IndexPlace, SealDraft, SparkSeals
from meterbridge.adapters.spark.work import RANGE_RECEIPTS, Task, Work, raise_failure, run_task
from meterbridge.adapters.spark.writing import Assembly, assemble, join_heads, split_by_part, write_parts
from meterbridge.services.bulk.logs import seal_batches, total_usage
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.bulk.ports import SealedBatch
from meterbridge.services.bulk.sealing import RETENTION_DAYS, SealReport
from meterbridge.services.ledger_errors import BadUsage, UsageConflict

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_DAY_MS: Final = 86_400_000
_RANGES_MAX: Final = 1 << 15
_UNKNOWN_RANGES: Final = 200
_KNOWN_RANGES: Final = 256


@dataclass(frozen=True, slots=True)
class SparkOptions:
    """How to seal on Spark.

    Attributes:
        partitions: tasks that measure and judge at least; Spark's own default when None.
        retention_days: for how long an event is known to have been sealed; None is for ever.
        skip_bad: leave bad rows and conflicts out and list them, instead of sealing nothing.
    """

    partitions: int | None = None
    retention_days: int | None = RETENTION_DAYS
    skip_bad: bool = False


class SparkSealing:
    """Seals one tariff's usage after another into a ledger and its store of seals."""

    def __init__(
        self,
        ledger: BulkSqlLedger,
        seals: SparkSeals,
        spark: SparkSession,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Take the ledger, the store, a running Spark, and the time in milliseconds since 1970."""
        self._ledger, self._seals, self._spark, self._now = ledger, seals, spark, now

    def seal(
        self,
        tariff_id: bytes,
        source: Source,
        options: SparkOptions | None = None,
        on_stage: Callable[[str], None] = lambda _name: None,
    ) -> SealReport:
        """Seal what a source holds.

        Args:
            tariff_id: 32 bytes.
            source: what to seal.
            options: how.
            on_stage: told the name of each stage as it begins.

        Raises:
            BadUsage: at a row that cannot be used, unless `skip_bad`; nothing is sealed then.
            UsageConflict: likewise, when a row has the id of another receipt and another content.
            HeadroomExceeded: when a log's total would leave the tariff's headroom; nothing is sealed.
            LedgerBusy: when another process is sealing.
            SparkFailed: when Spark gave up; nothing is sealed.
        """
        chosen = options or SparkOptions()
        retention = 2**62 if chosen.retention_days is None else chosen.retention_days * _DAY_MS
        with self._ledger.sole_writer(), _telling_of_spark():
            self._seals.sweep(tariff_id)
            horizon = self._seals.horizon(tariff_id, retention)
            record = self._ledger.tariff(tariff_id)
            others = self._ledger.known_events(tariff_id)
            draft = self._seals.begin(record)
            try:
                known = [*self._seals.indexes(tariff_id, horizon), *_put_known(draft, others)]
                accounts = self._ledger.accounts(tariff_id)
                partitions = chosen.partitions or self._default_partitions()
                found = source.open(self._spark, partitions)
                ranges = chosen.partitions or max(partitions, _UNKNOWN_RANGES)
                if found.receipts is not None:
                    ranges = max(partitions, -(-found.receipts // RANGE_RECEIPTS))
                work = Work(
                    meterbridge.__version__,
                    record,
                    accounts,
                    horizon,
                    min(_RANGES_MAX, ranges),
                    chosen.skip_bad,
                    draft.attempts,
                    known,
                )
                run = _Run(self._spark, self._ledger, draft, work, on_stage)
                batches = run.make(found, self._now())
            except BaseException:
                draft.abandon()
                raise
            if batches:
                with run.stage("commit"):
                    self._ledger.commit_seal(draft.name, batches, others)
        return run.report

    def _default_partitions(self) -> int:
        try:
            return int(self._spark.sparkContext.defaultParallelism)
        except AttributeError:  # a client of Spark Connect does not know
            return int(self._spark.conf.get("spark.sql.shuffle.partitions") or 200)


@contextmanager
def _telling_of_spark() -> Iterator[None]:
    """Turn what Spark raises into one line."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise SparkFailed(f"Spark gave up: {first_line(error)}", type(error).__name__) from error


def _put_known(draft: SealDraft, others: SqlEvents) -> list[IndexPlace]:
    """Give tasks, which cannot ask the ledger, the events that came to it one by one."""
    written = 0
    with draft.attempts.writing("known") as attempt:
        writer = EventIndexWriter(attempt.path)
        for entries in others.ranges(_KNOWN_RANGES):
            writer.append(entries)
            written += len(entries)
        writer.close()
    return [draft.index(attempt.name)] if written else []


def _planned_once(spark: SparkSession, frame: DataFrame) -> DataFrame:
    """Return a frame whose every action sees the same version of the tables that it reads.

    Since 4.1 Spark looks for a newer version at each action, and a frame of another version is not the one
    that was kept. A plan that runs already is asked for no version; what is lost of it is made again from it.
    """
    if not hasattr(frame, "_jdf"):  # a client of Spark Connect has no other way
        return frame.localCheckpoint(eager=False)
    from pyspark.sql.classic.dataframe import DataFrame as Classic

    java: Any = frame._jdf
    session: Any = spark._jsparkSession
    return Classic(session.createDataFrame(java.toJavaRDD(), java.schema()), spark)


class _Run:
    """One seal on its way."""

    def __init__(
        self,
        spark: SparkSession,
        ledger: BulkSqlLedger,
        draft: SealDraft,
        work: Work,
        on_stage: Callable[[str], None],
    ) -> None:
        self._spark, self._ledger, self._draft, self._work = spark, ledger, draft, work
        self._on_stage = on_stage
        self.report = SealReport()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell of a stage, and measure it."""
        self._on_stage(name)
        with self.report.stage(name):
            yield

    def make(self, found: Input, now: int) -> list[SealedBatch]:
        """Write the seal; return its batches, which the ledger is to learn of; none where nothing is new."""
        judged = self._judged(found)
        try:
            with self.stage("judge"):
                verdicts = self._verdicts(judged)
            plan, cells = self._plan(verdicts)
            if not len(plan.sizes):
                self._draft.abandon()
                return []
            cuts = cuts_of(plan, cells)
            with self.stage("write"):
                split = self._map(judged.filter("kind = 0"), partial(split_by_part, cuts))
                writing = partial(write_parts, self._work, plan, cuts)
                parts = self._collect(self._map(split.repartitionById(len(cuts), "place"), writing))
        finally:
            judged.unpersist()
        with self.stage("log"):
            forest, joins = join_heads(plan, parts)
            batches = seal_batches(
                self._ledger, self._work.record, self._work.accounts, plan, forest, self._draft.name
            )
        assembly = Assembly(
            [v.said["piece"] for v in verdicts], [p.said["nodes"] for p in parts], joins, plan.node_words
        )
        self._finish(plan, parts, assembly, batches, now)
        self.report.batches = [batch.record for batch in batches]
        self.report.sealed, self.report.totals = plan.rows, total_usage(batches)
        return batches

    def _judged(self, found: Input) -> DataFrame:
        from pyspark import StorageLevel

        measured = self._map(found.frame, partial(measure_usage, self._work, found.reader))
        by_key = measured.repartitionById(self._work.ranges, "place")
        judged = self._map(by_key, partial(judge_ranges, self._work))
        return _planned_once(self._spark, judged).persist(StorageLevel.DISK_ONLY)

    def _verdicts(self, judged: DataFrame) -> list[Message]:
        """Run the first two tasks; raise what they refused, in the order of one machine."""
        messages = self._collect(judged.filter("kind <> 0"))
        refused = [m for m in messages if m.kind is Kind.BAD_ROW]
        plain = bad_rows([m for m in refused if "conflict" not in m.said])
        conflicts = bad_rows([m for m in refused if "conflict" in m.said])
        if not self._work.skip_bad:
            for file, bad in plain[:1]:
                raise BadUsage(bad.row_number, f"{bad.reason} ({file})", bad.value)
            for file, bad in conflicts[:1]:
                raise UsageConflict(bad.row_number, f"{bad.reason} ({file})", bad.value)
        for file, bad in [*plain, *conflicts]:
            self.report.leave_out(file, bad)
        verdicts = sorted((m for m in messages if m.kind is Kind.VERDICT), key=lambda m: m.place)
        self.report.repeated = sum(m.said["repeated"] for m in verdicts)
        return verdicts

    def _plan(self, verdicts: Sequence[Message]) -> tuple[SealPlan, Cells]:
        cells = Cells.of(counted_cells(verdicts))
        return SealPlan.of(cells.receipts_of(len(self._work.accounts))), cells

    def _finish(
        self,
        plan: SealPlan,
        parts: Sequence[Message],
        assembly: Assembly,
        batches: Sequence[SealedBatch],
        now: int,
    ) -> None:
        with self.stage("assemble"):
            both = self._spark.range(0, 2, 1, 2)
            made = self._collect(self._map(both, partial(assemble, self._work, assembly)))
        files = {part_name(m.place): m.said["part"] for m in parts}
        files |= {m.said["name"]: m.said["attempt"] for m in made}
        first_rows = [blocks[0].first for blocks in plan.parts()]
        if set(files) != {NODES, EVENTS, *map(part_name, range(len(first_rows)))}:
            raise SparkFailed(f"Spark returned {sorted(files)} of {len(first_rows)} parts", len(files))
        record, accounts = self._work.record, self._work.accounts
        header = SealHeader(record.domain, record.id, now, [*first_rows, plan.rows])
        payers = [str(account.key.payer) for account in accounts]

        def manifest(path: Path) -> None:
            write_manifest(path, header, plan, accounts, payers, batches)

        with self.stage("sync"):
            self._draft.finish(files, manifest)

    def _map(self, frame: DataFrame, task: Task) -> DataFrame:
        run: Any = partial(run_task, self._work, task)
        return frame.mapInArrow(run, SPARK_SCHEMA)

    def _collect(self, frame: DataFrame) -> list[Message]:
        """Return all messages of a small frame, each part once, unless one says that a task failed."""
        messages = [
            Message(row.place, Kind(row.kind), json.loads(row.said), bytes(row.rows))
            for row in frame.collect()
        ]
        for message in messages:
            if message.kind is Kind.FAILURE:
                raise_failure(message)
        return messages
