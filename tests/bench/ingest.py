"""Durable events a second over HTTP, the load generator included on the same cores.

    scripts/bench ingest --json        {"sqlite_1": {"events_per_second", "p50_ms", "p99_ms"}, ...}

Every event counts only once its acknowledgement is here: it is then committed with synchronous=FULL in
SQLite, with fsync on in PostgreSQL. Senders are processes with connections of their own, and prepare their
bodies before the clock starts: a gateway's own work is not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import _service as support
import uvloop

CONNECTIONS = {1: 64, 100: 8, 1_000: 4}
WARM = 0.1
IDLE_SHARE = 0.05
_CONTENT = {1: "application/cloudevents+json"}
_BATCH = "application/cloudevents-batch+json"


def bodies(size: int, count: int, name: str) -> list[bytes]:
    """Return `count` request bodies of `size` new events each, no two alike."""
    made = []
    for number in range(count):
        events = [call(f"{name}-{number}-{i}", number * size + i) for i in range(size)]
        made.append(json.dumps(events[0] if size == 1 else events, separators=(",", ":")).encode())
    return made


def call(identity: str, number: int) -> dict[str, Any]:
    """Return the CloudEvent of one call: an id, a time and counts of its own, one of three models."""
    hour, minute, second = number // 3_600_000 % 24, number // 60_000 % 60, number // 1_000 % 60
    prompt, answer, cached = 1_000 + number % 977, 100 + number % 89, number % 613
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": number % 71},
    }
    return support.event(
        identity,
        time=f"2026-11-01T{hour:02d}:{minute:02d}:{second:02d}.{number % 1_000:03d}Z",
        data={"model": f"example-{number % 3}", "usage": usage},
    )


def cpu_seconds(session: int) -> float:
    """Return what all processes of a session have used of the processors, those that ended left out."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def until_idle(session: int, seconds: float = 120.0) -> None:
    """Wait until the processes of a session do next to nothing."""
    deadline = time.monotonic() + seconds
    before, used = cpu_seconds(session), 1.0
    while used > IDLE_SHARE and time.monotonic() < deadline:
        time.sleep(1.0)
        now = cpu_seconds(session)
        before, used = now, now - before


class Sender(asyncio.Protocol):
    """One connection that posts one body after the other, and times each answer."""

    def __init__(
        self, host: str, head: bytes, work: list[bytes], times: list[float], done: asyncio.Future[None]
    ):
        self._host, self._head, self._work, self._times, self._done = host, head, work, times, done
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        if not self._work:
            self._transport.close()
            if not self._done.done():
                self._done.set_result(None)
            return
        body = self._work.pop()
        self._sent = time.perf_counter()
        self._transport.write(self._head + b"%d\r\n\r\n" % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError((head + rest).decode(errors="replace")[:500]))
            self._transport.close()
            return
        self._times.append(time.perf_counter() - self._sent)
        self._buffer = rest[length:]
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the service closed the connection"))


async def drive(port: int, key: str, size: int, work: list[bytes], connections: int) -> list[float]:
    """Post all bodies over some connections; return the seconds that each took."""
    loop = asyncio.get_running_loop()
    kind = _CONTENT.get(size, _BATCH)
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: "
    ).encode()
    times: list[float] = []
    ends = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(lambda d=done: Sender("", head, work, times, d), "127.0.0.1", port)
        ends.append(done)
    await asyncio.gather(*ends)
    return times


def send(port: int, key: str, size: int, count: int, name: str, ready: Any, queue: Any) -> None:
    """Prepare, wait for the others, post, and report (begin, end, times)."""
    work = bodies(size, count, name)
    ready.wait()
    begun, used = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        times = runner.run(drive(port, key, size, work, CONNECTIONS[size]))
    queue.put((begun, time.perf_counter(), times, time.process_time() - used))


def measure(book: support.Book, size: int, events: int, workers: int) -> dict[str, float]:
    """Measure one size of request against a fresh service."""
    port_of = lambda service: int(service.url.rsplit(":", 1)[1])  # noqa: E731
    limits = {"events_per_second": 10_000_000, "burst_events": 10_000_000, "seal_seconds": 3_600}
    limits["seal_receipts"] = 100_000_000
    arguments = ("--workers", str(workers), "--log-level", "WARNING")
    with support.running(book, *arguments, settings=limits) as service:
        until_idle(service.process.pid)  # every worker has started then
        for warm in (True, False):
            count = max(8, int(events * (WARM if warm else 1)) // size)
            ready, queue = multiprocessing.Barrier(2), multiprocessing.Queue()
            name = f"{'warm' if warm else 'run'}-{size}-{os.getpid()}-{time.time_ns()}"
            sender = multiprocessing.Process(
                target=send, args=(port_of(service), book.key, size, count, name, ready, queue)
            )
            sender.start()
            ready.wait()
            before = cpu_seconds(service.process.pid)
            begun, ended, times, sending = queue.get(timeout=600)
            served = cpu_seconds(service.process.pid) - before
            sender.join()
    times.sort()
    events_sent = count * size
    each = f"{served / events_sent * 1e6:.1f} us serving, {sending / events_sent * 1e6:.1f} us sending"
    sys.stderr.write(f"{size} a request: processor time of an event: {each}\n")
    return {
        "events_per_second": round(events_sent / (ended - begun)),
        "p50_ms": round(statistics.median(times) * 1000, 2),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))] * 1000, 2),
    }


def main() -> None:
    """Measure all, print a table or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="*", help="such as sqlite_1000")
    parser.add_argument("--scale", type=float, default=1.0, help="how much to send, 1 for the real measure")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    volume = {1: 20_000, 100: 150_000, 1_000: 250_000}
    found: dict[str, dict[str, float]] = {}
    for kind in ("sqlite", "postgresql"):
        sizes = [size for size in volume if not options.only or f"{kind}_{size}" in options.only]
        if kind == "postgresql" and sizes and (missing := support.postgres_missing()):
            sys.stderr.write(f"{kind}: skipped, {missing}\n")
            continue
        for size in sizes:
            database = support.postgres(fsync=True) if kind == "postgresql" else nullcontext()
            with tempfile.TemporaryDirectory() as folder, database as url:
                book = support.Book(Path(folder), url)
                result = measure(book, size, int(volume[size] * options.scale), options.workers)
                book.close()
            found[f"{kind}_{size}"] = result
            sys.stderr.write(f"{kind}_{size}: {result}\n")
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
