"""Third and fourth task: parts with their trees, and the files that are one for a whole seal.

A part's task returns the heads of its aligned subtrees; the driver joins them and does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from meterbridge.adapters.bulk.events import ENTRY_BYTES, ENTRY_WORDS, EventIndexWriter
from meterbridge.adapters.bulk.layout import EVENTS, NODES
from meterbridge.adapters.bulk.parts import PartWriter, RowTexts
from meterbridge.adapters.spark.cells import Cut, checksum
from meterbridge.adapters.spark.packs import Kind, Message, Pack, by_place, joined, read_messages
from meterbridge.adapters.spark.work import TaskFailed, Work
from meterbridge.domain.arrays import Ints, Words
from meterbridge.domain.receipt_rows import NODE_WORDS, Receipts
from meterbridge.services.bulk.order import Order, receipt_order, take, take_texts
from meterbridge.services.bulk.plan import (
    PIECE_LEVEL,
    PIECE_RECEIPTS,
    STORED_LEVEL,
    Block,
    SealPlan,
    level_at,
    level_size,
)
from meterbridge.services.bulk.writing import Forest

HEAD_COLUMNS: Final = 4 + NODE_WORDS
"""Batch, piece, first and last time, and the node of an aligned subtree."""
_COPIED: Final = 1 << 16
_CHANGED: Final = "the input changed while it was sealed; seal again"


def split_by_part(cuts: Sequence[Cut], batches: Iterable[Any]) -> Iterator[Message]:
    """Send receipts to the parts whose cells they are in; a few go to two."""
    for message in read_messages(batches):
        pack = Pack.of(message)
        for part, cut in enumerate(cuts):
            first, stop = cut.low.within(pack.rows), cut.high.within(pack.rows)
            if first < stop:
                yield pack.slice(first, stop).message(part)


def write_parts(work: Work, plan: SealPlan, cuts: Sequence[Cut], batches: Iterable[Any]) -> Iterator[Message]:
    """Write parts; yield the name of each and the heads of its subtrees."""
    writing = _Writing(work, plan, cuts)
    for number, messages in by_place(read_messages(batches)):
        yield from (message for message in messages if message.kind is not Kind.RECEIPTS)
        packs = [Pack.of(message) for message in messages if message.kind is Kind.RECEIPTS]
        del messages
        if packs:
            yield writing.part(number, joined(packs))


class _Writing:
    def __init__(self, work: Work, plan: SealPlan, cuts: Sequence[Cut]) -> None:
        self._work, self._plan, self._cuts = work, plan, cuts
        self._parts = list(plan.parts())
        self._forest = Forest(plan)
        self._payers = [str(account.key.payer) for account in work.accounts]

    def part(self, number: int, pack: Pack) -> Message:
        """Write a part of the receipts in its cells."""
        forest, blocks = self._forest, self._parts[number]
        order = _order_of_part(pack, self._cuts[number], blocks)
        texts = RowTexts(self._payers, pack.sources, pack.details)
        with self._work.attempts.writing(f"part-{number:05d}") as part:
            _write(PartWriter(part.path, texts), forest, blocks, pack, order)
        with self._work.attempts.writing(f"nodes-{number:05d}") as nodes:
            _write_pieces(nodes.path, [_piece(forest, at, size) for at, size in _places(self._plan, blocks)])
        heads = np.concatenate([_heads(forest, self._plan, block) for block in blocks])
        return Message(number, Kind.PART, {"part": part.name, "nodes": nodes.name}, rows=heads.tobytes())


def _order_of_part(pack: Pack, cut: Cut, blocks: Sequence[Block]) -> Order:
    """Sort a part's cells, and leave out what is not in the part."""
    if len(pack.rows) != cut.size:
        raise TaskFailed(
            f"{len(pack.rows)} receipts came where {cut.size} were counted: {_CHANGED}", len(pack.rows)
        )
    if checksum(pack.rows) != cut.checksum:
        raise TaskFailed(f"{cut.size} receipts are not those that were judged: {_CHANGED}", cut.size)
    counts = np.bincount(pack.rows["account"])
    order = receipt_order(pack.rows, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    return order[blocks[0].first - cut.first : blocks[-1].stop - cut.first]


def _write(writer: PartWriter, forest: Forest, blocks: Sequence[Block], pack: Pack, order: Order) -> None:
    start = blocks[0].first
    try:
        for block in blocks:
            rows = take(pack.rows, order[block.first - start : block.stop - start])
            forest.add(block, rows)
            writer.write(Receipts(rows, *take_texts(rows, pack.texts)))
    finally:
        writer.close()


def _places(plan: SealPlan, blocks: Sequence[Block]) -> Iterator[tuple[int, int]]:
    """Yield (first word, words) of all that blocks have in the file of nodes, below the heads' joins."""
    for block in blocks:
        for batch, count in zip(block.batches.tolist(), block.counts.tolist(), strict=True):
            at, size = int(plan.nodes_at[batch]), int(plan.sizes[batch])
            if at < 0:
                continue
            ids = level_size(count, STORED_LEVEL)
            yield at + (block.piece << PIECE_LEVEL - STORED_LEVEL), ids
            top = min(PIECE_LEVEL, (size - 1).bit_length())
            for level in range(STORED_LEVEL, top + 1):
                first = block.piece << PIECE_LEVEL - level
                yield at + level_at(size, level) + NODE_WORDS * first, NODE_WORDS * level_size(count, level)


@dataclass(frozen=True, slots=True)
class NodePiece:
    """Words of the file of nodes, and where they stand in it."""

    at: int
    words: Words


def _piece(forest: Forest, at: int, size: int) -> NodePiece:
    return NodePiece(at, forest.stored[at : at + size])


def _write_pieces(path: Path, pieces: Sequence[NodePiece]) -> None:
    with path.open("wb") as file:
        file.write(len(pieces).to_bytes(8, "little"))
        file.write(np.array([(p.at, len(p.words)) for p in pieces], dtype=np.int64).tobytes())
        for piece in pieces:
            file.write(piece.words.data)


def _heads(forest: Forest, plan: SealPlan, block: Block) -> Ints:
    """Return the root of each batch that lies in a block, or the head of the piece that the block is."""
    heads = np.empty((len(block.batches), HEAD_COLUMNS), dtype=np.int64)
    heads[:, 0], heads[:, 1] = block.batches, block.piece
    heads[:, 2], heads[:, 3] = forest.first_times[block.batches], forest.last_times[block.batches]
    heads[:, 4:] = forest.roots[block.batches].view(np.int64)
    batch = int(block.batches[0])
    if int(plan.sizes[batch]) > PIECE_RECEIPTS:
        at = _head_at(plan, batch, block.piece)
        heads[0, 4:] = forest.stored[at : at + NODE_WORDS].view(np.int64)
    return heads


def _head_at(plan: SealPlan, batch: int, piece: int) -> int:
    size = int(plan.sizes[batch])
    return int(plan.nodes_at[batch]) + level_at(size, PIECE_LEVEL) + NODE_WORDS * piece


def join_heads(plan: SealPlan, messages: Iterable[Message]) -> tuple[Forest, list[NodePiece]]:
    """Grow the trees of a seal from their heads; return them with the nodes that joining made."""
    forest = Forest(plan)
    for message in messages:
        heads = np.frombuffer(message.rows, dtype=np.int64).reshape(-1, HEAD_COLUMNS)
        batches = heads[:, 0]
        np.minimum.at(forest.first_times, batches, heads[:, 2])
        np.maximum.at(forest.last_times, batches, heads[:, 3])
        forest.roots[batches] = heads[:, 4:].view(np.uint64)
        for row in np.flatnonzero(plan.sizes[batches] > PIECE_RECEIPTS).tolist():
            at = _head_at(plan, int(batches[row]), int(heads[row, 1]))
            forest.stored[at : at + NODE_WORDS] = heads[row, 4:].view(np.uint64)
    forest.finish()
    joins = []
    for batch in np.flatnonzero(plan.sizes > PIECE_RECEIPTS).tolist():
        size, at = int(plan.sizes[batch]), int(plan.nodes_at[batch])
        first, stop = (level_at(size, level) for level in (PIECE_LEVEL + 1, (size - 1).bit_length() + 1))
        joins.append(_piece(forest, at + first, stop - first))
    return forest, joins


@dataclass(frozen=True, slots=True)
class Assembly:
    """What the files are made of that a seal has one of.

    Attributes:
        pieces: attempts at pieces of the index of events, in the order of their keys.
        nodes: attempts at nodes of parts.
        joins: nodes that the driver made.
        node_words: how many words all nodes have.
    """

    pieces: Sequence[str]
    nodes: Sequence[str]
    joins: Sequence[NodePiece]
    node_words: int


def assemble(work: Work, assembly: Assembly, batches: Iterable[Any]) -> Iterator[Message]:
    """Write the file of nodes, or the index of events, for each number it is given: 0 or 1."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            name, write = ((NODES, _assemble_nodes), (EVENTS, _assemble_events))[number]
            with work.attempts.writing(name) as attempt:
                write(work, assembly, attempt.path)
            yield Message(number, Kind.FILE, {"name": name, "attempt": attempt.name})


def _assemble_events(work: Work, assembly: Assembly, path: Path) -> None:
    writer = EventIndexWriter(path)
    for attempt in assembly.pieces:
        with work.attempts.reading(attempt) as piece, piece.open("rb") as file:
            for data in iter(partial(file.read, _COPIED * ENTRY_BYTES), b""):
                writer.append(np.frombuffer(data, dtype=np.uint64).reshape(-1, ENTRY_WORDS))
    writer.close()


def _assemble_nodes(work: Work, assembly: Assembly, path: Path) -> None:
    """Put nodes in their places; all places must be filled, each once."""
    filled = 0
    with path.open("wb") as target:
        for piece in assembly.joins:
            filled += _put(target, piece)
        for attempt in assembly.nodes:
            with work.attempts.reading(attempt) as source, source.open("rb") as file:
                count = int.from_bytes(file.read(8), "little")
                places = np.frombuffer(file.read(16 * count), dtype=np.int64).reshape(-1, 2)
                for at, size in places.tolist():
                    filled += _put(target, NodePiece(at, np.frombuffer(file.read(8 * size), dtype=np.uint64)))
    if filled != assembly.node_words:
        raise TaskFailed(
            f"{filled} words of nodes were made where there must be {assembly.node_words}", filled
        )


def _put(target: BinaryIO, piece: NodePiece) -> int:
    target.seek(8 * piece.at)
    target.write(piece.words.data)
    return len(piece.words)
