"""Sum trees against the recursive definitions of RFC 6962, written out naively with another Keccak."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from Crypto.Hash import keccak as oracle_keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from meterbridge.domain.errors import BadProof, LaneOverflow
from meterbridge.domain.sum_tree import (
    EMPTY,
    NodeColumns,
    Sibling,
    SumNode,
    SumTree,
    add_lanes,
    verify_consistency,
    verify_inclusion,
)
from meterbridge.domain.units import INT64_MAX, UsageVector

Node = tuple[bytes, tuple[int, ...]]


def oracle_hash(data: bytes) -> bytes:
    return oracle_keccak.new(digest_bits=256, data=data).digest()


def lanes_bytes(lanes: Sequence[int]) -> bytes:
    return b"".join(lane.to_bytes(8, "big", signed=True) for lane in lanes)


def oracle_root(leaves: Sequence[Node]) -> Node:
    """MTH of RFC 6962, section 2.1, with sums."""
    if not leaves:
        return bytes(32), (0,) * 8
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    left, right = oracle_root(leaves[:k]), oracle_root(leaves[k:])
    body = b"\x01" + left[0] + lanes_bytes(left[1]) + right[0] + lanes_bytes(right[1])
    return oracle_hash(body), tuple(a + b for a, b in zip(left[1], right[1], strict=True))


def oracle_consistency(old: int, leaves: Sequence[Node], complete: bool = True) -> list[Node]:
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if old == len(leaves):
        return [] if complete else [oracle_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if old <= k:
        return [*oracle_consistency(old, leaves[:k], complete), oracle_root(leaves[k:])]
    return [*oracle_consistency(old - k, leaves[k:], False), oracle_root(leaves[:k])]


def oracle_path(index: int, leaves: Sequence[Node]) -> list[Node]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*oracle_path(index, leaves[:k]), oracle_root(leaves[k:])]
    return [*oracle_path(index - k, leaves[k:]), oracle_root(leaves[:k])]


def node(pair: Node) -> SumNode:
    return SumNode(pair[0], UsageVector.of(pair[1]))


def pair(value: SumNode) -> Node:
    return value.hash, value.sum.lanes


NODES = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.tuples(*[st.integers(0, 2**53 - 1)] * 8)),
    min_size=1,
    max_size=40,
)


@given(NODES)
def test_the_root_is_that_of_the_rfc(leaves: list[Node]) -> None:
    assert pair(SumTree.of([node(leaf) for leaf in leaves]).root) == oracle_root(leaves)


def test_no_items_have_the_empty_root() -> None:
    assert SumTree.of([]).root == EMPTY == SumNode(bytes(32), UsageVector.zero())


@given(NODES, st.data())
def test_inclusion_proofs_are_those_of_the_rfc_and_verify(leaves: list[Node], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    tree = SumTree.of([node(leaf) for leaf in leaves])
    path = tree.inclusion(index)
    assert [pair(step.node) for step in path] == oracle_path(index, leaves)
    verify_inclusion(node(leaves[index]), index, len(leaves), path, tree.root)


@given(NODES, st.data())
def test_consistency_proofs_are_those_of_the_rfc_and_verify(leaves: list[Node], data: st.DataObject) -> None:
    old = data.draw(st.integers(1, len(leaves)))
    tree = SumTree.of([node(leaf) for leaf in leaves])
    proof = tree.consistency(old)
    assert [pair(step) for step in proof] == oracle_consistency(old, leaves)
    verify_consistency(old, node(oracle_root(leaves[:old])), len(leaves), tree.root, proof)


@settings(deadline=None)
@given(NODES, st.data())
def test_a_tampered_inclusion_proof_is_refused(leaves: list[Node], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    tree = SumTree.of([node(leaf) for leaf in leaves])
    path, leaf, root = tree.inclusion(index), node(leaves[index]), tree.root
    size = len(leaves)
    other = SumNode(bytes(31) + b"\x01", UsageVector.of([1] * 8))
    attempts: list[tuple[SumNode, int, int, list[Sibling]]] = [
        (dataclasses.replace(leaf, hash=other.hash), index, size, path),
        (dataclasses.replace(leaf, sum=leaf.sum + other.sum), index, size, path),
        (leaf, index, size, [*path, Sibling(path[0].side, other)] if path else [*path, *path]),
        (leaf, size, size, path),
    ]
    if path:
        attempts.append((leaf, index, size, path[1:]))
        step = data.draw(st.integers(0, len(path) - 1))
        heavier = dataclasses.replace(path[step].node, sum=path[step].node.sum + other.sum)
        attempts.append(
            (leaf, index, size, [*path[:step], Sibling(path[step].side, heavier), *path[step + 1 :]])
        )
    for tried_leaf, tried_index, tried_size, tried_path in attempts:
        if (tried_leaf, tried_index, tried_size, tried_path) == (leaf, index, size, path):
            continue
        with pytest.raises(BadProof):
            verify_inclusion(tried_leaf, tried_index, tried_size, tried_path, root)


@given(NODES, st.data())
def test_a_rewritten_history_is_refused(leaves: list[Node], data: st.DataObject) -> None:
    old = data.draw(st.integers(1, len(leaves)))
    changed = data.draw(st.integers(0, old - 1))
    tree = SumTree.of([node(leaf) for leaf in leaves])
    forged = list(leaves)
    forged[changed] = (bytes(31) + b"\x07", leaves[changed][1])
    if forged == leaves:
        return
    old_root = node(oracle_root(forged[:old]))
    with pytest.raises(BadProof):
        verify_consistency(old, old_root, len(leaves), tree.root, tree.consistency(old))


@given(NODES)
def test_a_wrong_number_of_nodes_is_refused(leaves: list[Node]) -> None:
    tree = SumTree.of([node(leaf) for leaf in leaves])
    for old in range(1, len(leaves)):
        proof = tree.consistency(old)
        old_root = SumTree.of([node(leaf) for leaf in leaves[:old]]).root
        for wrong in (proof[:-1], [*proof, proof[0]], []):
            with pytest.raises(BadProof):
                verify_consistency(old, old_root, len(leaves), tree.root, wrong)


def test_negative_usage_in_a_proof_is_refused() -> None:
    # A phantom sibling of -5 would let a meter charge 5 more than the signed total shows.
    phantom = SumNode(bytes(32), UsageVector.of([-5] + [0] * 7))
    real = SumNode(b"\x01" * 32, UsageVector.of([9] + [0] * 7))
    tree = SumTree.of([real, phantom])
    with pytest.raises(BadProof, match="negative"):
        verify_inclusion(real, 0, 2, tree.inclusion(0), tree.root)


def test_two_roots_of_one_size_are_refused() -> None:
    one, two = SumNode(b"\x01" * 32, UsageVector.zero()), SumNode(b"\x02" * 32, UsageVector.zero())
    with pytest.raises(BadProof, match="two different roots"):
        verify_consistency(1, one, 1, two, [])
    with pytest.raises(BadProof, match="cannot extend"):
        verify_consistency(2, one, 1, one, [])
    with pytest.raises(BadProof, match="empty root"):
        verify_consistency(0, one, 1, one, [])


def test_a_lane_that_would_leave_int64_is_an_error_in_columns_too() -> None:
    most = NodeColumns.of([SumNode(bytes(32), UsageVector.of([0] * 7 + [INT64_MAX]))])
    least = NodeColumns.of([SumNode(bytes(32), UsageVector.of([0] * 7 + [1]))])
    with pytest.raises(LaneOverflow, match="lane 7"):
        add_lanes(most.sums, least.sums)


@pytest.mark.parametrize("size", [511, 512, 513, 1500])
def test_wide_trees_take_the_compiled_kernel_and_agree(size: int) -> None:
    leaves = [(oracle_hash(i.to_bytes(4, "big")), (i,) * 8) for i in range(size)]
    assert pair(SumTree.of([node(leaf) for leaf in leaves]).root) == oracle_root(leaves)
