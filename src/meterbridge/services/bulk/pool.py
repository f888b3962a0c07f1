"""The pool of receipts that are being sealed: rows, event keys and event ids in three arrays.

Chunks are measured into it from several threads; each reserves its place first. Memory that no chunk reserved
is never touched, so a pool costs what it holds.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Self

import numpy as np
from numba.core import types

from meterbridge.domain.arrays import Bytes, Ints, Words
from meterbridge.domain.blake2b_kernel import hash_keys
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.keccak_kernel import hash_messages
from meterbridge.domain.keccak_nodes import hash_leaves
from meterbridge.domain.receipt_rows import (
    EVENT_START,
    ID,
    LEAF,
    LENGTH_AND_ACCOUNT,
    OCCURRED_AT,
    RECEIPT,
    SOURCE_AND_DETAILS,
    USAGE,
    Rows,
    words_of,
)
from meterbridge.domain.vector_code import column, compiled, copy_bytes
from meterbridge.services.bulk.chunk import Details, Origin, Sources, UsageChunk

ROWS_MAX: Final = 2**24
"""Receipts in one pool at most: sorting packs the row number into 24 bits."""
KEY_WORDS: Final = 3
"""Words of an event's key: its first 12 bytes as a big-endian number, 4 bytes of account, 8 bytes of leaf."""

_TILE: Final = 2_048  # calls whose messages and rows stay in the second cache while they are hashed
_HALF = np.uint64(32)
_UPPER_HALF = np.uint64(0xFFFFFFFF00000000)


@compiled(
    types.void(
        *(column(types.int64),) * 2,
        column(types.uint8, 2),
        *(column(types.uint8), column(types.int64)) * 2,
        *(types.int64,) * 2,
        column(types.uint8, out=True),
        column(types.int64, out=True),
    )
)
def _lay_messages(
    accounts: Ints,
    sources: Ints,
    blinds: Bytes,
    prefixes: Bytes,
    prefix_offsets: Ints,
    event_bytes: Bytes,
    event_offsets: Ints,
    first: int,
    stop: int,
    messages: Bytes,
    offsets: Ints,
) -> None:
    """Lay out what ids are the hashes of: blind, length of the source, source, event id (section 3)."""
    at = np.int64(0)
    for row in range(first, stop):
        offsets[row - first] = at
        copy_bytes(messages, at, blinds, accounts[row] * DIGEST_BYTES, DIGEST_BYTES)
        at += DIGEST_BYTES
        start = prefix_offsets[sources[row]]
        size = prefix_offsets[sources[row] + 1] - start
        copy_bytes(messages, at, prefixes, start, size)
        at += size
        size = event_offsets[row + 1] - event_offsets[row]
        copy_bytes(messages, at, event_bytes, event_offsets[row], size)
        at += size
    offsets[stop - first] = at


@compiled(
    types.void(
        column(types.uint64, 2),
        column(types.int64, 2),
        *(column(types.int64),) * 5,
        *(types.int64,) * 3,
        column(types.uint64, 2, out=True),
    )
)
def _lay_rows(
    ids: Words,
    usage: Ints,
    occurred_at: Ints,
    accounts: Ints,
    sources: Ints,
    details: Ints,
    event_offsets: Ints,
    first: int,
    stop: int,
    text_at: int,
    rows: Words,
) -> None:
    """Write rows word by word; one pass, where NumPy would make one for each field."""
    shift = text_at - event_offsets[0]
    for call in range(first, stop):
        for word in range(4):
            rows[call, ID + word] = ids[call - first, word]
        for lane in range(8):
            rows[call, USAGE + lane] = np.uint64(usage[call, lane])
        rows[call, OCCURRED_AT] = np.uint64(occurred_at[call])
        rows[call, EVENT_START] = np.uint64(event_offsets[call] + shift)
        length = np.uint64(event_offsets[call + 1] - event_offsets[call])
        rows[call, LENGTH_AND_ACCOUNT] = length | np.uint64(accounts[call]) << _HALF
        rows[call, SOURCE_AND_DETAILS] = np.uint64(sources[call]) | np.uint64(details[call]) << _HALF


@dataclass(frozen=True, slots=True)
class Origins:
    """Where receipts come from, by number: chunks and the number of each one's first."""

    chunks: Sequence[tuple[int, Origin]]

    def of(self, number: int) -> tuple[str, int]:
        """Return the file and the row in it from which a receipt comes."""
        at, origin = self.chunks[bisect_right(self.chunks, number, key=itemgetter(0)) - 1]
        return origin.file, origin.row(number - at)


class ReceiptPool:
    """Room for receipts, filled chunk by chunk.

    Attributes:
        rows: (capacity,) of `RECEIPT`; the first `size` are filled.
        keys: (capacity, 3) words, row for row.
        texts: event ids, where the rows say.
    """

    def __init__(self, rows: int, text_bytes: int) -> None:
        """Make room for so many receipts, and so many bytes of event ids."""
        if not 0 < rows <= ROWS_MAX:
            raise ValueError(f"a pool holds 1 to {ROWS_MAX} receipts, not {rows}")
        self.rows: Rows = np.empty(rows, dtype=RECEIPT)
        self.keys: Words = np.empty((rows, KEY_WORDS), dtype=np.uint64)
        self.texts: Bytes = np.empty(text_bytes, dtype=np.uint8)
        self._lock = threading.Lock()
        self._size = 0
        self._text_size = 0
        self._origins: list[tuple[int, Origin]] = []

    @classmethod
    def of(cls, rows: Rows, keys: Words, texts: Bytes, origins: Sequence[tuple[int, Origin]]) -> Self:
        """Make a full pool of receipts that were measured elsewhere; see the attributes and `Origins`."""
        pool = cls(len(rows), 0)
        pool.rows, pool.keys, pool.texts = rows, keys, texts
        pool._size, pool._text_size, pool._origins = len(rows), len(texts), list(origins)
        return pool

    @property
    def size(self) -> int:
        """How many receipts it holds."""
        return self._size

    def reserve(self, chunk: UsageChunk) -> tuple[int, int] | None:
        """Take room for a chunk; return the first row and the first byte of it, or None where it is full."""
        text_bytes = int(chunk.event_offsets[-1] - chunk.event_offsets[0])
        with self._lock:
            at, text_at = self._size, self._text_size
            if at + len(chunk) > len(self.rows) or text_at + text_bytes > len(self.texts):
                return None
            self._size, self._text_size = at + len(chunk), text_at + text_bytes
            self._origins.append((at, chunk.origin))
            return at, text_at

    def origins(self) -> Origins:
        """Return where the receipts come from."""
        return Origins(self._origins[:])

    def clear(self) -> None:
        """Forget all receipts; the room can be filled anew."""
        self._size = self._text_size = 0
        self._origins.clear()


def measure(
    chunk: UsageChunk,
    pool: ReceiptPool,
    at: int,
    text_at: int,
    blinds: Bytes,
    sources: Sources,
    details: Details,
) -> None:
    """Turn a chunk into receipts, with ids, leaves and event keys, in the room reserved for it.

    Args:
        chunk: n calls.
        pool: where they go.
        at: first row reserved for them.
        text_at: first byte reserved for their event ids.
        blinds: (accounts, 32) bytes.
        sources: the texts that the chunk numbers.
        details: likewise.
    """
    prefixes, prefix_offsets = sources.prefixes()
    hashes = details.hashes()
    first_byte, last_byte = int(chunk.event_offsets[0]), int(chunk.event_offsets[-1])
    pool.texts[text_at : text_at + last_byte - first_byte] = chunk.event_bytes[first_byte:last_byte]
    rows, keys = words_of(pool.rows[at : at + len(chunk)]), pool.keys[at : at + len(chunk)]
    before_event = DIGEST_BYTES + int(np.diff(prefix_offsets).max())
    ids = np.empty((_TILE, DIGEST_BYTES), dtype=np.uint8)
    offsets = np.empty(_TILE + 1, dtype=np.int64)
    messages = np.empty(0, dtype=np.uint8)
    for first in range(0, len(chunk), _TILE):
        stop = min(first + _TILE, len(chunk))
        count = stop - first
        room = int(chunk.event_offsets[stop] - chunk.event_offsets[first]) + count * before_event
        if len(messages) < room:
            messages = np.empty(room * 5 // 4, dtype=np.uint8)
        said = (chunk.event_bytes, chunk.event_offsets, first, stop)
        _lay_messages(
            chunk.accounts, chunk.sources, blinds, prefixes, prefix_offsets, *said, messages, offsets
        )
        hash_messages(messages, offsets, 0, count, ids)
        hash_keys(messages, offsets, DIGEST_BYTES, 0, count, keys[first:stop])
        numbers = (chunk.accounts, chunk.sources, chunk.details, chunk.event_offsets)
        _lay_rows(ids.view(np.uint64), chunk.usage, chunk.occurred_at, *numbers, first, stop, text_at, rows)
        hash_leaves(rows, hashes, first, stop)
    keys[:, 1] &= _UPPER_HALF
    keys[:, 1] |= chunk.accounts.astype(np.uint64)
    keys[:, 2] = rows[:, LEAF]
