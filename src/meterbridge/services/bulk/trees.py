"""Trees of many batches in one pass, level by level (protocol, section 4).

A batch is cut into pieces of 65,536 receipts, counted from its first. A piece is an aligned subtree, the last
one shortened, so that its root is a node of the batch's tree whoever computes it: on another thread, in
another process, or on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from meterbridge.domain.arrays import Ints
from meterbridge.domain.errors import LaneOverflow
from meterbridge.domain.keccak_nodes import join_nodes
from meterbridge.domain.receipt_rows import HASH_WORDS, NODE_WORDS, Nodes


@dataclass(frozen=True, slots=True)
class Level:
    """One level of several trees: their nodes one tree after another, and how many each has."""

    nodes: Nodes
    counts: Ints


def levels(leaves: Nodes, counts: Ints) -> Iterator[Level]:
    """Yield all levels of several trees, the leaves first; a tree that has its root keeps it to the end.

    Args:
        leaves: (n, 12) nodes, tree after tree.
        counts: (t,) how many leaves each tree has, at least one.

    Raises:
        LaneOverflow: when a lane of a sum leaves int64.
    """
    level = Level(leaves, counts)
    yield level
    while level.counts.max(initial=0) > 1:
        level = _above(level)
        yield level


def _above(below: Level) -> Level:
    pairs = below.counts // 2
    counts = below.counts - pairs
    starts, parents = _starts(below.counts), _starts(counts)
    firsts = np.repeat(_starts(pairs), pairs)
    step = np.arange(len(firsts), dtype=np.int64) - firsts
    left, parent = np.repeat(starts, pairs) + 2 * step, np.repeat(parents, pairs) + step
    above = np.empty((int(counts.sum()), NODE_WORDS), dtype=np.uint64)
    wrong = join_nodes(below.nodes, left, above, parent, 0, len(left))
    if wrong >= 0:
        raise _overflow(below.nodes, int(left[wrong]))
    lone = np.flatnonzero(counts > pairs)  # a last node without a partner moves up as it is
    above[parents[lone] + pairs[lone]] = below.nodes[starts[lone] + 2 * pairs[lone]]
    return Level(above, counts)


def _starts(counts: Ints) -> Ints:
    starts = np.cumsum(counts)
    starts -= counts
    return starts


def _overflow(nodes: Nodes, left: int) -> LaneOverflow:
    pair = nodes[left : left + 2, HASH_WORDS:].astype(np.int64).astype(object)
    lanes = [int(a) + int(b) for a, b in zip(*pair, strict=True)]
    return LaneOverflow(f"the sum of a batch would leave int64: its lanes would be {lanes}", lanes)
