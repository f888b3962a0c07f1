"""Leaves and nodes from columns of words, against the domain's own values hashed by pycryptodome."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterbridge.domain import keccak_nodes
from meterbridge.domain.receipt_rows import NODE_WORDS, RECEIPT, node_words, nodes_of, sum_node, words_of
from meterbridge.domain.receipts import LANE_MAX, OCCURRED_AT_MAX, Receipt
from meterbridge.domain.sum_tree import SumNode, join
from meterbridge.domain.units import INT64_MAX, INT64_MIN, UsageVector
from meterbridge.domain.vector_code import LANES

digests = st.binary(min_size=32, max_size=32)


def lanes(low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(low, high)] * 8)


receipts = st.builds(
    Receipt,
    id=digests,
    occurred_at=st.integers(0, OCCURRED_AT_MAX),
    usage=lanes(0, LANE_MAX).map(UsageVector.of),
    details=digests,
)
nodes = st.builds(SumNode, hash=digests, sum=lanes(INT64_MIN // 2, INT64_MAX // 2).map(UsageVector.of))


def rows_of(some: list[Receipt]) -> tuple[np.ndarray, np.ndarray]:
    """Lay receipts out as rows, with a table of their details in another order."""
    rows = np.zeros(len(some), dtype=RECEIPT)
    for number, (row, receipt) in enumerate(zip(rows, some, strict=True)):
        row["id"] = np.frombuffer(receipt.id, dtype=np.uint64)
        row["usage"], row["occurred_at"] = receipt.usage.lanes, receipt.occurred_at
        row["details"] = len(some) - 1 - number
    details = b"".join(receipt.details for receipt in reversed(some))
    return rows, np.frombuffer(details, dtype=np.uint64).reshape(-1, 4)


@given(st.lists(receipts, min_size=1, max_size=3 * LANES + 1))
@settings(max_examples=100, deadline=None)
def test_leaves_are_those_of_the_receipts(some: list[Receipt]) -> None:
    rows, details = rows_of(some)
    keccak_nodes.hash_leaves(words_of(rows), details, 0, len(rows))
    assert [row["leaf"].tobytes() for row in rows] == [receipt.leaf() for receipt in some]
    assert [sum_node(node) for node in nodes_of(rows)] == [receipt.node() for receipt in some]


def test_only_the_asked_rows_get_leaves() -> None:
    some = [Receipt(bytes([i]) * 32, i, UsageVector.of(range(8))) for i in range(20)]
    rows, details = rows_of(some)
    keccak_nodes.hash_leaves(words_of(rows), details, 3, 14)
    filled = [row["leaf"].any() for row in rows]
    assert filled == [3 <= i < 14 for i in range(20)]
    assert rows[13]["leaf"].tobytes() == some[13].leaf()


@given(st.lists(nodes, min_size=2, max_size=2 * LANES + 5), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_pairs_join_as_the_domain_joins_them(some: list[SumNode], random) -> None:
    left = np.array([random.randrange(len(some) - 1) for _ in some], dtype=np.int64)
    parent = np.array(random.sample(range(len(some)), len(some)), dtype=np.int64)
    above = np.zeros((len(some), NODE_WORDS), dtype=np.uint64)
    assert keccak_nodes.join_nodes(node_words(some), left, above, parent, 0, len(some)) == -1
    for at, place in zip(left.tolist(), parent.tolist(), strict=True):
        assert sum_node(above[place]) == join(some[at], some[at + 1])


@pytest.mark.parametrize(
    ("a", "b"),
    [(INT64_MAX, 1), (INT64_MIN, -1), (2**62, 2**62), (INT64_MAX, INT64_MAX), (-(2**62) - 1, -(2**62))],
)
@pytest.mark.parametrize("lane", [0, 3, 7])
def test_a_sum_that_leaves_int64_is_found(a: int, b: int, lane: int) -> None:
    def node(value: int) -> SumNode:
        return SumNode(bytes(32), UsageVector.of(value if i == lane else 5 for i in range(8)))

    below = node_words([node(1), node(2), node(a), node(b)])
    above = np.zeros((2, NODE_WORDS), dtype=np.uint64)
    left, parent = np.array([0, 2]), np.array([0, 1])
    assert keccak_nodes.join_nodes(below, left, above, parent, 0, 2) == 1
    assert keccak_nodes.join_nodes(below, left, above, parent, 0, 1) == -1


def test_the_edges_of_int64_are_no_overflow() -> None:
    edges = [INT64_MAX - 1, 1, INT64_MIN + 1, -1]
    below = node_words([SumNode(bytes(32), UsageVector.of([value] * 8)) for value in edges])
    above = np.zeros((2, NODE_WORDS), dtype=np.uint64)
    assert keccak_nodes.join_nodes(below, np.array([0, 2]), above, np.array([0, 1]), 0, 2) == -1
    assert [sum_node(node).sum.lanes[0] for node in above] == [INT64_MAX, INT64_MIN]
