"""Group commit: one thread writes what many requests bring, in one transaction, and only then answers them.

A commit costs one sync of the disk, whatever it holds. While one commit runs, the next group gathers, so a
single event waits for at most two syncs, and a thousand small requests a second need only a few dozen.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from meterbridge.domain.errors import MeterbridgeError

T = TypeVar("T")
R = TypeVar("R")


class Overloaded(MeterbridgeError):
    """More waits to be written than may wait: come again later. Nothing was taken."""


class Closed(MeterbridgeError):
    """The writer is shutting down. Nothing was taken."""


class StorageDown(MeterbridgeError):
    """The database cannot be reached or written: nothing of the group was stored."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be written at once, and how much may wait; in units of `weight` (events).

    Attributes:
        group: most that goes into one transaction; a single heavier item goes alone.
        waiting: most that waits; more is refused, so memory stays bounded.
    """

    group: int = 5_000
    waiting: int = 50_000


@dataclass(slots=True)
class _Entry(Generic[T, R]):
    item: T
    weight: int
    future: Future[R]


class GroupCommit(Generic[T, R]):
    """One writer thread.

    Args:
        commit: stores a group in one transaction and returns one result an item, in order. What it
            raises fails the item, or, where a group fails, each item is tried alone: a poisoned one does not
            take its neighbours with it. `StorageDown` fails the whole group at once.
        weigh: how many events an item holds.
    """

    def __init__(
        self, commit: Callable[[Sequence[T]], Sequence[R]], weigh: Callable[[T], int], bounds: Bounds
    ) -> None:
        """Start the thread."""
        self._commit = commit
        self._weigh = weigh
        self._bounds = bounds
        self._queue: deque[_Entry[T, R]] = deque()
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Tell whether the thread still runs; a service whose writer died is not ready."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many events wait or are being written."""
        return self._waiting

    def submit(self, item: T) -> Future[R]:
        """Hand an item over; the future is done once it is durable.

        Raises:
            Overloaded, Closed: nothing was taken.
        """
        weight = self._weigh(item)
        with self._changed:
            if self._closed or not self._thread.is_alive():
                raise Closed("the service is shutting down; send it again to another or later")
            if self._waiting and self._waiting + weight > self._bounds.waiting:
                raise Overloaded(
                    f"{self._waiting} events wait to be written; send {weight} again later", weight
                )
            entry = _Entry[T, R](item, weight, Future())
            self._queue.append(entry)
            self._waiting += weight
            self._changed.notify()
        return entry.future

    def close(self, timeout: float = 30.0) -> bool:
        """Write what waits, take nothing more, and tell whether all was written in time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._write(group)
            finally:
                with self._changed:
                    self._waiting -= sum(entry.weight for entry in group)

    def _next_group(self) -> list[_Entry[T, R]]:
        """Wait for work; an empty group means that the writer was closed and all is written."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            group: list[_Entry[T, R]] = []
            weight = 0
            while self._queue and (not group or weight + self._queue[0].weight <= self._bounds.group):
                entry = self._queue.popleft()
                group.append(entry)
                weight += entry.weight
            return group

    def _write(self, group: Sequence[_Entry[T, R]]) -> None:
        try:
            results = self._commit([entry.item for entry in group])
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            if len(group) == 1 or isinstance(error, StorageDown):
                for entry in group:
                    entry.future.set_exception(error)
                return
            for entry in group:
                self._write([entry])
            return
        for entry, result in zip(group, results, strict=True):
            entry.future.set_result(result)
