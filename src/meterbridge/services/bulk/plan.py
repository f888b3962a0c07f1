"""Where everything of a seal will stand, known as soon as the receipts of each batch are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from meterbridge.domain.arrays import Ints
from meterbridge.domain.receipt_rows import NODE_WORDS

PIECE_LEVEL: Final = 16
PIECE_RECEIPTS: Final = 1 << PIECE_LEVEL
STORED_LEVEL: Final = 5
"""The lowest level of nodes that is kept, 6 bytes a receipt; a proof hashes the 32 receipts below again."""
STORED_RECEIPTS: Final = 1 << STORED_LEVEL
BLOCKS_PER_PART: Final = 16
"""About a million receipts, 90 MB, in one file: cores share the parts, and few files must be synced."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that are worked on at a time: one piece of a large batch, or several small batches.

    Attributes:
        first: row among all of the seal.
        batches: (b,) numbers of the batches that have rows here, in order.
        counts: (b,) how many rows of each.
        piece: which piece of its batch the first batch's rows are; that of all others is 0.
    """

    first: int
    batches: Ints
    counts: Ints
    piece: int

    @property
    def stop(self) -> int:
        """The row behind its last one."""
        return self.first + int(self.counts.sum())


@dataclass(frozen=True, slots=True)
class SealPlan:
    """Batches of a seal, in the order of their accounts.

    Attributes:
        accounts: (b,) the account of each batch.
        sizes: (b,) its receipts, at least one.
        first_rows: (b,) where they begin among all rows of the seal.
        nodes_at: (b,) word at which its region in the file of nodes begins; -1 where it has none.
        node_words: words in the file of nodes.
    """

    accounts: Ints
    sizes: Ints
    first_rows: Ints
    nodes_at: Ints
    node_words: int

    @classmethod
    def of(cls, receipts_of_account: Ints) -> Self:
        """Plan from the number of receipts of every account; those without any have no batch."""
        accounts = np.flatnonzero(receipts_of_account)
        sizes = receipts_of_account[accounts]
        words = np.array([node_region_words(size) for size in sizes.tolist()], dtype=np.int64)
        ends = np.cumsum(words)
        return cls(
            accounts=accounts,
            sizes=sizes,
            first_rows=np.cumsum(sizes) - sizes,
            nodes_at=np.where(words > 0, ends - words, -1),
            node_words=int(ends[-1]) if len(ends) else 0,
        )

    @property
    def rows(self) -> int:
        """Receipts in all batches."""
        return int(self.sizes.sum())

    def blocks(self) -> Iterator[Block]:
        """Yield blocks of at most 65,536 rows that together are all rows, in order."""
        waiting: list[int] = []
        filled = 0
        for batch, size in enumerate(self.sizes.tolist()):
            if filled + size > PIECE_RECEIPTS:
                yield from self._small(waiting)
                waiting, filled = [], 0
            if size > PIECE_RECEIPTS:
                yield from self._pieces(batch, size)
            else:
                waiting.append(batch)
                filled += size
        yield from self._small(waiting)

    def parts(self) -> Iterator[list[Block]]:
        """Yield the blocks of each file."""
        part: list[Block] = []
        for block in self.blocks():
            part.append(block)
            if len(part) == BLOCKS_PER_PART:
                yield part
                part = []
        if part:
            yield part

    def _small(self, batches: list[int]) -> Iterator[Block]:
        if batches:
            numbers = np.array(batches, dtype=np.int64)
            yield Block(int(self.first_rows[batches[0]]), numbers, self.sizes[numbers], 0)

    def _pieces(self, batch: int, size: int) -> Iterator[Block]:
        number, first = np.array([batch], dtype=np.int64), int(self.first_rows[batch])
        for piece in range(-(-size // PIECE_RECEIPTS)):
            at = piece << PIECE_LEVEL
            counts = np.array([min(PIECE_RECEIPTS, size - at)], dtype=np.int64)
            yield Block(first + at, number, counts, piece)


def level_size(size: int, level: int) -> int:
    """Return how many nodes a tree of `size` leaves has on a level."""
    return -(-size >> level)


def node_region_words(size: int) -> int:
    """Return the words that a batch takes in the file of nodes; none where 32 receipts give all its nodes.

    First comes one word for each 32 receipts, the first eight bytes of the first id as a big-endian number;
    then the nodes of level 5, 6, and so on up to the root.
    """
    return 0 if size <= STORED_RECEIPTS else level_at(size, (size - 1).bit_length() + 1)


def level_at(size: int, level: int) -> int:
    """Return the word of a batch's region at which a level from 5 on begins."""
    below = sum(level_size(size, lower) for lower in range(STORED_LEVEL, level))
    return level_size(size, STORED_LEVEL) + NODE_WORDS * below
