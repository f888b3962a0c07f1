"""Orders of millions of rows by what are hashes, hence spread evenly.

A row's likely place is computed from its hash, packed into one word with its number, and NumPy sorts the
words in vector registers: 50 ns a row, where sorting the rows themselves in DuckDB or Polars took 1 to 3 us.
The few rows that share a place are put right afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from numba.core import types

from meterbridge.domain.arrays import Bytes, Ints, Words
from meterbridge.domain.receipt_rows import (
    ID,
    LENGTH_AND_ACCOUNT,
    OCCURRED_AT,
    RECEIPT,
    SOURCE_AND_DETAILS,
    USAGE,
    Rows,
    words_of,
)
from meterbridge.domain.vector_code import column, compiled, copy_bytes, inlined, swap_bytes

Order = npt.NDArray[np.uint32]
NUMBER_BITS: Final = 24
"""Bits of a row's number in a packed word, so at most 2**24 rows are sorted together."""
RECEIPT_BYTES: Final = RECEIPT.itemsize
_NUMBER = np.uint64(2**NUMBER_BITS - 1)
_SHIFT = np.uint64(NUMBER_BITS)
_HALF = np.uint64(32)
_FRACTION = np.uint64(16)  # a place counts 65536ths of a row


@compiled(types.void(column(types.uint64, 2), column(types.int64), column(types.uint64, out=True)))
def _pack_receipts(rows: Words, starts: Ints, packed: Words) -> None:
    """Pack (likely place by account and id, row); `starts` says where each account's rows begin."""
    for row in range(len(rows)):
        account = np.int64(rows[row, LENGTH_AND_ACCOUNT] >> _HALF)
        start = np.uint64(starts[account])
        count = np.uint64(starts[account + 1]) - start
        high = swap_bytes(rows[row, ID]) >> _SHIFT  # 40 bits, times a count of at most 24
        place = (start << _FRACTION) + (high * count >> _SHIFT)
        packed[row] = place << _SHIFT | np.uint64(row)


@inlined
def _receipt_before(rows: Words, a: int, b: int) -> bool:
    account_a, account_b = rows[a, LENGTH_AND_ACCOUNT] >> _HALF, rows[b, LENGTH_AND_ACCOUNT] >> _HALF
    if account_a != account_b:
        return bool(account_a < account_b)
    for word in range(4):
        x, y = swap_bytes(rows[a, ID + word]), swap_bytes(rows[b, ID + word])
        if x != y:
            return bool(x < y)
    return False


@inlined
def _key_before(keys: Words, a: int, b: int) -> bool:
    if keys[a, 0] != keys[b, 0]:
        return bool(keys[a, 0] < keys[b, 0])
    if keys[a, 1] >> _HALF != keys[b, 1] >> _HALF:
        return bool(keys[a, 1] >> _HALF < keys[b, 1] >> _HALF)
    return bool(keys[a, 2] < keys[b, 2])


_SETTLING = types.void(column(types.uint64, 2), column(types.uint32, out=True), column(types.int64))


@compiled(_SETTLING)
def _settle_receipts(rows: Words, order: Order, ties: Ints) -> None:
    """Move each row that shares its place with the one before it to where its full id belongs."""
    for at in ties:
        row = order[at]
        back = at
        while back > 0 and _receipt_before(rows, row, order[back - 1]):
            order[back] = order[back - 1]
            back -= 1
        order[back] = row


@compiled(_SETTLING)
def _settle_keys(keys: Words, order: Order, ties: Ints) -> None:
    """Likewise for event keys; equal keys stand by leaf."""
    for at in ties:
        row = order[at]
        back = at
        while back > 0 and _key_before(keys, row, order[back - 1]):
            order[back] = order[back - 1]
            back -= 1
        order[back] = row


def receipt_order(rows: Rows, starts: Ints) -> Order:
    """Return the rows' numbers by account and id.

    Args:
        rows: (n,) receipts, at most 2**24.
        starts: (accounts + 1,) where the rows of each account begin in that order.
    """
    packed = np.empty(len(rows), dtype=np.uint64)
    words = words_of(rows)
    _pack_receipts(words, starts, packed)
    return _sorted_numbers(packed, lambda order, ties: _settle_receipts(words, order, ties))


def key_order(keys: Words) -> Order:
    """Return the numbers of (n, 3) event keys by key, equal keys by leaf."""
    packed = np.empty(len(keys), dtype=np.uint64)
    _pack_keys(keys, packed)
    return _sorted_numbers(packed, lambda order, ties: _settle_keys(keys, order, ties))


@compiled(types.void(column(types.uint64, 2), column(types.uint64, out=True)))
def _pack_keys(keys: Words, packed: Words) -> None:
    for row in range(len(keys)):
        packed[row] = (keys[row, 0] & ~_NUMBER) | np.uint64(row)


@compiled(types.int64(column(types.uint64)))
def _count_ties(packed: Words) -> int:
    ties = 0
    for at in range(1, len(packed)):
        ties += packed[at] >> _SHIFT == packed[at - 1] >> _SHIFT
    return ties


@compiled(types.void(column(types.uint64), column(types.uint32, out=True), column(types.int64, out=True)))
def _unpack(packed: Words, order: Order, ties: Ints) -> None:
    """Take the numbers, and the places of rows that share theirs with the one before."""
    found = 0
    for at in range(len(packed)):
        order[at] = np.uint32(packed[at] & _NUMBER)
        if at > 0 and packed[at] >> _SHIFT == packed[at - 1] >> _SHIFT:
            ties[found] = at
            found += 1


def _sorted_numbers(packed: Words, settle: Callable[[Order, Ints], None]) -> Order:
    packed.sort()
    order = np.empty(len(packed), dtype=np.uint32)
    ties = np.empty(_count_ties(packed), dtype=np.int64)
    _unpack(packed, order, ties)
    settle(order, ties)
    return order


@compiled(types.void(column(types.uint8), types.int64, column(types.uint32), column(types.uint8, out=True)))
def _gather(source: Bytes, size: int, order: Order, target: Bytes) -> None:
    """Copy items of one size; as whole copies, so that several wait for memory at a time."""
    if size == RECEIPT_BYTES:  # a size that the compiler knows becomes five vector moves
        for at in range(len(order)):
            copy_bytes(target, at * RECEIPT_BYTES, source, np.int64(order[at]) * RECEIPT_BYTES, RECEIPT_BYTES)
    else:
        for at in range(len(order)):
            copy_bytes(target, at * size, source, np.int64(order[at]) * size, size)


@compiled(
    types.void(
        column(types.uint64, 2),
        column(types.uint8),
        column(types.uint8, out=True),
        column(types.int64, out=True),
    )
)
def _gather_texts(rows: Words, texts: Bytes, target: Bytes, offsets: Ints) -> None:
    at = np.int64(0)
    for row in range(len(rows)):
        size = np.int64(rows[row, LENGTH_AND_ACCOUNT] & np.uint64(0xFFFFFFFF))
        offsets[row] = at
        copy_bytes(target, at, texts, np.int64(rows[row, LENGTH_AND_ACCOUNT - 1]), size)
        at += size
    offsets[len(rows)] = at


T = TypeVar("T", bound=np.generic)


def take(items: npt.NDArray[T], order: Order) -> npt.NDArray[T]:
    """Return rows of an array in an order, as a copy."""
    taken = np.empty((len(order), *items.shape[1:]), dtype=items.dtype)
    size = items.itemsize * int(np.prod(items.shape[1:]))
    _gather(_bytes_of(items), size, order, _bytes_of(taken))
    return taken


def _bytes_of(items: npt.NDArray[T]) -> Bytes:
    return items.reshape(-1).view(np.uint8)


def take_texts(rows: Rows, texts: Bytes) -> tuple[Bytes, Ints]:
    """Return the event ids of rows one after another, and where each begins."""
    target = np.empty(int(rows["event_length"].sum(dtype=np.int64)), dtype=np.uint8)
    offsets = np.empty(len(rows) + 1, dtype=np.int64)
    _gather_texts(words_of(rows), texts, target, offsets)
    return target, offsets


@dataclass(frozen=True, slots=True)
class RowColumns:
    """The columns of some rows, each in one piece.

    Attributes:
        ids: (n, 32) bytes.
        occurred_at: (n,) milliseconds since 1970.
        usage: (8, n) lanes.
        numbers: (3, n) accounts, sources and details.
    """

    ids: Bytes
    occurred_at: Ints
    usage: Ints
    numbers: npt.NDArray[np.int32]


@compiled(
    types.void(
        column(types.uint64, 2),
        column(types.uint64, 2, out=True),
        column(types.int64, out=True),
        column(types.int64, 2, out=True),
        column(types.int32, 2, out=True),
    )
)
def _split_rows(
    rows: Words, ids: Words, occurred_at: Ints, usage: Ints, numbers: npt.NDArray[np.int32]
) -> None:
    low = np.uint64(0xFFFFFFFF)
    for row in range(len(rows)):
        for word in range(4):
            ids[row, word] = rows[row, ID + word]
        for lane in range(8):
            usage[lane, row] = np.int64(rows[row, USAGE + lane])
        occurred_at[row] = np.int64(rows[row, OCCURRED_AT])
        numbers[0, row] = np.int32(rows[row, LENGTH_AND_ACCOUNT] >> _HALF)
        numbers[1, row] = np.int32(rows[row, SOURCE_AND_DETAILS] & low)
        numbers[2, row] = np.int32(rows[row, SOURCE_AND_DETAILS] >> _HALF)


def columns_of(rows: Rows) -> RowColumns:
    """Take rows apart in one pass, where NumPy would make one for each column."""
    count = len(rows)
    ids = np.empty((count, 4), dtype=np.uint64)
    occurred_at = np.empty(count, dtype=np.int64)
    usage = np.empty((8, count), dtype=np.int64)
    numbers = np.empty((3, count), dtype=np.int32)
    _split_rows(words_of(rows), ids, occurred_at, usage, numbers)
    return RowColumns(ids.view(np.uint8), occurred_at, usage, numbers)
