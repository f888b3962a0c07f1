"""Runs: receipts in the order of their batches, and their event keys in order, in memory or spilled to disk.

What fits a pool stays there and is sorted through row numbers. What does not is spilled pool by pool, each
sorted, and merged at the end, so that memory is bounded by the pool whatever the input.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from meterbridge.domain.arrays import Ints, Words
from meterbridge.domain.receipt_rows import Receipts
from meterbridge.services.bulk.order import Order, key_order, receipt_order, take, take_texts
from meterbridge.services.bulk.pool import ReceiptPool

KEY_SPACE: Final = 2**64


class PoolRun:
    """A pool, sorted in place through numbers.

    Attributes:
        size: how many receipts it has, dropped ones too.
    """

    def __init__(self, pool: ReceiptPool, counts: Ints) -> None:
        """Sort by account and id, and by event key; `counts` says how many rows each account has."""
        self._pool = pool
        self._rows, self._keys = pool.rows[: pool.size], pool.keys[: pool.size]
        self.size: Final = pool.size
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        with ThreadPoolExecutor(2) as threads:
            by_key = threads.submit(key_order, self._keys)
            self._order = receipt_order(self._rows, starts)
            self._key_order = by_key.result()
        self._dropped = np.zeros(self.size, dtype=np.bool_)

    def keys_between(self, low: int, high: int) -> tuple[Words, Order]:
        """Return (m, 3) keys whose first word is from `low` up to `high`, sorted, and their receipts."""
        first, stop = (bisect(self.size, bound, self._first_word) for bound in (low, high))
        numbers = self._key_order[first:stop]
        return take(self._keys, numbers), numbers

    def sorted_keys(self, first: int, stop: int) -> Words:
        """Return (m, 3) keys by their place in the order of keys."""
        return take(self._keys, self._key_order[first:stop])

    def orders(self) -> tuple[Order, Order]:
        """Return the numbers by account and id, and by key."""
        return self._order, self._key_order

    def drop(self, numbers: Order) -> None:
        """Leave receipts out."""
        self._dropped[numbers] = True

    def forget_keys(self) -> None:
        """Judging is over: settle which rows stay."""
        del self._key_order
        if self._dropped.any():
            self._order = self._order[~self._dropped[self._order]]

    def read(self, first: int, stop: int) -> Receipts:
        """Return receipts by their place among those that stay."""
        rows = take(self._rows, self._order[first:stop])
        return Receipts(rows, *take_texts(rows, self._pool.texts))

    def receipt(self, number: int) -> tuple[Any, str]:
        """Return one receipt by number, and its event id."""
        row = self._rows[number]
        start = int(row["event_start"])
        return row, self._pool.texts[start : start + int(row["event_length"])].tobytes().decode()

    def origin(self, number: int) -> tuple[str, int]:
        """Return the file and the row in it from which a receipt comes."""
        return self._pool.origins().of(number)

    def _first_word(self, at: int) -> int:
        return int(self._keys[self._key_order[at], 0])


def bisect(size: int, bound: int, at: Callable[[int], int]) -> int:
    """Return the first of `size` places at which an ascending number is not below `bound`."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if at(middle) < bound:
            low = middle + 1
        else:
            high = middle
    return low
