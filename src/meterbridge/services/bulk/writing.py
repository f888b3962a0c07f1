"""From sorted runs to parts, nodes and roots: a block is read, hashed and written on one core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

import numpy as np
import numpy.typing as npt

from meterbridge.domain.arrays import Ints
from meterbridge.domain.receipt_rows import NODE_WORDS, Nodes, Receipts, Rows, nodes_of
from meterbridge.domain.vector_code import cores
from meterbridge.services.bulk.plan import (
    PIECE_LEVEL,
    PIECE_RECEIPTS,
    STORED_LEVEL,
    STORED_RECEIPTS,
    Block,
    SealPlan,
    level_at,
    level_size,
)
from meterbridge.services.bulk.ports import Part, Reading, SealWriter
from meterbridge.services.bulk.trees import Level, levels

Words = npt.NDArray[np.uint64]


class Forest:
    """The trees of all batches of a seal: their roots, and the nodes that proofs will need.

    Attributes:
        roots: (batches, 12) nodes; complete after `finish`.
        stored: words of the file of nodes, see `SealPlan`.
        first_times: (batches,) milliseconds since 1970.
        last_times: likewise.
    """

    def __init__(self, plan: SealPlan) -> None:
        """Make room for them."""
        batches = len(plan.sizes)
        self._plan: Final = plan
        self._lock = threading.Lock()
        self.roots: Final[Nodes] = np.empty((batches, NODE_WORDS), dtype=np.uint64)
        self.stored: Final[Words] = np.empty(plan.node_words, dtype=np.uint64)
        self.first_times: Final[Ints] = np.full(batches, 2**62, dtype=np.int64)
        self.last_times: Final[Ints] = np.full(batches, -1, dtype=np.int64)

    def add(self, block: Block, rows: Rows) -> None:
        """Hash the trees of a block; blocks may be added at the same time.

        Raises:
            LaneOverflow: when the sum of a batch leaves int64.
        """
        starts = np.cumsum(block.counts) - block.counts
        times = rows["occurred_at"]
        with self._lock:  # two parts may hold pieces of one batch
            np.minimum.at(self.first_times, block.batches, np.minimum.reduceat(times, starts))
            np.maximum.at(self.last_times, block.batches, np.maximum.reduceat(times, starts))
        large = np.flatnonzero(self._plan.nodes_at[block.batches] >= 0)
        for tree in large.tolist():
            self._keep_ids(block, tree, rows, int(starts[tree]))
        top = Level(nodes_of(rows), block.counts)
        for number, top in enumerate(levels(nodes_of(rows), block.counts)):
            if number >= STORED_LEVEL:
                self._keep_level(block, large, number, top)
        if int(self._plan.sizes[block.batches[0]]) <= PIECE_RECEIPTS:
            self.roots[block.batches] = top.nodes
        else:
            self._keep_upper(block, number, top)

    def finish(self) -> None:
        """Join the pieces of large batches."""
        for batch in np.flatnonzero(self._plan.sizes > PIECE_RECEIPTS).tolist():
            size = int(self._plan.sizes[batch])
            pieces = self._region(batch, PIECE_LEVEL)
            for above, level in enumerate(levels(pieces, np.array([len(pieces)], dtype=np.int64))):
                self._region(batch, PIECE_LEVEL + above)[:] = level.nodes
            self.roots[batch] = self._region(batch, (size - 1).bit_length())[0]

    def _keep_ids(self, block: Block, tree: int, rows: Rows, start: int) -> None:
        """Keep the first word of every 32nd id, so that a receipt is found without reading others."""
        batch, count = int(block.batches[tree]), int(block.counts[tree])
        at = int(self._plan.nodes_at[batch]) + (block.piece << PIECE_LEVEL - STORED_LEVEL)
        words = rows["id"][start : start + count : STORED_RECEIPTS, 0].byteswap()
        self.stored[at : at + len(words)] = words

    def _keep_level(self, block: Block, large: npt.NDArray[np.intp], number: int, level: Level) -> None:
        ends = np.cumsum(level.counts)
        for tree in large.tolist():
            batch, count = int(block.batches[tree]), int(level.counts[tree])
            if number <= (int(self._plan.sizes[batch]) - 1).bit_length():
                first = block.piece << PIECE_LEVEL - number
                nodes = level.nodes[int(ends[tree]) - count : int(ends[tree])]
                self._region(batch, number)[first : first + count] = nodes

    def _keep_upper(self, block: Block, reached: int, top: Level) -> None:
        """The root of a short last piece moves up to the level of the pieces."""
        batch = int(block.batches[0])
        for number in range(max(STORED_LEVEL, reached), PIECE_LEVEL + 1):
            self._region(batch, number)[block.piece << PIECE_LEVEL - number] = top.nodes[0]

    def _region(self, batch: int, number: int) -> Nodes:
        """Return the nodes of one level of a batch, as a view of what is stored."""
        size = int(self._plan.sizes[batch])
        at = int(self._plan.nodes_at[batch]) + level_at(size, number)
        count = level_size(size, number)
        return self.stored[at : at + NODE_WORDS * count].reshape(count, NODE_WORDS)


def write_parts(
    plan: SealPlan,
    reading: Reading,
    writer: SealWriter,
    *,
    in_order: bool,
    threads: int | None = None,
    told: Callable[[int], object] = lambda _rows: None,
) -> Forest:
    """Write all receipts, several parts at a time, and grow their trees.

    Args:
        plan: what is written.
        reading: gives the receipts.
        writer: takes them.
        in_order: whether `reading` must be read from front to back.
        threads: all cores when None.
        told: takes the number of receipts of each block that is written; called by many threads.

    Raises:
        LaneOverflow: when the sum of a batch leaves int64.
    """
    forest = Forest(plan)
    if in_order:
        _write_in_order(plan, reading, writer, forest, told)
    else:
        _write_at_once(plan, reading, writer, forest, told, threads or cores())
    forest.finish()
    return forest


def _write_at_once(
    plan: SealPlan,
    reading: Reading,
    writer: SealWriter,
    forest: Forest,
    told: Callable[[int], object],
    threads: int,
) -> None:
    """Write several parts at a time, each on a core of its own."""
    stopping = threading.Event()

    def write(number: int, blocks: Sequence[Block]) -> None:
        part = writer.part(number)
        try:
            for block in blocks:
                if stopping.is_set():
                    return
                _write_block(part, block, reading.read(block.first, block.stop), forest, told)
        finally:
            part.close()

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(write, number, blocks) for number, blocks in enumerate(plan.parts())]
        try:
            for part in running:
                part.result()
        except BaseException:
            stopping.set()
            raise


def _write_in_order(
    plan: SealPlan,
    reading: Reading,
    writer: SealWriter,
    forest: Forest,
    told: Callable[[int], object],
) -> None:
    """Write block by block while the next one is read: three of them are in memory at most."""
    with ThreadPoolExecutor(1) as pool:
        for number, blocks in enumerate(plan.parts()):
            part, before = writer.part(number), None
            try:
                for block in blocks:
                    found = reading.read(block.first, block.stop)
                    if before is not None:
                        before.result()
                    before = pool.submit(_write_block, part, block, found, forest, told)
                if before is not None:
                    before.result()
            finally:
                if before is not None:
                    wait([before])
                part.close()


def _write_block(
    part: Part, block: Block, found: Receipts, forest: Forest, told: Callable[[int], object]
) -> None:
    forest.add(block, found.rows)
    part.write(found)
    told(len(found.rows))
