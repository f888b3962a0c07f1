"""Proving single receipts of a large seal, and streaming a payer's period out of it.

The ledger holds `receipts` sealed at once for 1,000 payers of very unequal size, under a signed statement.

  open_milliseconds        opening the ledger and a prover in a process that has the libraries loaded: tariff,
                           manifest, the fences of the index
  milliseconds             of one worked proof by source and event id: found in the index, read with the 32
                           receipts around it, joined with stored nodes, checked against its batch's root, and
                           led up to the statement. `first` is the first of the opened prover
  cpu_milliseconds         of those, what the processor worked: the rest is waiting, also for other programs
  of_the_largest           the same for receipts of the payer that has most (a tenth of all)
  uncached_milliseconds    the same where the system has none of the seal's files in memory
  verify_milliseconds      of checking such a proof, signature included
  command_milliseconds     of `meterbridge prove` as a whole: a process that starts, loads libraries, opens
                           everything, proves one receipt, writes the file and ends
  period                   all receipts of that payer as a stream: how many a second, and the most memory that
                           the process had by then
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

TIME: Final = 1_795_000_000


def main() -> None:
    """Measure, and print."""
    options = _options()
    if options.worker:
        print(json.dumps(_measure(Path(options.worker), options.samples)))
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-prove-", dir=options.folder))
    try:
        figures = _in_processes(folder, options)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28} {value}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object for machines")
    parser.add_argument("--receipts", type=int, default=10_000_000)
    parser.add_argument("--payers", type=int, default=1_000)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--folder", help="where to work; the system's temporary folder by default")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_processes(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from _calls import write_calls
    from _keccak import machine

    write_calls(folder / "calls.parquet", options.receipts, 3, options.payers)
    seal = [sys.executable, str(Path(__file__).with_name("seal.py")), "--worker", str(folder)]
    subprocess.run(
        [*seal, "--file", "calls.parquet", "--payers", str(options.payers)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    command = [sys.executable, __file__, "--worker", str(folder), "--samples", str(options.samples)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"receipts": options.receipts, "payers": options.payers, **json.loads(done.stdout), **machine()}


def _measure(folder: Path, samples: int) -> dict[str, Any]:
    from _calls import payer, tariff_record

    from meterbridge.library.workspace import workspace
    from meterbridge.services.proving import Prover
    from meterbridge.services.statements import make_statements

    record = tariff_record()
    calls = _calls(folder / "calls.parquet", samples)
    random.Random(1).shuffle(calls)
    mine = [call for call in _calls(folder / "calls.parquet", 15 * samples) if call[2] == str(payer(0))]
    with workspace(folder / "ledger") as opened:
        make_statements(opened.ledger, record, TIME, _signer())
    start = time.perf_counter()
    with workspace(folder / "ledger") as opened:
        prover = Prover(opened.ledger, opened.segments, record.id).warm()
        # As `meterbridge serve` does: a full collection of all that is loaded takes a tenth of a second.
        gc.collect()
        gc.freeze()
        ready = time.perf_counter() - start
        all_ = [_timed(prover, call) for call in calls]
        largest = [_timed(prover, call)[0] for call in mine[:samples]]
        proofs = [prover.prove_event(*call[:2]) for call in calls[:20]]
        cold = [_uncached(folder, prover, call) for call in calls[: max(1, samples // 20)]]
    times = [taken for taken, _ in all_]
    return {
        "samples": len(calls),
        "open_milliseconds": _ms(ready),
        "milliseconds": {"first": _ms(times[0]), **_spread(times)},
        "cpu_milliseconds": _spread([worked for _, worked in all_]),
        "of_the_largest": {"samples": len(largest), **_spread(largest)},
        "uncached_milliseconds": {"samples": len(cold), **_spread(cold)},
        "verify_milliseconds": _spread([_verify(proof) for proof in proofs]),
        "command_milliseconds": _spread(
            [_command(folder, call) for call in calls[: 1 + min(9, samples // 100)]]
        ),
        "period": _period(folder, record, payer(0)),
    }


def _calls(path: Path, samples: int) -> list[tuple[str, str, str]]:
    """Return source, event id and payer of some calls from all over a file."""
    import pyarrow.parquet as pq

    found = []
    with pq.ParquetFile(path) as file:
        groups = file.metadata.num_row_groups
        for group in range(groups):
            rows = file.read_row_group(group, columns=["source", "event_id", "payer"])
            step = max(1, len(rows) * groups // samples)
            found += [tuple(row.values()) for row in rows.take(list(range(0, len(rows), step))).to_pylist()]
    return found


def _timed(prover: Any, call: tuple[str, str, str]) -> tuple[float, float]:
    """Return the seconds of one proof, and of the processor."""
    start, worked = time.perf_counter(), time.thread_time()
    prover.prove_event(*call[:2])
    return time.perf_counter() - start, time.thread_time() - worked


def _uncached(folder: Path, prover: Any, call: tuple[str, str, str]) -> float:
    """Return the seconds of one proof after the system has forgotten all files of the segments."""
    for path in (folder / "ledger" / "segments").rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    return _timed(prover, call)[0]


def _command(folder: Path, call: tuple[str, str, str]) -> float:
    """Return the seconds of the whole command."""
    command = [sys.executable, "-m", "meterbridge", "prove", "--source", call[0], "--json"]
    command += ["--ledger", str(folder / "ledger"), "--out", str(folder / "proof.json"), "--", call[1]]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _verify(proof: Any) -> float:
    from meterbridge.services.proofs import verify_proof

    start = time.perf_counter()
    verify_proof(proof)
    return time.perf_counter() - start


def _period(folder: Path, record: Any, who: Any) -> dict[str, Any]:
    """Stream all receipts of a payer to nowhere."""
    from meterbridge.adapters.bulk.streaming import SealedPeriods, write_ndjson, write_parquet
    from meterbridge.adapters.ledger import open_ledger
    from meterbridge.services.periods import receipts_of_period
    from meterbridge.services.records import AccountKey

    account = AccountKey(record.domain, record.id, who)
    found: dict[str, Any] = {}
    with open_ledger(folder / "ledger") as ledger:
        for name, write in (("parquet", write_parquet), ("ndjson", write_ndjson)):
            source, start = SealedPeriods(folder / "ledger" / "segments"), time.perf_counter()
            with Path(os.devnull).open("wb") as sink:
                count = write(receipts_of_period(ledger, source, account, 0, 2**47), sink)
            found |= {"receipts": count, f"{name}_per_second": round(count / (time.perf_counter() - start))}
    return {**found, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _signer() -> Any:
    from meterbridge.adapters.signers import LocalSigner

    return LocalSigner(bytes([7]) * 32)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": _ms(ordered[len(ordered) // 2]),
        "99_of_100": _ms(ordered[len(ordered) * 99 // 100]),
        "most": _ms(ordered[-1]),
    }


if __name__ == "__main__":
    main()
