"""Sum trees, batches, logs and heads (protocol, section 4).

A node is a pair (hash, sum). Everything here works on columns: `NodeColumns` holds the hashes as a
(n, 32) array of bytes and the sums as a (n, 8) array of int64, and a whole level is joined at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from meterbridge.domain.errors import BadProof, LaneOverflow, OutOfBounds
from meterbridge.domain.keccak import DIGEST_BYTES, ZERO32, keccak256, keccak256_rows
from meterbridge.domain.merkle import (
    Side,
    consistency_positions,
    fold_consistency,
    fold_path,
    path_positions,
    require_sides,
)
from meterbridge.domain.units import LANES, UINT64_MAX, USAGE_BYTES, UsageVector, require_int

Hashes = npt.NDArray[np.uint8]
Lanes = npt.NDArray[np.int64]

NODE_TAG: Final = 0x01
ELEMENT_TAG: Final = 0x02
HEAD_TAG: Final = 0x03
_NODE_BYTES: Final = 1 + 2 * (DIGEST_BYTES + USAGE_BYTES)


@dataclass(frozen=True, slots=True)
class SumNode:
    """One node: 32 bytes of hash and the usage below it."""

    hash: bytes
    sum: UsageVector

    def __post_init__(self) -> None:
        if len(self.hash) != DIGEST_BYTES:
            raise OutOfBounds(f"a node's hash is {len(self.hash)} bytes; it must be 32", self.hash)


EMPTY: Final = SumNode(ZERO32, UsageVector.zero())
"""The tree over no items: 32 zero bytes and zero usage."""


def join(left: SumNode, right: SumNode) -> SumNode:
    """Return the parent of two nodes.

    Raises:
        LaneOverflow: when a lane of the sum would leave int64.
    """
    body = left.hash + left.sum.to_bytes() + right.hash + right.sum.to_bytes()
    return SumNode(keccak256(bytes([NODE_TAG]) + body), left.sum + right.sum)


@dataclass(frozen=True, slots=True)
class NodeColumns:
    """Many nodes: hashes of shape (n, 32) and sums of shape (n, 8)."""

    hashes: Hashes
    sums: Lanes

    def __post_init__(self) -> None:
        if self.hashes.shape != (len(self.sums), DIGEST_BYTES) or self.sums.shape[1:] != (LANES,):
            raise OutOfBounds(
                f"columns of shape {self.hashes.shape} and {self.sums.shape} are no nodes; "
                "they must be (n, 32) and (n, 8)",
                self.hashes.shape,
            )

    @classmethod
    def of(cls, nodes: Sequence[SumNode]) -> Self:
        """Turn nodes into columns."""
        hashes = np.frombuffer(b"".join(n.hash for n in nodes), dtype=np.uint8)
        sums = np.array([n.sum.lanes for n in nodes], dtype=np.int64)
        return cls(hashes.reshape(-1, DIGEST_BYTES), sums.reshape(-1, LANES))

    def __len__(self) -> int:
        return len(self.sums)

    def node(self, index: int) -> SumNode:
        """Return one node."""
        return SumNode(self.hashes[index].tobytes(), UsageVector.of(self.sums[index].tolist()))

    def slice(self, start: int, stop: int | None, step: int = 1) -> NodeColumns:
        """Return every `step`-th node from `start` up to `stop`."""
        return NodeColumns(self.hashes[start:stop:step], self.sums[start:stop:step])


def usage_bytes(sums: Lanes) -> Hashes:
    """Return (n, 8) lanes as (n, 64) big-endian bytes."""
    return np.ascontiguousarray(sums, dtype=">i8").view(np.uint8).reshape(len(sums), USAGE_BYTES)


def add_lanes(left: Lanes, right: Lanes) -> Lanes:
    """Add usage lane by lane.

    Raises:
        LaneOverflow: when a lane would leave int64.
    """
    total: Lanes = left + right
    wrapped = ((left ^ total) & (right ^ total)) < 0
    if wrapped.any():
        row, lane = np.argwhere(wrapped)[0]
        raise LaneOverflow(
            f"usage lane {lane} would leave int64: {left[row, lane]} + {right[row, lane]}",
            (int(left[row, lane]), int(right[row, lane])),
        )
    return total


def join_columns(left: NodeColumns, right: NodeColumns) -> NodeColumns:
    """Return the parents of many pairs of nodes at once; see `join`."""
    sums = add_lanes(left.sums, right.sums)
    rows = np.empty((len(left), _NODE_BYTES), dtype=np.uint8)
    rows[:, 0] = NODE_TAG
    rows[:, 1:33] = left.hashes
    rows[:, 33:97] = usage_bytes(left.sums)
    rows[:, 97:129] = right.hashes
    rows[:, 129:193] = usage_bytes(right.sums)
    return NodeColumns(keccak256_rows(rows), sums)


@dataclass(frozen=True, slots=True)
class Sibling:
    """One step of an inclusion proof: a node beside the path and the side on which it stands."""

    side: Side
    node: SumNode


class SumTree:
    """A tree over given leaves, with all its levels: roots, inclusion and consistency proofs.

    Memory is about twice that of the leaves.
    """

    def __init__(self, leaves: NodeColumns) -> None:
        """Build all levels above the leaves; no leaves are the empty tree."""
        self._levels = [leaves]
        while len(self._levels[-1]) > 1:
            self._levels.append(_level_above(self._levels[-1]))

    @classmethod
    def of(cls, leaves: Sequence[SumNode]) -> Self:
        """Build from nodes one by one."""
        return cls(NodeColumns.of(leaves))

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self._levels[0])

    @property
    def root(self) -> SumNode:
        """The root; of no leaves: 32 zero bytes and zero usage."""
        return self._levels[-1].node(0) if self.size else EMPTY

    def inclusion(self, index: int) -> list[Sibling]:
        """Return the siblings of leaf `index`, from the leaf up.

        Raises:
            OutOfBounds: when there is no such leaf.
        """
        return [
            Sibling(side, self._levels[level].node(position))
            for side, level, position in path_positions(index, self.size)
        ]

    def consistency(self, old_size: int) -> list[SumNode]:
        """Return the nodes that prove that this tree extends its first `old_size` leaves.

        Raises:
            OutOfBounds: when the tree is smaller than that.
        """
        return [
            self._levels[level].node(position)
            for level, position in consistency_positions(old_size, self.size)
        ]


def _level_above(below: NodeColumns) -> NodeColumns:
    pairs = len(below) // 2 * 2
    above = join_columns(below.slice(0, pairs, 2), below.slice(1, pairs, 2))
    if len(below) == pairs:
        return above
    return NodeColumns(
        np.concatenate([above.hashes, below.hashes[-1:]]), np.concatenate([above.sums, below.sums[-1:]])
    )


def verify_inclusion(leaf: SumNode, index: int, size: int, path: Sequence[Sibling], root: SumNode) -> None:
    """Check that `leaf` is item `index` of the `size` items under `root`.

    Logs and batches hold no negative usage; a sibling with a negative lane could hide usage behind a
    smaller total, so it is refused.

    Raises:
        BadProof: when the path does not fit the index and size, holds negative usage, or leads elsewhere.
        LaneOverflow: when a sum on the way would leave int64.
    """
    require_sides(index, size, [step.side for step in path])
    _require_no_negative([leaf, root, *(step.node for step in path)])
    reached = fold_path(leaf, [(step.side, step.node) for step in path], join)
    if reached != root:
        raise BadProof(
            f"the path leads to 0x{reached.hash.hex()} with usage {reached.sum.lanes}, "
            f"not to the root 0x{root.hash.hex()} with usage {root.sum.lanes}",
            reached,
        )


def verify_consistency(
    old_size: int, old: SumNode, new_size: int, new: SumNode, nodes: Sequence[SumNode]
) -> None:
    """Check that the tree `new` begins with the tree `old` (RFC 6962, with sums).

    Raises:
        BadProof: when it does not, or the proof does not show it.
        LaneOverflow: when a sum on the way would leave int64.
    """
    if old_size > new_size:
        raise BadProof(f"a log of {new_size} items cannot extend one of {old_size}", old_size)
    _require_no_negative([old, new, *nodes])
    if old_size in (0, new_size):
        _verify_trivial(old_size, old, new_size, new, nodes)
        return
    old_reached, new_reached = fold_consistency(old_size, new_size, old, nodes, join)
    if old_reached != old or new_reached != new:
        wrong = "old" if old_reached != old else "new"
        raise BadProof(f"the proof does not lead to the {wrong} root", (old_reached, new_reached))


def _verify_trivial(
    old_size: int, old: SumNode, new_size: int, new: SumNode, nodes: Sequence[SumNode]
) -> None:
    """Nothing extends to anything, and everything to itself; neither takes a node to prove."""
    if nodes:
        raise BadProof(f"{old_size} and {new_size} items need no proof, yet nodes are given", nodes)
    if old_size == 0 and old != EMPTY:
        raise BadProof("a log of no items must have the empty root", old)
    if old_size == new_size and old != new:
        raise BadProof(
            f"two different roots for the same {new_size} items: 0x{old.hash.hex()} and 0x{new.hash.hex()}",
            (old, new),
        )


def _require_no_negative(nodes: Iterable[SumNode]) -> None:
    for node in nodes:
        if node.sum.has_negative_lane():
            raise BadProof(f"a node carries negative usage {node.sum.lanes}", node)


def log_element(size: int, batch: SumNode) -> SumNode:
    """Return the log element of a batch of `size` receipts.

    Raises:
        OutOfBounds: when size is not from 1 to 2**64 - 1.
    """
    require_int("batch size", size, 1, UINT64_MAX)
    body = bytes([ELEMENT_TAG]) + size.to_bytes(8, "big") + batch.hash + batch.sum.to_bytes()
    return SumNode(keccak256(body), batch.sum)


@dataclass(frozen=True, slots=True)
class LogState:
    """A log at one moment: how many batches it has, and the root over them.

    Raises:
        BadProof: when there are no batches and the root is not empty, or the other way, or a sum is negative.
    """

    size: int
    root: SumNode

    def __post_init__(self) -> None:
        require_int("log size", self.size, 0, UINT64_MAX)
        if (self.size == 0) != (self.root == EMPTY):
            raise BadProof(f"a log of {self.size} batches cannot have the root {self.root}", self)
        _require_no_negative([self.root])

    @classmethod
    def empty(cls) -> Self:
        """Return a log without batches."""
        return cls(0, EMPTY)

    def to_bytes(self) -> bytes:
        """Return size, hash and sum as the head hashes them: 104 bytes."""
        return self.size.to_bytes(8, "big") + self.root.hash + self.root.sum.to_bytes()


@dataclass(frozen=True, slots=True)
class Head:
    """Both logs of one account at one moment."""

    charges: LogState
    credits: LogState

    @classmethod
    def empty(cls) -> Self:
        """Return the head of an account that has no batch yet."""
        return cls(LogState.empty(), LogState.empty())

    def hash(self) -> bytes:
        """Return the 32 bytes that a statement's line commits to."""
        return keccak256(bytes([HEAD_TAG]) + self.charges.to_bytes() + self.credits.to_bytes())

    def usage(self) -> UsageVector:
        """Return charges minus credits, lane by lane; a lane may be negative."""
        return self.charges.root.sum - self.credits.root.sum


@dataclass(frozen=True, slots=True)
class HeadGrowth:
    """Consistency proofs of both logs between two heads."""

    charges: tuple[SumNode, ...]
    credits: tuple[SumNode, ...]


def verify_extends(old: Head, new: Head, growth: HeadGrowth) -> None:
    """Check that head `new` extends head `old` in both logs.

    Raises:
        BadProof: when either log does not extend its predecessor.
    """
    verify_consistency(old.charges.size, old.charges.root, new.charges.size, new.charges.root, growth.charges)
    verify_consistency(old.credits.size, old.credits.root, new.credits.size, new.credits.root, growth.credits)
