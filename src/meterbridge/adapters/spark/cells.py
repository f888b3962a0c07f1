"""Where each part of a seal is cut, known before any receipt is sorted across tasks.

An account's ids are hashes. Cut by their first bits into cells of some thousand receipts and counted, they
tell the rank of each cell's first receipt exactly. A part is a range of ranks; the task that writes it is
sent the cells which that range touches, sorts them, and leaves out what belongs to its neighbours. So the
parts, and the aligned subtrees in them, are those of one machine, however the work was cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from meterbridge.domain.arrays import Ints, Words
from meterbridge.domain.receipt_rows import Rows
from meterbridge.services.bulk.plan import SealPlan

CELL_RECEIPTS: Final = 1 << 14
"""About the most that a cell holds: two for each part of a million are sent to two tasks."""
COLUMNS: Final = 5


def fineness(receipts: Ints) -> Ints:
    """Return how many bits of an id number the cells of accounts that have about so many receipts."""
    return np.log2(np.maximum(1, receipts / CELL_RECEIPTS)).astype(np.int64)


def count_cells(rows: Rows, bits: Ints) -> Ints:
    """Count some of a seal's receipts by cell.

    Args:
        rows: (n,) sorted by account and id.
        bits: how many bits number the cells of each account.

    Returns:
        (m, 5) of account, bits, cell, receipts, checksum of their leaves (see `checksum`); in order.
    """
    accounts = rows["account"].astype(np.int64)
    of_row = bits[accounts]
    cells = _prefix(rows["id"][:, 0].byteswap(), of_row)
    starts = np.flatnonzero(np.diff(accounts, prepend=-1) | np.diff(cells, prepend=-1))
    sizes = np.diff(starts, append=len(rows))
    sums = np.add.reduceat(_leaf_words(rows), starts) if len(rows) else starts
    return np.stack([accounts[starts], of_row[starts], cells[starts], sizes, sums], axis=1)


def checksum(rows: Rows) -> int:
    """Return a sum by which receipts that were judged are known again when they are written.

    A leaf is a hash of all that a receipt says: other content with the same sum, modulo 2**64, comes by
    accident once in 2**64 times.
    """
    return int(np.add.reduce(_leaf_words(rows)))


def _leaf_words(rows: Rows) -> Ints:
    return np.ascontiguousarray(rows["leaf"][:, 0]).view(np.int64)


@dataclass(frozen=True, slots=True)
class Cells:
    """All receipts of a seal, counted.

    Attributes:
        accounts: (c,) ascending.
        bits: (c,) how many bits of an id number the cells of its account.
        numbers: (c,) of the cell among its account's, ascending.
        sizes: (c,) receipts.
        sums: (c,) their checksums.
    """

    accounts: Ints
    bits: Ints
    numbers: Ints
    sizes: Ints
    sums: Ints

    @classmethod
    def of(cls, counted: Ints) -> Self:
        """Add counts up; where they are of different fineness, by the coarsest."""
        if not len(counted):
            return cls(*np.empty((COLUMNS, 0), dtype=np.int64))
        accounts, bits, numbers, sizes, sums = counted.T
        coarsest = np.full(int(accounts.max()) + 1, 64, dtype=np.int64)
        np.minimum.at(coarsest, accounts, bits)
        numbers = numbers >> bits - coarsest[accounts]
        order = np.lexsort((numbers, accounts))
        accounts, numbers, sizes, sums = accounts[order], numbers[order], sizes[order], sums[order]
        starts = np.flatnonzero(np.diff(accounts, prepend=-1) | np.diff(numbers, prepend=-1))
        of_cell = accounts[starts]
        added = (np.add.reduceat(column, starts) for column in (sizes, sums))
        return cls(of_cell, coarsest[of_cell], numbers[starts], *added)

    def receipts_of(self, accounts: int) -> Ints:
        """Return how many receipts each account has."""
        counts = np.zeros(accounts, dtype=np.int64)
        np.add.at(counts, self.accounts, self.sizes)
        return counts


@dataclass(frozen=True, slots=True)
class Bound:
    """A place in the order of receipts: before the first id of an account whose first word is not below."""

    account: int
    word: int

    def within(self, rows: Rows) -> int:
        """Return the first of some sorted rows that is not before it."""
        first, stop = np.searchsorted(rows["account"], [self.account, self.account + 1])
        words = rows["id"][first:stop, 0].byteswap()
        return int(first + np.searchsorted(words, np.uint64(self.word)))


@dataclass(frozen=True, slots=True)
class Cut:
    """What one part is made of.

    Attributes:
        low: where the cells begin that it touches.
        high: and end.
        first: rank of the first receipt in them.
        size: how many receipts they hold.
        checksum: of all of these.
    """

    low: Bound
    high: Bound
    first: int
    size: int
    checksum: int


def cuts_of(plan: SealPlan, cells: Cells) -> list[Cut]:
    """Return the cut of each part of a plan that was made from the same cells."""
    ends = np.cumsum(cells.sizes)
    starts = ends - cells.sizes
    cuts = []
    for blocks in plan.parts():
        lowest, highest = np.searchsorted(starts, [blocks[0].first, blocks[-1].stop - 1], "right") - 1
        first, stop = int(starts[lowest]), int(ends[highest])
        low, high = _bound(cells, int(lowest), 0), _bound(cells, int(highest), 1)
        added = int(np.add.reduce(cells.sums[lowest : highest + 1]))
        cuts.append(Cut(low, high, first, stop - first, added))
    return cuts


def _bound(cells: Cells, at: int, beyond: int) -> Bound:
    account, bits = int(cells.accounts[at]), int(cells.bits[at])
    number = int(cells.numbers[at]) + beyond
    return Bound(account + 1, 0) if number >> bits else Bound(account, number << 64 - bits)


def _prefix(words: Words, bits: Ints) -> Ints:
    """Return the first bits of words as numbers; in two steps, for none are a shift too far."""
    return (words >> np.uint64(1) >> (63 - bits).astype(np.uint64)).astype(np.int64)
