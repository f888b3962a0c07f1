"""Sealing a flood: from files of calls to batches in all logs of a tariff at once (protocol, section 4).

Each receipt is hashed as it is scanned, judged by its event's key against the rest of the input and all that
is known, put in the order of its batch, and written once. Every account that has something new gets one
batch, whatever the order of the input. Parts, trees and the index of events are on disk before one
transaction tells the ledger; a crash leaves the old state, or the new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk.chunk import Details, Sources
from meterbridge.services.bulk.intake import Intake, Job, PoolSize, take_all
from meterbridge.services.bulk.judging import LISTED_MAX, Verdict, judge_all
from meterbridge.services.bulk.logs import seal_batches, total_usage
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.bulk.ports import (
    BulkLedger,
    Reading,
    Run,
    SealStore,
    Spilling,
)
from meterbridge.services.bulk.runs import PoolRun
from meterbridge.services.bulk.writing import write_parts
from meterbridge.services.ledger_errors import BadUsage, UsageConflict
from meterbridge.services.records import (
    AccountRecord,
    BadRow,
    BatchRecord,
    TariffRecord,
)

RETENTION_DAYS: Final = 35
MEMORY_BYTES: Final = 3 * 2**30
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Scanning:
    """What a scan must know, and whom it tells.

    Attributes:
        record: the tariff.
        accounts: its accounts; chunks number them in this order.
        sources: numbers who reported.
        details: numbers canonical JSON.
        horizon: milliseconds since 1970; earlier events are refused, since they cannot be told to be new.
        refuse: takes a file's name and a row that cannot be used; raises, or has it left out.
    """

    record: TariffRecord
    accounts: Sequence[AccountRecord]
    sources: Sources
    details: Details
    horizon: int
    refuse: Callable[[str, BadRow], None]


Scan = Callable[[Scanning], Iterable[Job]]


@dataclass(frozen=True, slots=True)
class SealOptions:
    """How to seal.

    Attributes:
        memory_bytes: how much receipts may take while they are in memory; what exceeds it goes through disk.
        retention_days: for how long an event is known to have been sealed; None is for ever.
        skip_bad: leave bad rows and conflicts out and list them, instead of sealing nothing.
        threads: all cores when None.
        on_progress: told a stage, "scan" or "write", and how many more receipts it has done; by many threads.
    """

    memory_bytes: int = MEMORY_BYTES
    retention_days: int | None = RETENTION_DAYS
    skip_bad: bool = False
    threads: int | None = None
    on_progress: Callable[[str, int], object] | None = None

    def told(self, stage: str) -> Callable[[int], object]:
        """Return what takes the progress of one stage."""
        tell = self.on_progress
        return (lambda _done: None) if tell is None else partial(tell, stage)


@dataclass(slots=True)
class SealReport:
    """What became of the input.

    Attributes:
        sealed: receipts that are new.
        repeated: events that were there already, with the same content.
        bad: (file, row) of what was left out, the first 10,000 of them.
        left_out: how many rows were left out.
        totals: usage of the sealed receipts.
        batches: one for each account that has something new.
        seconds: what each stage took.
    """

    sealed: int = 0
    repeated: int = 0
    bad: list[tuple[str, BadRow]] = field(default_factory=list)
    left_out: int = 0
    totals: UsageVector = field(default_factory=UsageVector.zero)
    batches: list[BatchRecord] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def leave_out(self, file: str, bad: BadRow) -> None:
        """Count a row that is left out, and list it while there is room."""
        self.left_out += 1
        if len(self.bad) < LISTED_MAX:
            self.bad.append((file, bad))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class BulkSealing:
    """Seals files of one tariff after another into one ledger and its store of seals."""

    def __init__(self, ledger: BulkLedger, store: SealStore, spilling: Spilling) -> None:
        """Take the ledger, the store, and disk for what exceeds memory."""
        self._ledger, self._store, self._spilling = ledger, store, spilling

    def seal(self, tariff_id: bytes, scan: Scan, options: SealOptions | None = None) -> SealReport:
        """Seal what a scan finds.

        Raises:
            BadUsage: at a row that cannot be used, unless `skip_bad`; nothing is sealed then.
            UsageConflict: likewise, when a row has the id of another receipt and another content.
            HeadroomExceeded: when a log's total would leave the tariff's headroom; nothing is sealed.
            LedgerBusy: when another process is sealing.
        """
        chosen = options or SealOptions()
        report = SealReport()
        with self._ledger.sole_writer():
            self._store.sweep(tariff_id)
            retention = 2**62 if chosen.retention_days is None else chosen.retention_days * _DAY_MS
            horizon = self._store.horizon(tariff_id, retention)
            scanning = Scanning(
                self._ledger.tariff(tariff_id),
                self._ledger.accounts(tariff_id),
                Sources(),
                Details(),
                horizon,
                _Refusals(report, chosen.skip_bad).refuse,
            )
            self._spilling.clear()
            try:
                self._seal(scanning, scan, chosen, report)
            finally:
                self._spilling.clear()
        return report

    def _seal(self, scanning: Scanning, scan: Scan, options: SealOptions, report: SealReport) -> None:
        with report.stage("scan"):
            runs, reading = self._take(scanning, scan, options)
        tariff_id = scanning.record.id
        writer = self._store.begin(
            scanning.record, scanning.accounts, scanning.sources.values, scanning.details.values
        )
        try:
            with report.stage("dedupe"):
                sealed = self._store.known_events(tariff_id, scanning.horizon)
                others = self._ledger.known_events(tariff_id)
                verdict = judge_all(
                    runs, [*sealed, others], len(scanning.accounts), writer.append_events, options.threads
                )
            _report_conflicts(verdict, scanning, report, options.skip_bad)
            plan = SealPlan.of(verdict.counts)
            if not len(plan.sizes):
                writer.abandon()
                return
            in_order = not isinstance(reading, PoolRun)
            with report.stage("write"):
                forest = write_parts(
                    plan,
                    reading,
                    writer,
                    in_order=in_order,
                    threads=options.threads,
                    told=options.told("write"),
                )
            with report.stage("log"):
                batches = seal_batches(
                    self._ledger, scanning.record, scanning.accounts, plan, forest, writer.name
                )
            with report.stage("sync"):
                writer.finish(plan, forest.stored, batches)
        except BaseException:
            writer.abandon()
            raise
        with report.stage("commit"):
            self._ledger.commit_seal(writer.name, batches, others)
        report.batches = [batch.record for batch in batches]
        report.sealed = plan.rows
        report.totals = total_usage(batches)

    def _take(self, scanning: Scanning, scan: Scan, options: SealOptions) -> tuple[Sequence[Run], Reading]:
        blinds = [account.blind for account in scanning.accounts]
        size = PoolSize.within(options.memory_bytes)
        intake = Intake(size, blinds, scanning.sources, scanning.details, self._spilling)
        take_all(scan(scanning), intake, options.threads, options.told("scan"))
        if not intake.spilled:
            run = PoolRun(*intake.last_pool())
            return [run], run
        intake.spill_rest()
        return intake.spilled, self._spilling.merged()


class _Refusals:
    """Stops at the first bad row, or lists them."""

    def __init__(self, report: SealReport, skip: bool) -> None:
        self._report, self._skip = report, skip
        self._lock = threading.Lock()

    def refuse(self, file: str, bad: BadRow) -> None:
        """Take a bad row; called from many threads."""
        if not self._skip:
            raise BadUsage(bad.row_number, f"{bad.reason} ({file})", bad.value)
        with self._lock:
            self._report.leave_out(file, bad)


def conflict_reason(source: str, event_id: str) -> str:
    """Say why a row is left out whose event is there with another content."""
    return (
        f"event {event_id!r} of {source!r} is there already with another content; "
        "correct that receipt, or give this one its own id"
    )


def _report_conflicts(verdict: Verdict, scanning: Scanning, report: SealReport, skip: bool) -> None:
    report.repeated = verdict.repeated
    report.left_out += verdict.conflicting - len(verdict.conflicts)
    for run, number in verdict.conflicts:
        row, event_id = run.receipt(number)
        file, row_number = run.origin(number)
        source = scanning.sources.values[int(row["source"])]
        reason = conflict_reason(source, event_id)
        if not skip:
            raise UsageConflict(row_number, f"{reason} ({file})", event_id)
        report.leave_out(file, BadRow(row_number, event_id, reason, event_id))
