"""`meterbridge seal`: what was imported, or files of any size at once, into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meterbridge.entrypoints.cli import sealing_spark as spark
from meterbridge.entrypoints.cli.columns import MapOption, SkipBadOption
from meterbridge.entrypoints.cli.metering import SHOWN, increments
from meterbridge.entrypoints.cli.running import DEFAULT_LEDGER, JsonOption, LedgerOption, command
from meterbridge.entrypoints.cli.sealing_options import (
    BadOption,
    FromOption,
    MemoryOption,
    MoreArgument,
    PayerOption,
    RetentionOption,
    SourceOption,
    StoreOption,
    StoreOptionsOption,
    files_of,
    find_files,
    onto_store,
    options_of,
)
from meterbridge.entrypoints.cli.workspace import NoLedger, TariffOption, Workspace, workspace

if TYPE_CHECKING:
    from meterbridge.adapters.bulk.folder import BulkFolder
    from meterbridge.adapters.bulk.scan import Files
    from meterbridge.domain.addresses import Address
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.bulk.sealing import BulkSealing, SealOptions, SealReport
    from meterbridge.services.records import BatchRecord, TariffRecord

INTERRUPTED = 130
_TITLES = {"scan": "Reading and hashing", "write": "Writing"}


@command
def seal(
    more: MoreArgument = None,
    from_: FromOption = None,
    columns: MapOption = None,
    payer: PayerOption = None,
    source: SourceOption = None,
    skip_bad: SkipBadOption = False,
    retention: RetentionOption = None,
    memory: MemoryOption = None,
    engine: spark.EngineOption = spark.Engine.MACHINE,
    master: spark.MasterOption = None,
    conf: spark.ConfOption = None,
    partitions: spark.PartitionsOption = None,
    format_: spark.FormatOption = None,
    read_options: spark.ReadOption = None,
    json_column: spark.JsonColumnOption = None,
    packages: spark.PackagesOption = None,
    jars: spark.JarsOption = None,
    store: StoreOption = None,
    store_options: StoreOptionsOption = None,
    max_receipts: Annotated[
        int | None,
        typer.Option("--max-receipts", min=1, help="Receipts in one batch at most (without --from)."),
    ] = None,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    as_json: JsonOption = False,
) -> None:
    """Seal what was imported into batches, one segment each; or, with --from, files of any size at once.

    They are appended to the logs, which only grow. Files are read, checked, deduplicated and sealed whole
    or not at all: a row that cannot be used stops it before anything is sealed, unless --skip-bad leaves it
    out. What was sealed before is left out, so it may be run again at any time.

    Example: meterbridge seal

    Example: meterbridge seal --from 'calls/*.parquet' --map "id=request_id time=ts payer=customer input=in"

    Example: meterbridge seal --from 'calls/*.parquet' --engine spark --master spark://head:7077

    Example: meterbridge seal --engine spark --packages io.delta:delta-spark_4.1_2.13:4.1.0 --format delta
    --from s3a://usage/calls --store s3://books/segments

    Segments that went to a store are found there by every command; what it needs to be opened is told by
    METERBRIDGE_STORE_OPTIONS.
    """
    from meterbridge.entrypoints.cli.output import Output

    output = Output(as_json)
    choice = spark.SparkChoice(
        engine, master, conf, partitions, format_, read_options, json_column, packages, jars
    )
    if from_ is None and format_ is None:
        given = {"FILE": more, "--map": columns, "--payer": payer, "--source": source, "--skip-bad": skip_bad}
        given |= {"--store": store}
        for name, value in given.items():
            if value:
                raise BadOption(f"{name} is for files: name them with --from", value)
        choice.require_none()
        _seal_imported(output, tariff, ledger, max_receipts)
        return
    if engine is spark.Engine.MACHINE:
        choice.require_none()
    elif memory is not None:
        raise BadOption(
            "--memory is for one machine; grant Spark workers: --conf spark.executor.memoryOverhead=2g",
            memory,
        )
    if max_receipts is not None:
        raise BadOption("--max-receipts is for what was imported; --from makes one batch of a payer", None)
    said = [*(from_ or ()), *(more or ())]
    paths = find_files(said) if choice.format is None else []
    with bulk_workspace(ledger) as (opened, bulk):
        record = opened.tariff(tariff)
        onto = onto_store(bulk, record.id, store, store_options)
        files = files_of(opened, record, paths, columns, payer, source)
        options = options_of(retention, memory, skip_bad)
        if engine is spark.Engine.SPARK:
            report = spark.seal_on_spark(output, onto, record, choice.source(files, said), choice, options)
        else:
            report = _seal_files(output, onto.sealing, record, files, options)
        names = opened.names(record)
    tell_sealed(output, report, names)


def _seal_imported(output: Output, tariff: str | None, ledger: str, max_receipts: int | None) -> None:
    from meterbridge.services.sealing import seal as seal_pending

    with workspace(ledger) as opened:
        record = opened.tariff(tariff)
        waiting = opened.ledger.pending_count(record.id)
        with output.progress("Sealing", waiting) as advance:
            batches = seal_pending(
                opened.ledger,
                opened.segments,
                record.id,
                max_receipts=max_receipts,
                on_progress=increments(advance),
            )
        names = opened.names(record)
    if not batches:
        output.say("Nothing awaits sealing.")
    else:
        _show_batches(output, batches, names)
    output.result({"batches": [batch_json(batch) for batch in batches]})


@contextmanager
def bulk_workspace(folder: str) -> Iterator[tuple[Workspace, BulkFolder]]:
    """Open a ledger folder for sealing files at once.

    Raises:
        NoLedger: when there is none.
    """
    from meterbridge.adapters.bulk.folder import open_bulk
    from meterbridge.adapters.ledger import DATABASE_NAME
    from meterbridge.adapters.segments import FolderSegments

    path = Path(folder)
    if not (path / DATABASE_NAME).exists():
        advice = "`meterbridge init` makes one, --ledger names one"
        raise NoLedger(f"there is no ledger in {path}; {advice}", folder)
    with open_bulk(path) as bulk:
        yield Workspace(path, bulk.ledger, FolderSegments(path / "segments")), bulk


def _seal_files(
    output: Output, sealing: BulkSealing, record: TariffRecord, files: Files, options: SealOptions
) -> SealReport:
    from dataclasses import replace

    from meterbridge.adapters.bulk.scan import scan_files

    try:
        with stages(output) as tell:
            return sealing.seal(record.id, scan_files(files), replace(options, on_progress=tell))
    except KeyboardInterrupt:
        output.warn("interrupted; what was not sealed is as it was before. Run it again to go on.")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def stages(output: Output) -> Iterator[Callable[[str, int], None]]:
    """Show the progress of one stage after another; what it yields takes a stage and what more is done."""
    with ExitStack() as shown:
        lock, advances = Lock(), {}

        def tell(stage: str, done: int) -> None:
            with lock:
                if stage not in advances:
                    shown.close()
                    advances[stage] = shown.enter_context(output.progress(_TITLES[stage]))
                advances[stage](done)

        yield tell


def tell_sealed(output: Output, report: SealReport, names: dict[Address, str]) -> None:
    """Say what became of files that were sealed at once; exit 1 where nothing in them could be used."""
    seconds = sum(report.seconds.values())
    bad = sorted(report.bad, key=lambda pair: (pair[0], pair[1].row_number))
    if report.batches:
        _show_batches(output, report.batches, names)
    if bad:
        rows = [(file, f"{row.row_number:,}", row.reason) for file, row in bad[:SHOWN]]
        output.table("Left out", ["file", ">row", "why"], rows)
        if report.left_out > SHOWN:
            output.say(f"... and {report.left_out - SHOWN:,} more; --json lists the first {len(bad):,}")
    output.say(
        f"{report.sealed:,} receipts sealed, {report.repeated:,} were there already, "
        f"rows left out: {report.left_out:,}; {seconds:.1f} s"
    )
    output.result(
        {
            "sealed": report.sealed,
            "repeated": report.repeated,
            "left_out": report.left_out,
            "bad": [
                {"file": file, "row": row.row_number, "reason": row.reason, "id": row.id} for file, row in bad
            ],
            "usage": [str(lane) for lane in report.totals.lanes],
            "seconds": {stage: round(taken, 3) for stage, taken in report.seconds.items()},
            "batches": [batch_json(batch) for batch in report.batches],
        }
    )
    if report.left_out and not report.sealed and not report.repeated:
        raise typer.Exit(1)


def _show_batches(output: Output, batches: Sequence[BatchRecord], names: dict[Address, str]) -> None:
    rows = [
        (names[b.log.account.payer], b.log.kind.value, str(b.seq), f"{b.size:,}", b.root.hash.hex()[:16])
        for b in batches
    ]
    output.table("Sealed", ["payer", "log", ">batch", ">receipts", "root"], rows[: 5 * SHOWN])
    if len(rows) > 5 * SHOWN:
        output.say(f"... and {len(rows) - 5 * SHOWN:,} more batches; --json lists all of them")


def batch_json(batch: BatchRecord) -> dict[str, Any]:
    """Return a batch as the commands print it."""
    return {
        "payer": str(batch.log.account.payer),
        "log": batch.log.kind.value,
        "seq": batch.seq,
        "receipts": batch.size,
        "root": f"0x{batch.root.hash.hex()}",
        "usage": [str(lane) for lane in batch.root.sum.lanes],
        "segment": batch.segment,
    }
