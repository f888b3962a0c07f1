"""The file of nodes of a seal, read for proofs."""

from __future__ import annotations

from math import isqrt
from typing import Final

import numpy as np

from meterbridge.adapters.bulk.stores import Readable
from meterbridge.domain.arrays import Words
from meterbridge.domain.merkle import path_positions
from meterbridge.domain.receipt_rows import HASH_WORDS, NODE_WORDS, sum_node
from meterbridge.domain.sum_tree import NodeColumns, Sibling, SumTree
from meterbridge.services.bulk.plan import STORED_LEVEL, level_at, level_size
from meterbridge.services.ledger_errors import BadSegment

FEW_WORDS: Final = 1_024
_WORD_BYTES: Final = 8
_GROUP_LEVELS: Final = 4
_GROUPED: Final = 8
"""Levels above the lowest one that is kept on which 16 nodes are read at a time; there are few above them."""


def siblings_above(nodes: Readable, at: int, size: int, block: int) -> list[Sibling]:
    """Read the nodes beside the way from a block of receipts up to the root.

    On the lower levels 16 nodes are read at a time, and those on the levels above made of them: levels lie
    far apart in the file, and each read may be one from disk.

    Args:
        nodes: the file.
        at: word at which the batch's region begins; -1 where it has none.
        size: receipts of the batch.
        block: which of its blocks.
    """
    count, place, found = level_size(size, STORED_LEVEL), block, list[Sibling]()
    for lower in range(0, _GROUPED, _GROUP_LEVELS):
        if count == 1:
            return found
        first = place >> _GROUP_LEVELS << _GROUP_LEVELS
        some = min(count - first, 1 << _GROUP_LEVELS)
        group = read_words(nodes, node_at(at, size, lower, first), some * NODE_WORDS)
        found += SumTree(columns_of(group)).inclusion(place - first)
        place, count = place >> _GROUP_LEVELS, level_size(count, _GROUP_LEVELS)
    for side, level, position in path_positions(place, count):
        node = read_words(nodes, node_at(at, size, _GROUPED + level, position), NODE_WORDS)
        found.append(Sibling(side, sum_node(node)))
    return found


def node_at(at: int, size: int, above: int, position: int) -> int:
    """Return the word at which a node stands, by its level above the lowest one that is kept."""
    return at + level_at(size, STORED_LEVEL + above) + NODE_WORDS * position


def columns_of(words: Words) -> NodeColumns:
    """Return nodes as they stand in the file as columns."""
    nodes = words.reshape(-1, NODE_WORDS)
    hashes = np.ascontiguousarray(nodes[:, :HASH_WORDS]).view(np.uint8)
    return NodeColumns(hashes, nodes[:, HASH_WORDS:].astype(np.int64))


def words_around(nodes: Readable, at: int, count: int, word: int) -> tuple[int, Words]:
    """Return some of `count` ascending words, those around a given one, and the place of the first of them.

    The words are beginnings of hashes, so a word's place follows from its value but for about the root of
    their number: a payer of billions is searched by some thousand.
    """
    margin = FEW_WORDS + 4 * isqrt(count)
    middle = word * count >> 64
    first, stop = max(0, middle - margin), min(count, middle + margin)
    words = read_words(nodes, at + first, stop - first)
    if (first and words[0] >= word) or (stop < count and words[-1] <= word):  # no hashes, or a rare chance
        first, words = 0, read_words(nodes, at, count)
    return first, words


def read_words(nodes: Readable, at: int, count: int) -> Words:
    """Return words of the file.

    Raises:
        BadSegment: when it ends early.
    """
    data = nodes.read(at * _WORD_BYTES, count * _WORD_BYTES)
    if len(data) != count * _WORD_BYTES:
        raise BadSegment("the nodes of a seal end early", at)
    return np.frombuffer(data, dtype=np.uint64)
