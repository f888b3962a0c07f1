"""From chunks to runs: measured on all cores, spilled when the memory that was granted is full."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from meterbridge.domain.arrays import Ints, joined
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.receipt_rows import RECEIPT
from meterbridge.domain.vector_code import cores
from meterbridge.services.bulk.chunk import Details, Sources, UsageChunk
from meterbridge.services.bulk.pool import KEY_WORDS, ROWS_MAX, ReceiptPool, measure
from meterbridge.services.bulk.ports import Run, Spilling

Job = Callable[[], Iterable[UsageChunk]]
"""One piece of a scan: yields its chunks on the thread that calls it."""

TEXT_BYTES: Final = 48
"""Bytes of event id that a pool has room for, a receipt; longer ones fill it with fewer receipts."""
_SORTING_BYTES: Final = 40  # packed places and orders, while a pool is sorted
RECEIPT_MEMORY: Final = RECEIPT.itemsize + 8 * KEY_WORDS + TEXT_BYTES + _SORTING_BYTES


@dataclass(frozen=True, slots=True)
class PoolSize:
    """Room for receipts and for the bytes of their event ids."""

    rows: int
    text_bytes: int

    @classmethod
    def within(cls, memory_bytes: int) -> Self:
        """Return the largest pool that sorts within so much memory."""
        rows = max(1, min(ROWS_MAX, memory_bytes // RECEIPT_MEMORY))
        return cls(rows, rows * TEXT_BYTES)


class Intake:
    """Takes chunks from many threads into one pool after another."""

    def __init__(
        self, size: PoolSize, blinds: Sequence[bytes], sources: Sources, details: Details, spilling: Spilling
    ) -> None:
        """Begin with an empty pool for receipts of as many accounts as there are blinds."""
        self._pool = ReceiptPool(size.rows, size.text_bytes)
        self._blinds = joined(blinds, 32)
        self._sources, self._details, self._spilling = sources, details, spilling
        self._counts = np.zeros(len(blinds), dtype=np.int64)
        self._changed = threading.Condition()
        self._measuring = 0
        self.spilled: list[Run] = []

    def take(self, chunk: UsageChunk) -> None:
        """Measure a chunk into the pool; where it does not fit, spill what is there first.

        Raises:
            OutOfBounds: when it does not fit an empty pool.
        """
        with self._changed:
            while (place := self._pool.reserve(chunk)) is None:
                self._make_room(chunk)
            self._measuring += 1
            self._counts += np.bincount(chunk.accounts, minlength=len(self._counts))
        try:
            measure(chunk, self._pool, *place, self._blinds, self._sources, self._details)
        finally:
            with self._changed:
                self._measuring -= 1
                self._changed.notify_all()

    def last_pool(self) -> tuple[ReceiptPool, Ints]:
        """Return what was not spilled, and how many rows each account has in it."""
        return self._pool, self._counts

    def spill_rest(self) -> None:
        """Spill what is left, so that all is on disk."""
        if self._pool.size:
            self._spill_pool()

    def _make_room(self, chunk: UsageChunk) -> None:
        """Spill what is in the pool once all of it is measured; the lock is held but while waiting."""
        if not self._pool.size:
            raise OutOfBounds(
                f"{len(chunk)} calls with event ids of {len(chunk.event_bytes)} bytes exceed the memory that "
                "was granted; grant more",
                len(chunk.event_bytes),
            )
        if self._measuring:
            self._changed.wait()
        else:
            self._spill_pool()

    def _spill_pool(self) -> None:
        self.spilled.append(self._spilling.spill(self._pool, self._counts))
        self._pool.clear()
        self._counts = np.zeros_like(self._counts)


def take_all(
    jobs: Iterable[Job],
    intake: Intake,
    threads: int | None = None,
    told: Callable[[int], object] = lambda _rows: None,
) -> None:
    """Run the jobs of a scan on all cores.

    Args:
        jobs: what to run.
        intake: where their chunks go.
        threads: all cores when None.
        told: takes the number of rows of each chunk that is done; called by many threads.

    Raises:
        Exception: what the first job to fail raised; those that run stop at their next chunk, no other is
            begun.
    """
    workers, stopping = threads or cores(), threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        running: set[Future[None]] = set()
        try:
            for job in jobs:
                running.add(pool.submit(_run, job, intake, stopping, told))
                if len(running) > workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in running:
                future.result()
        except BaseException:
            stopping.set()
            raise


def _run(job: Job, intake: Intake, stopping: threading.Event, told: Callable[[int], object]) -> None:
    if stopping.is_set():
        return
    for chunk in job():
        if stopping.is_set():
            return
        if len(chunk):
            intake.take(chunk)
            told(len(chunk))
