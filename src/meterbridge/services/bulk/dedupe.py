"""Which receipts are new: compared by event key within the input and with what was sealed before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
from numba.core import types

from meterbridge.domain.arrays import Words
from meterbridge.domain.vector_code import column, compiled
from meterbridge.services.records import ADDED, CONFLICT, REPEATED

Outcomes = npt.NDArray[np.int8]
_HALF: Final = np.uint64(32)


@compiled(
    types.void(
        column(types.uint64, 2),
        column(types.uint64, 2),
        column(types.uint64, out=True),
        column(types.bool_, out=True),
    )
)
def _match(keys: Words, known: Words, contents: Words, is_known: npt.NDArray[np.bool_]) -> None:
    """Walk two sorted columns of keys side by side; note what the known ones hold."""
    at = 0
    for row in range(len(keys)):
        high, low = keys[row, 0], keys[row, 1] >> _HALF
        while at < len(known) and (
            known[at, 0] < high or (known[at, 0] == high and known[at, 1] >> _HALF < low)
        ):
            at += 1
        if at < len(known) and known[at, 0] == high and known[at, 1] >> _HALF == low:
            contents[row], is_known[row] = known[at, 2], True


@compiled(
    types.void(
        column(types.uint64, 2),
        column(types.uint64),
        column(types.bool_),
        column(types.int8, out=True),
    )
)
def _judge(keys: Words, contents: Words, is_known: npt.NDArray[np.bool_], outcomes: Outcomes) -> None:
    kept = np.uint64(0)
    for row in range(len(keys)):
        again = (
            row > 0
            and keys[row, 0] == keys[row - 1, 0]
            and keys[row, 1] >> _HALF == keys[row - 1, 1] >> _HALF
        )
        if is_known[row]:
            kept = contents[row]
        elif not again:
            kept = keys[row, 2]
            outcomes[row] = ADDED
            continue
        outcomes[row] = REPEATED if keys[row, 2] == kept else CONFLICT


def judge(keys: Words, known: Iterable[Words]) -> Outcomes:
    """Tell which events are new.

    Of several new events with one key, the one with the smallest leaf counts, so that the order of the input
    does not matter; the others repeat it, or contradict it.

    Args:
        keys: (n, 3) event keys, sorted; all of a key are among them.
        known: (m, 3) keys of earlier seals in the same range, each sorted and without repetitions.

    Returns:
        (n,) of ADDED, REPEATED or CONFLICT.
    """
    contents = np.zeros(len(keys), dtype=np.uint64)
    is_known = np.zeros(len(keys), dtype=np.bool_)
    for run in known:
        _match(keys, run, contents, is_known)
    outcomes = np.empty(len(keys), dtype=np.int8)
    _judge(keys, contents, is_known, outcomes)
    return outcomes
