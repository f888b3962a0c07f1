"""Judging all events of a seal, range by range of their keys, on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from meterbridge.domain.arrays import Ints, Words
from meterbridge.domain.vector_code import cores
from meterbridge.services.bulk.dedupe import judge
from meterbridge.services.bulk.order import Order
from meterbridge.services.bulk.ports import KnownEvents, Run
from meterbridge.services.bulk.runs import KEY_SPACE
from meterbridge.services.records import ADDED, CONFLICT, REPEATED

RANGE_KEYS: Final = 1 << 17
LISTED_MAX: Final = 10_000
"""What is left out is listed up to this number, and counted beyond, so that memory stays bounded."""
_ACCOUNT: Final = np.uint64(0xFFFFFFFF)


@dataclass(slots=True)
class Verdict:
    """What judging found.

    Attributes:
        counts: (accounts,) how many receipts each account keeps.
        repeated: events that were there already, with the same content.
        conflicting: receipts whose event is there with another content.
        conflicts: run and number of the first 10,000 of them.
    """

    counts: Ints
    repeated: int = 0
    conflicting: int = 0
    conflicts: list[tuple[Run, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Range:
    kept: Words
    accounts: Ints
    repeated: int
    conflicting: int
    conflicts: list[tuple[Run, int]]


def judge_all(
    runs: Sequence[Run],
    known: Sequence[KnownEvents],
    accounts: int,
    keep: Callable[[Words], None],
    threads: int | None = None,
) -> Verdict:
    """Drop from the runs what is not new.

    Args:
        runs: what is to be sealed.
        known: what is sealed, or awaits it.
        accounts: how many there are.
        keep: takes the (m, 3) keys that are new, in order.
        threads: all cores when None.
    """
    verdict = Verdict(np.zeros(accounts, dtype=np.int64))
    ranges = max(1, sum(run.size for run in runs) // RANGE_KEYS)
    bounds = [KEY_SPACE * i // ranges for i in range(ranges + 1)]
    workers = threads or cores()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_Range]] = deque()
        for low, high in pairwise(bounds):
            waiting.append(pool.submit(_judge_range, runs, known, low, high, accounts))
            if len(waiting) > 2 * workers:
                _collect(verdict, waiting.popleft().result(), keep)
        for future in waiting:
            _collect(verdict, future.result(), keep)
    for run in runs:
        run.forget_keys()
    return verdict


def _collect(verdict: Verdict, found: _Range, keep: Callable[[Words], None]) -> None:
    keep(found.kept)
    verdict.counts += found.accounts
    verdict.repeated += found.repeated
    verdict.conflicting += found.conflicting
    verdict.conflicts.extend(found.conflicts[: LISTED_MAX - len(verdict.conflicts)])


def _judge_range(
    runs: Sequence[Run], known: Sequence[KnownEvents], low: int, high: int, accounts: int
) -> _Range:
    parts = [run.keys_between(low, high) for run in runs]
    keys, of_run, numbers = _merge(parts)
    outcomes = judge(keys, [events.around(keys[:, 0].copy()) for events in known])
    conflicts = []
    for i, run in enumerate(runs):
        dropped = (of_run == i) & (outcomes != ADDED)
        if dropped.any():
            run.drop(numbers[dropped])
        conflicts += [(run, int(n)) for n in numbers[(of_run == i) & (outcomes == CONFLICT)].tolist()]
    kept = keys[outcomes == ADDED]
    counts = np.bincount((kept[:, 1] & _ACCOUNT).astype(np.int64), minlength=accounts)
    repeated, conflicting = int((outcomes == REPEATED).sum()), int((outcomes == CONFLICT).sum())
    return _Range(kept, counts.astype(np.int64), repeated, conflicting, conflicts)


def _merge(parts: Sequence[tuple[Words, Order]]) -> tuple[Words, Ints, Order]:
    """Return the keys of several runs in one order, and the run and number of each."""
    keys = np.concatenate([part for part, _ in parts])
    numbers = np.concatenate([part for _, part in parts])
    of_run = np.repeat(np.arange(len(parts)), [len(part) for part, _ in parts])
    if len(parts) > 1:
        order = np.lexsort((keys[:, 2], keys[:, 1] & ~_ACCOUNT, keys[:, 0]))
        keys, numbers, of_run = keys[order], numbers[order], of_run[order]
    return keys, of_run, numbers
