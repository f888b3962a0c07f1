"""Keccak-256 over columns of messages, compiled by Numba: several states at a time in vector registers.

The permutation is written as vector code (LLVM IR), one message per vector lane: left to itself the compiler
keeps to scalars, which is three times slower. Everything around it is ordinary Numba. Threads share the
work through the standard library, since the kernel releases the GIL; Numba's own threads would abort a
process that forks or that calls in from two threads.

Importing this module compiles the kernel, or loads it from Numba's cache: beside this file, else in the
user's cache folder or `NUMBA_CACHE_DIR`; where none can be written it compiles anew in each process. All of
it stands in one file because Numba recompiles when the file of the compiled function changes, and only then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from typing import Any, Final, TypeVar, cast

import llvmlite.binding  # type: ignore[import-untyped]
import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from meterbridge.domain.errors import OutOfBounds

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
State = npt.NDArray[np.uint64]
F = TypeVar("F", bound=Callable[..., object])

DIGEST_BYTES: Final = 32
RATE_BYTES: Final = 136
RATE_WORDS: Final = 17
STATE_WORDS: Final = 25
_MESSAGES_PER_THREAD = 2_000  # below this, starting a thread costs more than it saves

# fmt: off
_ROTATIONS = (
    (0, 36, 3, 41, 18), (1, 44, 10, 45, 2), (62, 6, 43, 15, 61), (28, 55, 25, 21, 56), (27, 20, 39, 8, 14),
)
_ROUND_CONSTANTS = (
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000, 0x000000000000808B,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008A, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000A, 0x000000008000808B, 0x800000000000008B, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
)
# fmt: on


def _lanes_of_this_processor() -> int:
    """Return how many 64-bit lanes one vector register has; another number is slower, never wrong."""
    features = llvmlite.binding.get_host_cpu_features()
    return 8 if features.get("avx512f") else 4 if features.get("avx2") else 2


LANES: Final = _lanes_of_this_processor()
_WORD = ir.IntType(64)
_INDEX = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, LANES)
_ALL_ONES = ir.Constant(_VECTOR, [-1] * LANES)


def _rotate(builder: Any, vector: Any, bits: int) -> Any:
    if bits == 0:
        return vector
    up, down = (ir.Constant(_VECTOR, [n] * LANES) for n in (bits, 64 - bits))
    return builder.or_(builder.shl(vector, up), builder.lshr(vector, down))


def _word_at(builder: Any, vectors: Any, word: int) -> Any:
    return builder.gep(vectors, [ir.Constant(_INDEX, word)])


def _emit_columns(builder: Any, state: Any) -> list[Any]:
    """Emit the parity of each of the five columns of a state in memory."""
    columns = []
    for x in range(5):
        words = [builder.load(_word_at(builder, state, x + 5 * y), align=8) for y in range(5)]
        columns.append(reduce(builder.xor, words))
    return columns


def _emit_round(builder: Any, source: Any, target: Any, columns: list[Any], constant: Any) -> list[Any]:
    """Emit one round from one state in memory to another; return the parities of the new columns.

    Row by row through memory: five rows of five, their parities and the mixing words fit sixteen registers,
    where the whole state does not. Since either pointer may be the other's, LLVM keeps this order.
    """
    mix = [builder.xor(columns[(x + 4) % 5], _rotate(builder, columns[(x + 1) % 5], 1)) for x in range(5)]
    parities: list[Any] = [None] * 5
    for y in range(5):
        row = []
        for x in range(5):
            from_x, from_y = (x + 3 * y) % 5, x
            word = builder.load(_word_at(builder, source, from_x + 5 * from_y), align=8)
            row.append(_rotate(builder, builder.xor(word, mix[from_x]), _ROTATIONS[from_x][from_y]))
        for x in range(5):
            others = builder.and_(builder.xor(row[(x + 1) % 5], _ALL_ONES), row[(x + 2) % 5])
            word = builder.xor(row[x], others)
            if x == y == 0:
                word = builder.xor(word, constant)
            builder.store(word, _word_at(builder, target, x + 5 * y), align=8)
            parities[x] = word if y == 0 else builder.xor(parities[x], word)
    return parities


def _emit_round_constant(builder: Any, table: Any, number: Any) -> Any:
    """Emit the load of one round's constant into every lane."""
    zero = ir.Constant(_INDEX, 0)
    word = builder.load(builder.gep(table, [zero, number]))
    single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), word, zero)
    everywhere = ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), everywhere)


def _emit_permutation(builder: Any, state: Any) -> None:
    """Emit Keccak-f[1600] over the 25 vectors at a pointer, in place; the 25 behind them are scratch."""
    table = cast(Any, cgutils).global_constant(
        builder, "keccak_rounds", ir.Constant(ir.ArrayType(_WORD, 24), list(_ROUND_CONSTANTS))
    )
    before = [ir.Constant(_INDEX, 0), state, _word_at(builder, state, STATE_WORDS)]
    before += _emit_columns(builder, state)
    entry, loop = builder.block, builder.append_basic_block("rounds")
    builder.branch(loop)
    builder.position_at_end(loop)
    phis = [builder.phi(value.type) for value in before]
    number, source, target, *columns = phis
    constant = _emit_round_constant(builder, table, number)
    after = _emit_round(builder, source, target, columns, constant)
    following = builder.add(number, ir.Constant(_INDEX, 1))
    for phi, first, then in zip(phis, before, [following, target, source, *after], strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop)
    done = builder.append_basic_block("rounds_done")
    builder.cbranch(builder.icmp_unsigned("<", following, ir.Constant(_INDEX, 24)), loop, done)
    builder.position_at_end(done)


def _emit_absorption(builder: Any, state: Any, blocks: Any) -> None:
    """Emit the addition of one block per lane, `LANES` blocks of 17 words one after another, to a state."""
    for word in range(RATE_WORDS):
        gathered = ir.Constant(_VECTOR, ir.Undefined)
        for lane in range(LANES):
            single = builder.load(_word_at(builder, blocks, lane * RATE_WORDS + word), align=8)
            gathered = builder.insert_element(gathered, single, ir.Constant(_INDEX, lane))
        place = _word_at(builder, state, word)
        builder.store(builder.xor(builder.load(place, align=8), gathered), place, align=8)


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _permute_intrinsic(_typing: Any, state: Any, blocks: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, added = (_data(context, builder, *pair) for pair in zip(signature.args, arguments, strict=True))
        vectors = builder.bitcast(data, _VECTOR.as_pointer())
        _emit_absorption(builder, vectors, builder.bitcast(added, _WORD.as_pointer()))
        _emit_permutation(builder, vectors)
        return context.get_dummy_value()

    return types.void(state, blocks), emit


def _copy_intrinsic(_typing: Any, target: Any, place: Any, source: Any, start: Any, _size: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        types_, (target_, place_, source_, start_, size_) = signature.args, arguments
        to = builder.gep(_data(context, builder, types_[0], target_), [place_])
        cast(Any, cgutils).raw_memcpy(
            builder, to, builder.gep(_data(context, builder, types_[2], source_), [start_]), size_, 1
        )
        return context.get_dummy_value()

    return types.void(target, place, source, start, types.int64), emit


def _store_intrinsic(_typing: Any, buffer: Any, position: Any, _word: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(_data(context, builder, signature.args[0], arguments[0]), [arguments[1]])
        builder.store(arguments[2], builder.bitcast(place, _WORD.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(buffer, position, types.uint64), emit


# Every processor that Numba compiles for is little-endian, as Keccak's words are.
_permute = cast(Callable[[State, Bytes], None], intrinsic(_permute_intrinsic))
_copy = cast(Callable[[Bytes, int, Bytes, int, int], None], intrinsic(_copy_intrinsic))
_store = cast(Callable[[Bytes, int, np.uint64], None], intrinsic(_store_intrinsic))


def _inlined(function: F) -> F:
    """Mark a function that only compiled code calls."""
    return cast(F, numba.njit(function))


def _compiled(signature: Any) -> Callable[[F], F]:
    """Compile a function for one signature now, or load it from the cache."""

    def compile_now(function: F) -> F:
        try:
            return cast(F, numba.njit(signature, cache=True, nogil=True)(function))
        except RuntimeError as error:  # Numba's answer to a place where it can write no cache
            if "cannot cache" not in str(error):
                raise
            return cast(F, numba.njit(signature, nogil=True)(function))

    return compile_now


@_inlined
def _lay_block(blocks: Bytes, lane: int, buffer: Bytes, start: int, rest: int) -> None:
    """Lay out one block of a message of which `rest` bytes, from `start`, are left; below zero, nothing."""
    place = lane * RATE_BYTES
    if rest >= RATE_BYTES:
        _copy(blocks, place, buffer, start, RATE_BYTES)
    elif rest >= 0:
        blocks[place : place + RATE_BYTES] = 0
        _copy(blocks, place, buffer, start, rest)
        blocks[place + rest] = 0x01
        blocks[place + RATE_BYTES - 1] |= 0x80


@_compiled(
    types.void(
        types.Array(types.uint8, 1, "C", readonly=True),
        types.Array(types.int64, 1, "C", readonly=True),
        types.int64,
        types.int64,
        types.Array(types.uint8, 2, "C"),
    )
)
def _hash_messages(buffer: Bytes, offsets: Offsets, first: int, stop: int, digests: Bytes) -> None:
    """Hash messages `first` to `stop`, `LANES` at a time, spare lanes repeating the last one.

    A lane whose message is over runs on with the others; its digest was taken when it was due.
    """
    state = np.empty((2 * STATE_WORDS, LANES), dtype=np.uint64)
    blocks = np.zeros(LANES * RATE_BYTES, dtype=np.uint8)
    for group in range(first, stop, LANES):
        state[:STATE_WORDS] = 0
        done, longest = 0, 0
        while done <= longest:
            for lane in range(LANES):
                message = min(group + lane, stop - 1)
                start, end = offsets[message], offsets[message + 1]
                longest = max(longest, end - start)
                _lay_block(blocks, lane, buffer, start + done, end - start - done)
            _permute(state, blocks)
            for lane in range(LANES):
                message = min(group + lane, stop - 1)
                if 0 <= offsets[message + 1] - offsets[message] - done < RATE_BYTES:
                    for word in range(4):
                        _store(digests, message * DIGEST_BYTES + 8 * word, state[word, lane])
            done += RATE_BYTES


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hash_ragged(buffer: Bytes, offsets: Offsets, threads: int | None = None) -> Bytes:
    """Hash messages of different lengths that stand one after another.

    Args:
        buffer: (total,) bytes.
        offsets: (n + 1,) ascending; message i is buffer[offsets[i]:offsets[i + 1]].
        threads: how many to use at most; all cores when None.

    Returns:
        (n, 32) digests.

    Raises:
        OutOfBounds: when shapes or types differ, offsets descend, or one stands outside the buffer.
    """
    _require_messages(buffer, offsets)
    return _hash_in_threads(np.ascontiguousarray(buffer), np.ascontiguousarray(offsets), threads)


def hash_rows(rows: Bytes, threads: int | None = None) -> Bytes:
    """Hash every row of a (n, length) array of bytes, of any length, into (n, 32) digests.

    Raises:
        OutOfBounds: when `rows` is no two-dimensional array of bytes.
    """
    if rows.ndim != 2 or rows.dtype != np.uint8:
        raise OutOfBounds(f"rows must be (n, length) uint8, not {rows.shape} {rows.dtype}", rows.shape)
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return _hash_in_threads(np.ascontiguousarray(rows).reshape(-1), offsets, threads)


def _hash_in_threads(buffer: Bytes, offsets: Offsets, threads: int | None) -> Bytes:
    messages = len(offsets) - 1
    digests = np.empty((messages, DIGEST_BYTES), dtype=np.uint8)
    workers = max(1, min(threads or cores(), messages // _MESSAGES_PER_THREAD))
    if workers == 1:
        _hash_messages(buffer, offsets, 0, messages, digests)
        return digests
    cuts = [messages * worker // workers for worker in range(workers + 1)]
    with ThreadPoolExecutor(workers) as pool:
        parts = [
            pool.submit(_hash_messages, buffer, offsets, first, stop, digests)
            for first, stop in pairwise(cuts)
        ]
    for part in parts:
        part.result()
    return digests


def _require_messages(buffer: Bytes, offsets: Offsets) -> None:
    """The kernel reads memory without looking, so what it is given is checked first."""
    if buffer.ndim != 1 or buffer.dtype != np.uint8:
        raise OutOfBounds(f"buffer must be (total,) uint8, not {buffer.shape} {buffer.dtype}", buffer.shape)
    if offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
        raise OutOfBounds(
            f"offsets must be (n + 1,) int64, not {offsets.shape} {offsets.dtype}", offsets.shape
        )
    if offsets[0] < 0 or offsets[-1] > len(buffer) or (offsets[1:] < offsets[:-1]).any():
        raise OutOfBounds(f"offsets must ascend from 0 at least to {len(buffer)} at most", offsets)
