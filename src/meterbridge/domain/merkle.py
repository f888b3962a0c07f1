"""The shape of RFC 6962 trees, whatever their nodes hold.

Two trees of the protocol share this shape: usage sum trees (section 4) and share trees (section 5). A
tree is built level by level: neighbours are joined in pairs and a lone last node moves up as it is,
which gives the shape in which the left part always holds the largest power of two below n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TypeVar

from meterbridge.domain.errors import BadProof, OutOfBounds

N = TypeVar("N")
Join = Callable[[N, N], N]


class Side(Enum):
    """Where a sibling stands, seen from the path."""

    LEFT = "left"
    RIGHT = "right"


def sibling_sides(index: int, size: int) -> Iterator[Side]:
    """Yield the side of each sibling on the way from leaf `index` up to the root of `size` leaves.

    Raises:
        OutOfBounds: when there is no such leaf.
    """
    if not 0 <= index < size:
        raise OutOfBounds(f"index {index} is not in a tree of {size} items", index)
    last = size - 1
    while last > 0:
        if index & 1:
            yield Side.LEFT
        elif index < last:
            yield Side.RIGHT
        index, last = index >> 1, last >> 1


def fold_path(leaf: N, siblings: Sequence[tuple[Side, N]], join: Join[N]) -> N:
    """Climb from a leaf past its siblings and return the root that they lead to."""
    node = leaf
    for side, sibling in siblings:
        node = join(sibling, node) if side is Side.LEFT else join(node, sibling)
    return node


def require_sides(index: int, size: int, found: Sequence[Side]) -> None:
    """Check that a path has exactly the sides that its index and size ask for.

    Raises:
        BadProof: when a sibling is missing, superfluous, or stands on the wrong side.
    """
    try:
        expected = list(sibling_sides(index, size))
    except OutOfBounds as error:
        raise BadProof(str(error), index) from error
    if list(found) != expected:
        raise BadProof(
            f"the path has sides {[s.value for s in found]}; item {index} of {size} "
            f"needs {[s.value for s in expected]}",
            found,
        )


def build_levels(leaves: Sequence[N], join: Join[N]) -> list[list[N]]:
    """Return every level of the tree, the leaves first and the root alone in the last."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [join(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        if len(below) % 2:
            above.append(below[-1])
        levels.append(above)
    return levels


def path_positions(index: int, size: int) -> Iterator[tuple[Side, int, int]]:
    """Yield (side, level, position) of each sibling of leaf `index`, from the leaf up.

    Raises:
        OutOfBounds: when there is no such leaf.
    """
    if not 0 <= index < size:
        raise OutOfBounds(f"index {index} is not in a tree of {size} items", index)
    last, level = size - 1, 0
    while last > 0:
        if index & 1:
            yield Side.LEFT, level, index - 1
        elif index < last:
            yield Side.RIGHT, level, index + 1
        index, last, level = index >> 1, last >> 1, level + 1


def consistency_positions(old_size: int, new_size: int) -> Iterator[tuple[int, int]]:
    """Yield (level, position) of each node of the RFC 6962 consistency proof between two sizes.

    Raises:
        OutOfBounds: unless 0 <= old_size <= new_size.
    """
    if not 0 <= old_size <= new_size:
        raise OutOfBounds(f"a tree of {new_size} does not extend one of {old_size}", old_size)
    if old_size in (0, new_size):
        return
    yield from reversed(list(_subproof(old_size, 0, new_size, True)))


def _subproof(old: int, low: int, high: int, complete: bool) -> Iterator[tuple[int, int]]:
    """Yield the nodes from the top down: SUBPROOF of RFC 6962, section 2.1.2, over leaves low to high."""
    if old == high:
        if not complete:
            yield _position(low, high)
        return
    half = low + (1 << ((high - low - 1).bit_length() - 1))
    if old <= half:
        yield _position(half, high)
        yield from _subproof(old, low, half, complete)
    else:
        yield _position(low, half)
        yield from _subproof(old, half, high, False)


def _position(low: int, high: int) -> tuple[int, int]:
    level = (high - low - 1).bit_length()
    return level, low >> level


def fold_consistency(old_size: int, new_size: int, old: N, nodes: Sequence[N], join: Join[N]) -> tuple[N, N]:
    """Return the (old, new) roots that a consistency proof leads to, for 0 < old_size < new_size.

    The algorithm of RFC 9162, section 2.1.4.2. When old_size is a power of two its root is not part of
    the proof, so it is put in front.

    Raises:
        BadProof: when nodes are missing or left over.
    """
    path = list(nodes)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old)
    if not path:
        raise BadProof("the consistency proof is empty", nodes)
    old_last, new_last = old_size - 1, new_size - 1
    while old_last & 1:
        old_last, new_last = old_last >> 1, new_last >> 1
    old_root = new_root = path[0]
    for node in path[1:]:
        if new_last == 0:
            raise BadProof("the consistency proof has nodes left over", nodes)
        if old_last & 1 or old_last == new_last:
            old_root, new_root = join(node, old_root), join(node, new_root)
            while old_last and not old_last & 1:
                old_last, new_last = old_last >> 1, new_last >> 1
        else:
            new_root = join(new_root, node)
        old_last, new_last = old_last >> 1, new_last >> 1
    if new_last != 0:
        raise BadProof("the consistency proof has too few nodes", nodes)
    return old_root, new_root
