"""Roots and proofs of a growing log from its complete subtrees (protocol, section 4).

A ledger keeps every complete subtree of a log: over elements position * 2**level up to the next. There are at
most two for each element, none ever changes, and any root or proof at any size takes about log2(size) of
them, so that a log of a million batches costs no more to state than one of ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.merkle import consistency_positions, path_positions
from meterbridge.domain.sum_tree import EMPTY, LogState, Sibling, SumNode, join
from meterbridge.services.records import TreeNode

Place = tuple[int, int]
"""(level, position) of a subtree."""
Fetch = Callable[[Sequence[Place]], Sequence[SumNode]]
"""Returns complete subtrees in the order of their places."""


def complete_subtrees(low: int, high: int) -> list[Place]:
    """Return the complete subtrees that make up the elements from `low` up to `high`, from left to right.

    `low` must be a multiple of the range's largest power of two, as every node of a log has it.
    """
    places = []
    while low < high:
        level = (high - low).bit_length() - 1
        places.append((level, low >> level))
        low += 1 << level
    return places


def completed_by(size: int, element: SumNode, fetch: Fetch) -> list[TreeNode]:
    """Return the subtrees that an element completes when it is appended to a log of `size` elements.

    Raises:
        LaneOverflow: when the log's total would leave int64.
    """
    depth = (~size & (size + 1)).bit_length() - 1  # as many joins as `size` has trailing ones
    left = fetch([(level, (size >> level) - 1) for level in range(depth)])
    nodes = [TreeNode(0, size, element)]
    for level, sibling in enumerate(left):
        nodes.append(TreeNode(level + 1, size >> (level + 1), join(sibling, nodes[-1].node)))
    return nodes


def state_at(size: int, fetch: Fetch) -> LogState:
    """Return a log's state when it had `size` elements."""
    return LogState(size, _nodes_over([(0, size)], fetch)[0]) if size else LogState.empty()


def inclusion(index: int, size: int, fetch: Fetch) -> list[Sibling]:
    """Return the siblings of element `index` in a log of `size` elements, from the element up.

    Raises:
        OutOfBounds: when there is no such element.
    """
    steps = list(path_positions(index, size))
    nodes = _nodes_over([_range(level, position, size) for _, level, position in steps], fetch)
    return [Sibling(side, node) for (side, _, _), node in zip(steps, nodes, strict=True)]


def consistency(old_size: int, new_size: int, fetch: Fetch) -> tuple[SumNode, ...]:
    """Return the proof that a log of `new_size` elements extends its first `old_size`.

    Raises:
        OutOfBounds: unless 0 <= old_size <= new_size.
    """
    places = list(consistency_positions(old_size, new_size))
    return tuple(_nodes_over([_range(level, position, new_size) for level, position in places], fetch))


def _range(level: int, position: int, size: int) -> tuple[int, int]:
    """Return the elements below a node; at the right edge it holds fewer than its level could."""
    low = position << level
    if low >= size:
        raise OutOfBounds(f"there is no node {position} on level {level} of {size} elements", position)
    return low, min(low + (1 << level), size)


def _nodes_over(ranges: Iterable[tuple[int, int]], fetch: Fetch) -> list[SumNode]:
    """Return the node over each range of elements, with one fetch for all."""
    parts = [complete_subtrees(low, high) for low, high in ranges]
    found = iter(fetch([place for places in parts for place in places]))
    return [_join_all([next(found) for _ in places]) for places in parts]


def _join_all(subtrees: Sequence[SumNode]) -> SumNode:
    """Join complete subtrees of falling sizes, the smallest first, as RFC 6962 shapes its right edge."""
    if not subtrees:
        return EMPTY
    node = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        node = join(left, node)
    return node
