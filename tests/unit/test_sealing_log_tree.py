"""The growing log against the whole tree built anew: the oracle is `SumTree`, which the vectors hold."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.errors import LaneOverflow, OutOfBounds
from meterbridge.domain.sum_tree import EMPTY, LogState, SumNode, SumTree, verify_consistency
from meterbridge.domain.units import UsageVector
from meterbridge.services.log_tree import completed_by, consistency, inclusion, state_at

SIZE = 70


def element(index: int) -> SumNode:
    return SumNode(index.to_bytes(32, "big"), UsageVector.of([index, 1, 0, 0, 0, 0, 0, index * index]))


class Stored:
    """Grows a log as a ledger does, and counts what it is asked for."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], SumNode] = {}
        self.size = 0
        self.fetched = 0

    def fetch(self, places: Sequence[tuple[int, int]]) -> list[SumNode]:
        self.fetched += len(places)
        return [self.nodes[place] for place in places]

    def append(self, node: SumNode) -> None:
        for made in completed_by(self.size, node, self.fetch):
            assert (made.level, made.position) not in self.nodes, "a complete subtree never changes"
            self.nodes[made.level, made.position] = made.node
        self.size += 1


@pytest.fixture(scope="module")
def log() -> Stored:
    stored = Stored()
    for index in range(SIZE):
        stored.append(element(index))
    return stored


def whole(size: int) -> SumTree:
    return SumTree.of([element(i) for i in range(size)])


@pytest.mark.parametrize("size", range(1, SIZE + 1))
def test_every_earlier_state_is_found_again(log: Stored, size: int) -> None:
    assert state_at(size, log.fetch) == LogState(size, whole(size).root)


def test_a_log_of_nothing_is_empty(log: Stored) -> None:
    assert state_at(0, log.fetch) == LogState(0, EMPTY)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 65, SIZE])
def test_inclusion_is_that_of_the_whole_tree(log: Stored, size: int) -> None:
    tree = whole(size)
    for index in range(size):
        assert inclusion(index, size, log.fetch) == tree.inclusion(index)


@given(old=st.integers(0, SIZE), new=st.integers(1, SIZE))
def test_consistency_is_that_of_the_whole_tree(log: Stored, old: int, new: int) -> None:
    if old > new:
        with pytest.raises(OutOfBounds):
            consistency(old, new, log.fetch)
        return
    nodes = consistency(old, new, log.fetch)
    assert list(nodes) == whole(new).consistency(old)
    if old:
        verify_consistency(old, whole(old).root, new, whole(new).root, nodes)


def test_a_long_log_costs_few_look_ups() -> None:
    log = Stored()
    for index in range(1000):
        log.append(element(index))
    assert len(log.nodes) <= 2 * log.size
    for ask in (
        lambda: state_at(999, log.fetch),
        lambda: inclusion(500, 999, log.fetch),
        lambda: consistency(500, 999, log.fetch),
    ):
        log.fetched = 0
        ask()
        assert log.fetched <= 30


def test_a_total_beyond_int64_is_refused() -> None:
    log = Stored()
    log.append(SumNode(bytes(32), UsageVector.of([2**63 - 1] + [0] * 7)))
    with pytest.raises(LaneOverflow, match="9223372036854775808"):
        log.append(SumNode(bytes(32), UsageVector.of([1] + [0] * 7)))


def test_no_element_beyond_the_log(log: Stored) -> None:
    with pytest.raises(OutOfBounds):
        inclusion(SIZE, SIZE, log.fetch)
