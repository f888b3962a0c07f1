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
def _lay_children(first: Words, second: Words, lane: int, nodes: Nodes, at: int) -> None:
    """Lay out 0x01, left hash and sum, right hash and sum: 193 bytes in two blocks.

    The padding, and the zeros before it, stand in `second` already.
    """
    carry = _NODE_TAG
    for word in range(4):
        carry = _lay_shifted(first, lane, word, carry, nodes[at, word])
    for word in range(4, NODE_WORDS):
        carry = _lay_shifted(first, lane, word, carry, swap_bytes(nodes[at, word]))
    for word in range(4):
        carry = _lay_shifted(first, lane, NODE_WORDS + word, carry, nodes[at + 1, word])
    carry = _lay_shifted(first, lane, RATE_WORDS - 1, carry, swap_bytes(nodes[at + 1, 4]))
    for word in range(5, NODE_WORDS):
        carry = _lay_shifted(second, lane, word - 5, carry, swap_bytes(nodes[at + 1, word]))
    second[lane, 7] = carry | _FIRST_BIT << _BYTE


@inlined
def _add_lanes(nodes: Nodes, at: int, above: Nodes, parent: int) -> np.uint64:
    """Put the sum of two nodes that stand side by side above them; the highest bit tells of an overflow."""
    wrapped = np.uint64(0)
    for word in range(4, NODE_WORDS):
        left, right = nodes[at, word], nodes[at + 1, word]
        total = left + right
        wrapped |= (left ^ total) & (right ^ total)
        above[parent, word] = total
    return wrapped


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
    ones = np.empty((LANES, RATE_WORDS), dtype=np.uint64)
    twos = np.zeros((LANES, RATE_WORDS), dtype=np.uint64)
    twos[:, RATE_WORDS - 1] = _LAST_BIT
    for group in range(first, stop, LANES):
        for lane in range(LANES):
            pair = min(group + lane, stop - 1)
            if _add_lanes(below, left[pair], above, parent[pair]) & _LAST_BIT:
                return pair
            _lay_children(ones, twos, lane, below, left[pair])
        state[:STATE_WORDS] = 0
        absorb(state, ones)
        absorb(state, twos)
        for lane in range(LANES):
            pair = min(group + lane, stop - 1)
            for word in range(4):
                above[parent[pair], word] = state[word, lane]
    return -1
