"""Sealing on Spark with one and with two executors, against one machine's own way, all in one run.

  machine                  all cores, without Spark
  machine_one_thread       one core, without Spark
  spark_1_executor         one executor of one core
  spark_2_executors        two executors of one core each

Of each: receipts_per_second, total_seconds, seconds by stage, and core_seconds, which all its processes spent
on processors: other work on the machine changes those little. Spark's start and a first small seal, in
which processes start and code is compiled, are not counted in the rates; they are start_seconds. All four
seal the same calls into new ledgers, and must give the same root for every payer.

  speedup                  of two executors over one
  share_of_machine         two executors' rate against that of all cores without Spark

Executors run on this machine beside the driver: with two cores, two executors share them with the driver
and with each other's shuffles, so the figures say what Spark costs rather than how far it goes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

RUNS = {"machine": 0, "machine_one_thread": 0, "spark_1_executor": 1, "spark_2_executors": 2}
WARM_UP = 20_000


def main() -> None:
    """Measure, and print."""
    options = _options()
    if options.worker:
        folder = Path(options.worker)
        executors = RUNS[options.run]
        seal = _seal_on_spark if executors else _seal_here
        print(json.dumps(seal(folder, options, executors)))
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-spark-", dir=options.folder))
    try:
        figures = _measure(folder, options)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24} {value}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object for machines")
    parser.add_argument("--receipts", type=int, default=4_000_000)
    parser.add_argument("--payers", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--executor-memory", default="1g", help="of each executor's Java process")
    parser.add_argument("--folder", help="where to work; the system's temporary folder by default")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from _calls import write_calls
    from _keccak import machine

    _say(f"making {options.receipts:,} calls in {folder} ...")
    write_calls(folder / "calls.parquet", options.receipts, 1, options.payers)
    write_calls(folder / "warm-up.parquet", WARM_UP, 2, options.payers)
    found = {}
    for run in RUNS:
        _say(f"sealing: {run.replace('_', ' ')} ...")
        found[run] = _worker(folder, run, options)
        shutil.rmtree(folder / run)
    roots = {run: figures.pop("roots") for run, figures in found.items()}
    if any(root != roots["machine"] for root in roots.values()):
        raise SystemExit("the roots differ: nothing that was measured means anything")
    rates = {run: figures["receipts_per_second"] for run, figures in found.items()}
    return {
        "receipts": options.receipts,
        "payers": options.payers,
        "partitions": options.partitions,
        **found,
        "speedup": round(rates["spark_2_executors"] / rates["spark_1_executor"], 2),
        "share_of_machine": round(rates["spark_2_executors"] / rates["machine"], 3),
        "same_roots": True,
        **machine(),
    }


def _worker(folder: Path, run: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seal in a process of its own."""
    command = [sys.executable, __file__, "--worker", str(folder), "--run", run]
    for name in ("payers", "partitions", "executor_memory"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _seal_here(folder: Path, options: argparse.Namespace, _executors: int) -> dict[str, Any]:
    from _calls import MAP

    from meterbridge.adapters.bulk.scan import Files, scan_files
    from meterbridge.services.bulk.sealing import SealOptions

    threads = 1 if options.run == "machine_one_thread" else None
    with _ledger(folder / options.run, options.payers) as (opened, record):
        start, spent = time.perf_counter(), core_seconds()
        report = opened.sealing.seal(
            record.id, scan_files(Files([folder / "calls.parquet"], MAP)), SealOptions(threads=threads)
        )
        return _figures(report, time.perf_counter() - start, core_seconds() - spent)


def _seal_on_spark(folder: Path, options: argparse.Namespace, executors: int) -> dict[str, Any]:
    from _calls import MAP

    from meterbridge.adapters.bulk.scan import Files
    from meterbridge.adapters.spark.sealing import SparkOptions, SparkSealing
    from meterbridge.adapters.spark.session import spark_session
    from meterbridge.adapters.spark.sources import FileSource
    from meterbridge.adapters.spark.store import SparkSeals

    start = time.perf_counter()
    settings = {"spark.executor.memory": options.executor_memory, "spark.local.dir": str(folder / "scratch")}
    memory = 1024 * int(options.executor_memory.removesuffix("g"))
    how = SparkOptions(partitions=options.partitions)

    def seal(spark: Any, name: str, file: str) -> dict[str, Any]:
        with _ledger(folder / options.run / name, options.payers) as (opened, record):
            sealing = SparkSealing(opened.ledger, SparkSeals(opened.seals), spark)
            begun, spent = time.perf_counter(), core_seconds()
            report = sealing.seal(record.id, FileSource(Files([folder / file], MAP)), how)
            return _figures(report, time.perf_counter() - begun, core_seconds() - spent)

    with spark_session(f"local-cluster[{executors},1,{memory}]", settings) as spark:
        seal(spark, "warm-up", "warm-up.parquet")
        started = round(time.perf_counter() - start, 1)
        return {**seal(spark, "measured", "calls.parquet"), "start_seconds": started}


def core_seconds() -> float:
    """Return what this process and all below it have used of the processors, those that ended included."""
    ticks, parents, used = 0, {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            used[int(path.parent.name)] = sum(map(int, fields[11:15]))
    wave = [os.getpid()]
    while wave:
        ticks += sum(used[pid] for pid in wave if pid in used)
        wave = [pid for pid, parent in parents.items() if parent in wave]
    return ticks / os.sysconf("SC_CLK_TCK")


def _figures(report: Any, taken: float, spent: float) -> dict[str, Any]:
    return {
        "receipts_per_second": round(report.sealed / taken),
        "total_seconds": round(taken, 3),
        "core_seconds": round(spent, 2),
        "seconds": {stage: round(seconds, 3) for stage, seconds in report.seconds.items()},
        "roots": {str(b.log.account.payer): b.root.hash.hex() for b in report.batches},
    }


def _ledger(folder: Path, payers: int) -> Any:
    from contextlib import contextmanager

    from _calls import payer, tariff_record

    from meterbridge.adapters.bulk.folder import open_bulk
    from meterbridge.services.records import AccountKey

    @contextmanager
    def opened() -> Any:
        record = tariff_record()
        folder.mkdir(parents=True)
        with open_bulk(folder) as bulk:
            bulk.ledger.add_tariff(record)
            for number in range(payers):
                key = AccountKey(record.domain, record.id, payer(number))
                bulk.ledger.open_account(key, number.to_bytes(32, "big"))
            yield bulk, record

    return opened()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
