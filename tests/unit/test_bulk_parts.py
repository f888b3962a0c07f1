"""The pieces of bulk sealing, each against plain Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterbridge.adapters.bulk.events import WINDOW, EventIndex, EventIndexWriter
from meterbridge.domain.errors import LaneOverflow
from meterbridge.domain.receipt_rows import NODE_WORDS, RECEIPT, node_words, nodes_of, sum_node, words_of
from meterbridge.domain.sum_tree import NodeColumns, SumNode, SumTree
from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk import order, plan
from meterbridge.services.bulk.dedupe import judge
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.bulk.trees import levels
from meterbridge.services.bulk.writing import Forest
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.records import ADDED, CONFLICT, REPEATED

words = st.integers(0, 2**64 - 1)
EDGES = [0, 1, 2**64 - 1]
some_counts = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def random_nodes(count: int, seed: int = 1) -> np.ndarray:
    nodes = np.random.default_rng(seed).integers(0, 2**63, (count, NODE_WORDS)).astype(np.uint64)
    nodes[:, 4:] >>= np.uint64(33)
    return nodes


def tree_of(nodes: np.ndarray) -> SumTree:
    return SumTree(
        NodeColumns(nodes[:, :4].copy().view(np.uint8).reshape(-1, 32), nodes[:, 4:].astype(np.int64))
    )


@given(some_counts)
@settings(max_examples=50, deadline=None)
def test_trees_side_by_side_have_the_roots_of_trees_alone(counts: list[int]) -> None:
    nodes = random_nodes(sum(counts))
    *_, top = levels(nodes, np.array(counts))
    assert top.counts.tolist() == [1] * len(counts)
    for root, part in zip(top.nodes, np.split(nodes, np.cumsum(counts)[:-1]), strict=True):
        assert sum_node(root) == tree_of(part).root


def test_a_batch_whose_sum_leaves_int64_is_refused() -> None:
    full = node_words([SumNode(bytes(32), UsageVector.of([2**62] * 8))] * 2)
    with pytest.raises(LaneOverflow, match=str(2**63)):
        list(levels(np.concatenate([random_nodes(4), full]), np.array([4, 2])))


def small_pieces(monkeypatch: pytest.MonkeyPatch, piece_level: int, stored_level: int) -> None:
    """Make pieces small, so that few receipts make a large batch."""
    for module in ("plan", "writing"):
        base = f"meterbridge.services.bulk.{module}"
        monkeypatch.setattr(f"{base}.PIECE_LEVEL", piece_level)
        monkeypatch.setattr(f"{base}.PIECE_RECEIPTS", 1 << piece_level)
        monkeypatch.setattr(f"{base}.STORED_LEVEL", stored_level)
        monkeypatch.setattr(f"{base}.STORED_RECEIPTS", 1 << stored_level)


@pytest.mark.parametrize(("piece_level", "stored_level"), [(5, 2), (4, 3), (3, 3)])
@given(sizes=st.lists(st.integers(0, 150), min_size=1, max_size=8).filter(any))
@settings(max_examples=40, deadline=None)
def test_a_forest_keeps_what_its_trees_have(piece_level: int, stored_level: int, sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        small_pieces(monkeypatch, piece_level, stored_level)
        made = SealPlan.of(np.array(sizes))
        rows = np.zeros(made.rows, dtype=RECEIPT)
        words_of(rows)[:, 4:16] = random_nodes(made.rows)
        rows["id"] = np.sort(np.random.default_rng(2).integers(0, 2**63, (made.rows, 4)), axis=0)
        rows["occurred_at"] = np.random.default_rng(3).integers(0, 10**6, made.rows)
        forest = Forest(made)
        blocks = [block for part in made.parts() for block in part]
        assert [block.first for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
        assert all(block.stop - block.first <= 1 << piece_level for block in blocks)
        for block in reversed(blocks):  # any order will do
            forest.add(block, rows[block.first : block.stop])
        forest.finish()
        for number, (first, size) in enumerate(zip(made.first_rows, made.sizes, strict=True)):
            mine = rows[first : first + size]
            _check_batch(made, forest, number, mine, stored_level)


def _check_batch(made: SealPlan, forest: Forest, number: int, mine: Any, stored_level: int) -> None:
    tree = tree_of(nodes_of(mine).copy())
    assert sum_node(forest.roots[number]) == tree.root
    assert forest.first_times[number] == mine["occurred_at"].min()
    assert forest.last_times[number] == mine["occurred_at"].max()
    at = int(made.nodes_at[number])
    assert (at < 0) == (len(mine) <= 1 << stored_level)
    if at < 0:
        return
    firsts = forest.stored[at : at + plan.level_size(len(mine), stored_level)]
    assert firsts.tolist() == mine["id"][:: 1 << stored_level, 0].byteswap().tolist()
    for level in range(stored_level, (len(mine) - 1).bit_length() + 1):
        start = at + plan.level_at(len(mine), level)
        expected = tree._levels[level]
        stored = forest.stored[start : start + NODE_WORDS * len(expected)].reshape(-1, NODE_WORDS)
        assert [sum_node(node) for node in stored] == [expected.node(i) for i in range(len(expected))]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.one_of(words, st.sampled_from([0, 1, 2**64 - 1])), words), max_size=60
    )
)
@settings(max_examples=100, deadline=None)
def test_receipts_stand_by_account_and_id(found: list[tuple[int, int, int]]) -> None:
    rows = np.zeros(len(found), dtype=RECEIPT)
    for row, (account, first, last) in zip(rows, found, strict=True):
        row["account"], row["id"][0], row["id"][3] = account, first, last
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows["account"], minlength=4))])
    numbers = order.receipt_order(rows, starts)
    assert sorted(numbers.tolist()) == list(range(len(found)))
    stand = [(int(rows["account"][n]), rows["id"][n].tobytes()) for n in numbers]
    assert stand == sorted(stand)


@given(st.lists(st.tuples(st.sampled_from([5, 5 << 40, 2**64 - 1]), words, st.integers(0, 3)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_keys_stand_by_their_twelve_bytes_and_then_by_leaf(found: list[tuple[int, int, int]]) -> None:
    keys = np.array(found, dtype=np.uint64).reshape(-1, 3)
    stand = [(int(k[0]), int(k[1]) >> 32, int(k[2])) for k in keys[order.key_order(keys)]]
    assert stand == sorted((a, b >> 32, c) for a, b, c in found)


entries = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3))
earlier_run = st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 2)), st.integers(0, 3), max_size=6)


@given(st.lists(entries, max_size=25), st.lists(earlier_run, max_size=2))
@settings(max_examples=200, deadline=None)
def test_judging_agrees_with_a_dictionary(
    found: list[tuple[int, int, int]], earlier: list[dict[Any, int]]
) -> None:
    found.sort()
    keys = np.array([(a, b << 32 | 7, c) for a, b, c in found], dtype=np.uint64).reshape(-1, 3)
    runs, known = [], {}
    for run in earlier:
        new = {key: content for key, content in run.items() if key not in known}
        known |= new
        rows = [(a, b << 32 | 9, c) for (a, b), c in sorted(new.items())]
        runs.append(np.array(rows, dtype=np.uint64).reshape(-1, 3))
    wanted = []
    for a, b, content in found:
        kept = known.get((a, b))
        wanted.append(ADDED if kept is None else REPEATED if kept == content else CONFLICT)
        known.setdefault((a, b), content)
    assert judge(keys, runs).tolist() == wanted


@pytest.mark.parametrize("count", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 20 * WINDOW + 7])
def test_an_index_finds_each_of_its_events_and_no_other(tmp_path: Path, count: int) -> None:
    chance = np.random.default_rng(count)
    keys = chance.integers(0, 2**64, (count, 3), dtype=np.uint64)
    keys[: count // 3, 0] = keys[0, 0] if count else 0  # many that begin alike, over several windows
    keys = keys[np.lexsort((keys[:, 1], keys[:, 0]))]
    writer = EventIndexWriter(tmp_path / "events")
    for part in np.split(keys, sorted(chance.integers(0, count + 1, 5))):
        writer.append(part)
    writer.close()
    index = EventIndex(tmp_path / "events")
    assert index.size == count
    firsts = np.unique(keys[:, 0])
    for step in (1, 7, 1000):
        around = index.around(firsts[::step].copy())
        wanted = keys[np.isin(keys[:, 0], firsts[::step])]
        assert {tuple(row) for row in wanted.tolist()} <= {tuple(row) for row in around.tolist()}
        assert (around[1:, 0] >= around[:-1, 0]).all()
    for row in keys[:: max(1, count // 50)]:
        key = int(row[0]).to_bytes(8, "big") + int(row[1]).to_bytes(8, "big")
        assert index.find(key) == (int(row[1]) & 0xFFFFFFFF, row[2].tobytes())
        other = bytes([key[11] ^ 1])
        assert index.find(key[:11] + other + key[12:]) is None
    assert index.find(bytes(16)) is None


@pytest.mark.parametrize("damage", [b"", b"x", bytes(7), bytes(100)])
def test_a_damaged_index_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "events").write_bytes(damage)
    with pytest.raises(BadSegment, match="damaged"):
        EventIndex(tmp_path / "events")
