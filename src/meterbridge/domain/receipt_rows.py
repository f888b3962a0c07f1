"""Receipts as rows of 160 bytes, for work on millions of them.

Sorting moves whole receipts, and a row is read in one go where columns would each miss the cache. Leaf and
usage stand side by side, so that a row holds the same twelve words that make a node of a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from meterbridge.domain.arrays import Bytes, Ints
from meterbridge.domain.sum_tree import SumNode
from meterbridge.domain.units import LANES, UsageVector

Rows = npt.NDArray[np.void]
"""(n,) of `RECEIPT`."""
Nodes = npt.NDArray[np.uint64]
"""(n, 12): four words of hash, as its bytes stand in memory, and eight lanes of usage."""

RECEIPT: Final = np.dtype(
    [
        ("id", np.uint64, 4),  # as its bytes stand in memory
        ("leaf", np.uint64, 4),
        ("usage", np.int64, LANES),
        ("occurred_at", np.int64),
        ("event_start", np.int64),  # where the event id stands in its heap of texts
        ("event_length", np.uint32),
        ("account", np.uint32),
        ("source", np.uint32),
        ("details", np.uint32),
    ]
)
ROW_WORDS: Final = 20
ID: Final = 0
LEAF: Final = 4
USAGE: Final = 8
OCCURRED_AT: Final = 16
EVENT_START: Final = 17
LENGTH_AND_ACCOUNT: Final = 18
SOURCE_AND_DETAILS: Final = 19
NODE_WORDS: Final = 12
HASH_WORDS: Final = 4


@dataclass(frozen=True, slots=True)
class Receipts:
    """Receipts with their event ids: text i is `texts[offsets[i]:offsets[i + 1]]`."""

    rows: Rows
    texts: Bytes
    offsets: Ints


def words_of(rows: Rows) -> npt.NDArray[np.uint64]:
    """Return the same memory as (n, 20) words."""
    return rows.view(np.uint64).reshape(len(rows), ROW_WORDS)


def nodes_of(rows: Rows) -> Nodes:
    """Return the leaves of receipts as (n, 12) nodes, which share their memory."""
    return words_of(rows)[:, LEAF : LEAF + NODE_WORDS]


def sum_node(node: Nodes) -> SumNode:
    """Return one node of twelve words as a domain value."""
    lanes = node[HASH_WORDS:].astype(np.int64).tolist()
    return SumNode(node[:HASH_WORDS].tobytes(), UsageVector.of(lanes))


def node_words(nodes: Sequence[SumNode]) -> Nodes:
    """Return domain values as (n, 12) words."""
    words = np.empty((len(nodes), NODE_WORDS), dtype=np.uint64)
    for row, node in zip(words, nodes, strict=True):
        row[:HASH_WORDS] = np.frombuffer(node.hash, dtype=np.uint64)
        row[HASH_WORDS:] = np.array(node.sum.lanes, dtype=np.int64).view(np.uint64)
    return words
