"""Keccak-256 over columns of messages, compiled. Importing this module compiles it or loads the cache."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba.core import types

from meterbridge.domain.arrays import Bytes, Ints
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.keccak_vectors import RATE_BYTES, STATE_WORDS, absorb
from meterbridge.domain.vector_code import (
    LANES,
    column,
    compiled,
    copy_bytes,
    in_threads,
    inlined,
    store_word,
)

DIGEST_BYTES: Final = 32
_MESSAGES_PER_THREAD = 2_000  # below this, starting a thread costs more than it saves


@inlined
def _lay_block(blocks: Bytes, lane: int, buffer: Bytes, start: int, rest: int) -> None:
    """Lay out one block of a message of which `rest` bytes, from `start`, are left; below zero, nothing."""
    place = lane * RATE_BYTES
    if rest >= RATE_BYTES:
        copy_bytes(blocks, place, buffer, start, RATE_BYTES)
    elif rest >= 0:
        blocks[place : place + RATE_BYTES] = 0
        copy_bytes(blocks, place, buffer, start, rest)
        blocks[place + rest] = 0x01
        blocks[place + RATE_BYTES - 1] |= 0x80


@compiled(
    types.void(
        column(types.uint8), column(types.int64), types.int64, types.int64, column(types.uint8, 2, out=True)
    )
)
def hash_messages(buffer: Bytes, offsets: Ints, first: int, stop: int, digests: Bytes) -> None:
    """Hash messages `first` to `stop`, `LANES` at a time, spare lanes repeating the last one.

    A lane whose message is over runs on with the others; its digest was taken when it was due. Nothing is
    checked; see `hash_ragged`.
    """
    state = np.empty((2 * STATE_WORDS, LANES), dtype=np.uint64)
    blocks = np.zeros(LANES * RATE_BYTES, dtype=np.uint8)
    for group in range(first, stop, LANES):
        state[:STATE_WORDS] = 0
        done, longest = 0, 0
        while done <= longest:
            for lane in range(LANES):
                message = min(group + lane, stop - 1)
                start, end = offsets[message], offsets[message + 1]
                longest = max(longest, end - start)
                _lay_block(blocks, lane, buffer, start + done, end - start - done)
            absorb(state, blocks)
            for lane in range(LANES):
                message = min(group + lane, stop - 1)
                if 0 <= offsets[message + 1] - offsets[message] - done < RATE_BYTES:
                    for word in range(4):
                        store_word(digests, message * DIGEST_BYTES + 8 * word, state[word, lane])
            done += RATE_BYTES


def hash_ragged(buffer: Bytes, offsets: Ints, threads: int | None = None) -> Bytes:
    """Hash messages of different lengths that stand one after another.

    Args:
        buffer: (total,) bytes.
        offsets: (n + 1,) ascending; message i is buffer[offsets[i]:offsets[i + 1]].
        threads: how many to use at most; all cores when None.

    Returns:
        (n, 32) digests.

    Raises:
        OutOfBounds: when shapes or types differ, offsets descend, or one stands outside the buffer.
    """
    _require_messages(buffer, offsets)
    return _hash_in_threads(np.ascontiguousarray(buffer), np.ascontiguousarray(offsets), threads)


def hash_rows(rows: Bytes, threads: int | None = None) -> Bytes:
    """Hash every row of a (n, length) array of bytes, of any length, into (n, 32) digests.

    Raises:
        OutOfBounds: when `rows` is no two-dimensional array of bytes.
    """
    if rows.ndim != 2 or rows.dtype != np.uint8:
        raise OutOfBounds(f"rows must be (n, length) uint8, not {rows.shape} {rows.dtype}", rows.shape)
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return _hash_in_threads(np.ascontiguousarray(rows).reshape(-1), offsets, threads)


def _hash_in_threads(buffer: Bytes, offsets: Ints, threads: int | None) -> Bytes:
    digests = np.empty((len(offsets) - 1, DIGEST_BYTES), dtype=np.uint8)
    in_threads(
        lambda first, stop: hash_messages(buffer, offsets, first, stop, digests),
        len(digests),
        _MESSAGES_PER_THREAD,
        threads,
    )
    return digests


def _require_messages(buffer: Bytes, offsets: Ints) -> None:
    """The kernel reads memory without looking, so what it is given is checked first."""
    if buffer.ndim != 1 or buffer.dtype != np.uint8:
        raise OutOfBounds(f"buffer must be (total,) uint8, not {buffer.shape} {buffer.dtype}", buffer.shape)
    if offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
        found = f"{offsets.shape} {offsets.dtype}"
        raise OutOfBounds(f"offsets must be (n + 1,) int64, not {found}", offsets.shape)
    if offsets[0] < 0 or offsets[-1] > len(buffer) or (offsets[1:] < offsets[:-1]).any():
        raise OutOfBounds(f"offsets must ascend from 0 at least to {len(buffer)} at most", offsets)
