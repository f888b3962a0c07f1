"""Leaves and nodes of sum trees, hashed from columns of words without laying out their bytes first.

Both messages begin with a tag of one byte, so that every word of theirs is made of two words that stand
beside each other in memory, shifted by a byte.
"""

from __future__ import annotations

import numpy as np
from numba.core import types

from meterbridge.domain.arrays import Ints, Words
from meterbridge.domain.keccak_vectors import RATE_WORDS, STATE_WORDS, absorb
from meterbridge.domain.receipt_rows import ID, LEAF, NODE_WORDS, OCCURRED_AT, USAGE, Nodes
from meterbridge.domain.vector_code import LANES, column, compiled, inlined, swap_bytes

_FIRST_BIT = np.uint64(1)
_LAST_BIT = np.uint64(1 << 63)
_BYTE = np.uint64(8)
_TOP = np.uint64(56)
_NODE_TAG = np.uint64(1)


@inlined
def _lay_shifted(blocks: Words, lane: int, at: int, carry: np.uint64, word: np.uint64) -> np.uint64:
    """Put a word one byte late behind the byte before it; return its own last byte."""
    blocks[lane, at] = carry | word << _BYTE
    return word >> _TOP


@inlined
def _lay_leaf(blocks: Words, lane: int, row: Words, details: Words) -> None:
    """Lay out 0x00, id, time in six bytes, usage and details: 135 bytes and the padding."""
    carry = np.uint64(0)
    for word in range(4):
        carry = _lay_shifted(blocks, lane, word, carry, row[ID + word])
    carry |= swap_bytes(row[OCCURRED_AT]) >> np.uint64(16) << _BYTE  # now seven bytes
    for lane_of_usage in range(8):
        count = swap_bytes(row[USAGE + lane_of_usage])
        blocks[lane, 4 + lane_of_usage] = carry | count << _TOP
        carry = count >> _BYTE
    for part in range(4):
        blocks[lane, 12 + part] = carry | details[part] << _TOP
        carry = details[part] >> _BYTE
    blocks[lane, 16] = carry | _FIRST_BIT << _TOP | _LAST_BIT


@inlined
def _lay_children(blocks: Words, lane: int, left: Words, right: Words, second: bool) -> None:
    """Lay out one of two blocks of 0x01, left hash and sum, right hash and sum: 193 bytes, padding."""
    if not second:
        carry = _NODE_TAG
        for word in range(4):
            carry = _lay_shifted(blocks, lane, word, carry, left[word])
        for word in range(4, 12):
            carry = _lay_shifted(blocks, lane, word, carry, swap_bytes(left[word]))
        for word in range(4):
            carry = _lay_shifted(blocks, lane, 12 + word, carry, right[word])
        _lay_shifted(blocks, lane, 16, carry, swap_bytes(right[4]))
        return
    carry = swap_bytes(right[4]) >> _TOP
    for word in range(5, 12):
        carry = _lay_shifted(blocks, lane, word - 5, carry, swap_bytes(right[word]))
    blocks[lane, 7] = carry | _FIRST_BIT << _BYTE
    for word in range(8, RATE_WORDS):
        blocks[lane, word] = 0
    blocks[lane, RATE_WORDS - 1] = _LAST_BIT


@compiled(types.void(column(types.uint64, 2, out=True), column(types.uint64, 2), types.int64, types.int64))
def hash_leaves(rows: Words, details: Words, first: int, stop: int) -> None:
    """Fill in the leaves of receipts `first` to `stop`.

    Args:
        rows: (n, 20) words, see `receipt_rows`.
        details: (d, 4) words: the hashes that the rows number.
        first: of the receipts to hash.
        stop: behind the last of them.
    """
    state = np.empty((2 * STATE_WORDS, LANES), dtype=np.uint64)
    blocks = np.empty((LANES, RATE_WORDS), dtype=np.uint64)
    for group in range(first, stop, LANES):
        for lane in range(LANES):
            row = rows[min(group + lane, stop - 1)]
            _lay_leaf(blocks, lane, row, details[np.int64(row[19] >> np.uint64(32))])
        state[:STATE_WORDS] = 0
        absorb(state, blocks)
        for lane in range(LANES):
            row = rows[min(group + lane, stop - 1)]
            for word in range(4):
                row[LEAF + word] = state[word, lane]


@compiled(
    types.int64(
        column(types.uint64, 2, layout="A"),
        column(types.int64),
        column(types.uint64, 2, out=True),
        column(types.int64),
        types.int64,
        types.int64,
    )
)
def join_nodes(below: Nodes, left: Ints, above: Nodes, parent: Ints, first: int, stop: int) -> int:
    """Join pairs `first` to `stop`: left[i] and left[i] + 1 of `below` become parent[i] of `above`.

    Returns:
        -1, or the first pair in which a lane of the sum leaves int64.
    """
    state = np.empty((2 * STATE_WORDS, LANES), dtype=np.uint64)
    blocks = np.empty((LANES, RATE_WORDS), dtype=np.uint64)
    for pair in range(first, stop):
        x, y, out = below[left[pair]], below[left[pair] + 1], above[parent[pair]]
        for word in range(4, NODE_WORDS):
            total = x[word] + y[word]
            if (x[word] ^ total) & (y[word] ^ total) & _LAST_BIT:
                return pair
            out[word] = total
    for group in range(first, stop, LANES):
        state[:STATE_WORDS] = 0
        for second in (False, True):
            for lane in range(LANES):
                at = left[min(group + lane, stop - 1)]
                _lay_children(blocks, lane, below[at], below[at + 1], second)
            absorb(state, blocks)
        for lane in range(LANES):
            out = above[parent[min(group + lane, stop - 1)]]
            for word in range(4):
                out[word] = state[word, lane]
    return -1
