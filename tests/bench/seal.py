"""Sealing a flood of receipts: from Parquet to synced segments and logs, deduplicated against earlier ones.

  receipts_per_second      sealed receipts over the wall time of the whole call
  peak_bytes               most memory the sealing process had (ru_maxrss), all of Python and Arrow included
  seconds                  by stage: scan (read, hash ids and leaves, key), dedupe, write (order, trees,
                           parts, their sync), log, sync (index and manifest), commit
  cpu_seconds              that all cores worked meanwhile, in the program (user) and for it in the kernel
                           (system: mostly memory that is touched for the first time, which a virtual machine
                           may first have to get from its host)
  permutations_per_second_per_core
                           of the kernel that hashes leaves; safe_pysha3 and pycryptodome hash as many
                           messages of one permutation (null where the library is not installed)
  share_of_limit           the rate against what that kernel, at work on all cores, would allow at four
                           permutations a receipt: id, leaf, and two for a node

The input is made up: payers of very unequal size, event ids of 20 to 60 characters, four sources, six models.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PERMUTATIONS = 4


def main() -> None:
    """Measure, and print."""
    options = _options()
    if options.worker:
        print(json.dumps(_seal(Path(options.worker), options.file, options.payers, options.memory)))
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-seal-", dir=options.folder))
    try:
        figures = _measure(folder, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:36} {value}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object for machines")
    parser.add_argument("--receipts", type=int, default=10_000_000)
    parser.add_argument("--earlier", type=int, help="receipts that are sealed before; as many by default")
    parser.add_argument("--payers", type=int, default=1_000)
    parser.add_argument("--memory", type=int, help="bytes that receipts may take in memory")
    parser.add_argument("--folder", help="where to work; the system's temporary folder by default")
    parser.add_argument("--keep", action="store_true", help="leave the ledger folder there")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from _calls import write_calls
    from _keccak import kernel_rate, library_rates, machine

    from meterbridge.domain.vector_code import cores

    earlier = options.receipts if options.earlier is None else options.earlier
    _say(f"making {earlier:,} earlier and {options.receipts:,} new calls in {folder} ...")
    if earlier:
        write_calls(folder / "earlier.parquet", earlier, 1, options.payers)
        _say("sealing the earlier ones ...")
        _worker(folder, "earlier.parquet", options)
        (folder / "earlier.parquet").unlink()
    write_calls(folder / "new.parquet", options.receipts, 2, options.payers)
    os.sync()  # what was made must not be written while we measure
    _say("sealing ...")
    found = _worker(folder, "new.parquet", options)
    _say("measuring the kernels ...")
    one, all_cores = kernel_rate(), kernel_rate(cores())
    rate = found["receipts"] / found["total_seconds"]
    return {
        "receipts": found["receipts"],
        "earlier": earlier,
        "payers": found["payers"],
        "receipts_per_second": round(rate),
        "peak_bytes": found["peak_bytes"],
        "total_seconds": round(found["total_seconds"], 3),
        "seconds": {stage: round(taken, 3) for stage, taken in found["seconds"].items()},
        "cpu_seconds": {kind: round(taken, 3) for kind, taken in found["cpu_seconds"].items()},
        "stored_bytes": found["stored_bytes"],
        "permutations_per_second_per_core": round(one),
        **{f"{name}_per_second": rate and round(rate) for name, rate in library_rates().items()},
        "share_of_limit": round(rate * PERMUTATIONS / all_cores, 3),
        **machine(),
    }


def _worker(folder: Path, file: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seal in a process of its own, whose peak of memory is that of sealing."""
    command = [
        sys.executable,
        __file__,
        "--worker",
        str(folder),
        "--file",
        file,
        "--payers",
        str(options.payers),
    ]
    if options.memory:
        command += ["--memory", str(options.memory)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _seal(folder: Path, file: str, payers: int, memory: int | None) -> dict[str, Any]:
    from _calls import MAP, payer, tariff_record

    from meterbridge.adapters.bulk.folder import open_bulk
    from meterbridge.adapters.bulk.scan import Files, scan_files
    from meterbridge.services.bulk.sealing import MEMORY_BYTES, SealOptions
    from meterbridge.services.ledger_errors import UnknownTariff
    from meterbridge.services.records import AccountKey

    record = tariff_record()
    with open_bulk(folder / "ledger") as opened:
        try:
            opened.ledger.tariff(record.id)
        except UnknownTariff:
            opened.ledger.add_tariff(record)
            for number in range(payers):
                key = AccountKey(record.domain, record.id, payer(number))
                opened.ledger.open_account(key, number.to_bytes(32, "big"))
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        report = opened.sealing.seal(
            record.id,
            scan_files(Files([folder / file], MAP)),
            SealOptions(memory_bytes=memory or MEMORY_BYTES),
        )
        taken, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    seal = (report.batches[0].segment or "").partition("#")[0]
    files = (folder / "ledger" / "segments" / seal).iterdir()
    return {
        "receipts": report.sealed,
        "payers": len(report.batches),
        "total_seconds": taken,
        "seconds": report.seconds,
        "cpu_seconds": {
            "user": after.ru_utime - before.ru_utime,
            "system": after.ru_stime - before.ru_stime,
        },
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "stored_bytes": sum(path.stat().st_size for path in files),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
