"""BLAKE2b with digests of 16 bytes over columns of messages, compiled: the key under which an event is found.

A key says nothing to anyone outside and stands in no proof, so it need not be Keccak: this costs a quarter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from meterbridge.domain.arrays import Bytes, Ints, Words
from meterbridge.domain.vector_code import (
    LANES,
    VECTOR,
    WORD,
    column,
    compiled,
    constant,
    copy_bytes,
    gather,
    inlined,
    pointers,
    rotate_left,
    swap_bytes,
    word_at,
)

KEY_BYTES: Final = 16
KEY_WORDS: Final = 2
BLOCK_BYTES: Final = 128
BLOCK_WORDS: Final = 16
_ROUNDS = 12
# fmt: off
_IV = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)
_SCHEDULE = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_QUARTERS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)
# fmt: on
_START = np.array([_IV[0] ^ 0x01010000 ^ KEY_BYTES, *_IV[1:]], dtype=np.uint64)
"""The first state: no key, no tree, digests of 16 bytes."""


def _emit_mix(builder: Any, v: list[Any], quarter: tuple[int, ...], x: Any, y: Any) -> None:
    a, b, c, d = quarter
    for word, turn_d, turn_b in ((x, 32, 24), (y, 16, 63)):
        v[a] = builder.add(builder.add(v[a], v[b]), word)
        v[d] = rotate_left(builder, builder.xor(v[d], v[a]), 64 - turn_d)
        v[c] = builder.add(v[c], v[d])
        v[b] = rotate_left(builder, builder.xor(v[b], v[c]), 64 - turn_b)


def _emit_compression(builder: Any, state: Any, blocks: Any, counts: Any, lasts: Any) -> None:
    """Emit one block per lane into the eight vectors of the states, with each lane's count and last flag."""
    message = [gather(builder, blocks, BLOCK_WORDS, word) for word in range(BLOCK_WORDS)]
    before = [builder.load(word_at(builder, state, word), align=8) for word in range(8)]
    v = before + [constant(word) for word in _IV]
    v[12] = builder.xor(v[12], builder.load(counts, align=8))
    v[14] = builder.xor(v[14], builder.load(lasts, align=8))
    for number in range(_ROUNDS):
        order = _SCHEDULE[number % len(_SCHEDULE)]
        for i, quarter in enumerate(_QUARTERS):
            _emit_mix(builder, v, quarter, message[order[2 * i]], message[order[2 * i + 1]])
    for word, old in enumerate(before):
        new = builder.xor(old, builder.xor(v[word], v[word + 8]))
        builder.store(new, word_at(builder, state, word), align=8)


def _compress_intrinsic(_typing: Any, state: Any, blocks: Any, counts: Any, lasts: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = pointers(context, builder, signature, arguments, WORD)
        state_, counts_, lasts_ = (builder.bitcast(words[i], VECTOR.as_pointer()) for i in (0, 2, 3))
        _emit_compression(builder, state_, words[1], counts_, lasts_)
        return context.get_dummy_value()

    return types.void(state, blocks, counts, lasts), emit


_compress = cast(Callable[[Words, Bytes, Words, Words], None], intrinsic(_compress_intrinsic))


@inlined
def _lay_block(blocks: Bytes, lane: int, buffer: Bytes, start: int, rest: int) -> None:
    place = lane * BLOCK_BYTES
    if rest < BLOCK_BYTES:
        blocks[place : place + BLOCK_BYTES] = 0
    copy_bytes(blocks, place, buffer, start, min(BLOCK_BYTES, max(0, rest)))


@compiled(
    types.void(
        column(types.uint8),
        column(types.int64),
        types.int64,
        types.int64,
        types.int64,
        column(types.uint64, 2, layout="A", out=True),
    )
)
def hash_keys(buffer: Bytes, offsets: Ints, skip: int, first: int, stop: int, keys: Words) -> None:
    """Hash messages `first` to `stop`, each without its first `skip` bytes, into the two words of their keys.

    A word is the big-endian number of its bytes, so that keys compare as their bytes do. Nothing is checked:
    offsets must ascend within the buffer, and no message may be shorter than `skip`.
    """
    state = np.empty((8, LANES), dtype=np.uint64)
    blocks = np.empty(LANES * BLOCK_BYTES, dtype=np.uint8)
    counts, lasts = np.empty(LANES, dtype=np.uint64), np.empty(LANES, dtype=np.uint64)
    for group in range(first, stop, LANES):
        for word in range(8):
            state[word] = _START[word]
        done, longest = 0, 1
        while done < longest:
            for lane in range(LANES):
                message = min(group + lane, stop - 1)
                start = offsets[message] + skip
                length = offsets[message + 1] - start
                longest = max(longest, length)
                _lay_block(blocks, lane, buffer, start + done, length - done)
                counts[lane] = min(length, done + BLOCK_BYTES)
                lasts[lane] = np.uint64(0) - np.uint64(length - done <= BLOCK_BYTES)
            _compress(state, blocks, counts, lasts)
            for lane in range(LANES):
                message = min(group + lane, stop - 1)
                rest = offsets[message + 1] - offsets[message] - skip - done
                if rest <= BLOCK_BYTES and (rest > 0 or done == 0):
                    for word in range(KEY_WORDS):
                        keys[message, word] = swap_bytes(state[word, lane])
            done += BLOCK_BYTES
