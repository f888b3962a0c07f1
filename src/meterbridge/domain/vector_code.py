"""What all compiled kernels share: how they are compiled, cached and spread over cores, and vector code.

A kernel processes several messages at a time, one per lane of a vector register. Left to itself LLVM keeps
hash functions scalar, a third as fast, so their inner loops are written as vector code (LLVM IR); everything
around them is ordinary Numba. Threads come from the standard library, since kernels release the GIL; Numba's
own would abort a process that forks, or that calls in from two threads.

Compiled code is cached beside its source file, else in the user's cache folder or `NUMBA_CACHE_DIR`; where
none can be written it is compiled anew in each process. Numba compiles again when the file of a compiled
function changed, not when a file it imports did: after a change here, remove `__pycache__/*.nb?`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from meterbridge.domain.arrays import Bytes, Int

F = TypeVar("F", bound=Callable[..., object])


def _lanes_of_this_processor() -> int:
    """Return how many 64-bit lanes one vector register has; another number is slower, never wrong."""
    features = llvmlite.binding.get_host_cpu_features()
    return 8 if features.get("avx512f") else 4 if features.get("avx2") else 2


LANES: Final = _lanes_of_this_processor()
WORD: Final = ir.IntType(64)
INDEX: Final = ir.IntType(32)
VECTOR: Final = ir.VectorType(WORD, LANES)
ZERO: Final = ir.Constant(INDEX, 0)


def inlined(function: F) -> F:
    """Mark a function that only compiled code calls."""
    return cast(F, numba.njit(function))


def compiled(signature: Any) -> Callable[[F], F]:
    """Compile a function for one signature now, or load it from the cache."""

    def compile_now(function: F) -> F:
        try:
            return cast(F, numba.njit(signature, cache=True, nogil=True)(function))
        except RuntimeError as error:  # Numba's answer to a place where it can write no cache
            if "cannot cache" not in str(error):
                raise
            return cast(F, numba.njit(signature, nogil=True)(function))

    return compile_now


def column(dtype: Any, dimensions: int = 1, *, out: bool = False, layout: str = "C") -> Any:
    """Return the Numba type of an array argument; what a kernel only reads may be read-only."""
    return cast(Any, types.Array)(dtype, dimensions, layout, readonly=not out)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    work: Callable[[int, int], object], count: int, per_thread: int, threads: int | None = None
) -> None:
    """Call `work(first, stop)` over parts of range(count): one per core, none smaller than `per_thread`."""
    workers = max(1, min(threads or cores(), count // per_thread))
    if workers == 1:
        work(0, count)
        return
    cuts = [count * worker // workers for worker in range(workers + 1)]
    with ThreadPoolExecutor(workers) as pool:
        parts = [pool.submit(work, first, stop) for first, stop in pairwise(cuts)]
    for part in parts:
        part.result()


def constant(word: int) -> Any:
    """Return a vector with one word in every lane."""
    return ir.Constant(VECTOR, [word] * LANES)


def word_at(builder: Any, base: Any, index: int) -> Any:
    """Return the address of an element behind a pointer."""
    return builder.gep(base, [ir.Constant(INDEX, index)])


def gather(builder: Any, blocks: Any, words_per_lane: int, word: int) -> Any:
    """Emit the load of one word of each lane's block, the blocks standing one after another."""
    vector = ir.Constant(VECTOR, ir.Undefined)
    for lane in range(LANES):
        single = builder.load(word_at(builder, blocks, lane * words_per_lane + word), align=8)
        vector = builder.insert_element(vector, single, ir.Constant(INDEX, lane))
    return vector


def rotate_left(builder: Any, vector: Any, bits: int) -> Any:
    """Emit a rotation of every lane; processors that can do it in one step do."""
    if bits == 0:
        return vector
    return builder.or_(builder.shl(vector, constant(bits)), builder.lshr(vector, constant(64 - bits)))


def data_of(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """Return the pointer to an array's first element."""
    return context.make_array(array_type)(context, builder, array).data


def pointers(context: Any, builder: Any, signature: Any, arguments: Any, to: Any) -> list[Any]:
    """Return pointers of one type to the first elements of arrays."""
    pairs = zip(signature.args, arguments, strict=True)
    return [builder.bitcast(data_of(context, builder, *pair), to.as_pointer()) for pair in pairs]


def _copy_intrinsic(_typing: Any, target: Any, place: Any, source: Any, start: Any, _size: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, (to, at, from_, first, size) = signature.args, arguments
        target_ = builder.gep(data_of(context, builder, kinds[0], to), [at])
        source_ = builder.gep(data_of(context, builder, kinds[2], from_), [first])
        cast(Any, cgutils).raw_memcpy(builder, target_, source_, size, 1)
        return context.get_dummy_value()

    return types.void(target, place, source, start, types.int64), emit


def _store_intrinsic(_typing: Any, buffer: Any, position: Any, _word: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(data_of(context, builder, signature.args[0], arguments[0]), [arguments[1]])
        builder.store(arguments[2], builder.bitcast(place, WORD.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(buffer, position, types.uint64), emit


def _swap_intrinsic(_typing: Any, _word: Any) -> Any:
    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bswap(arguments[0])

    return types.uint64(types.uint64), emit


# Every processor that Numba compiles for is little-endian, as the words of Keccak and BLAKE2 are.
copy_bytes = cast(Callable[[Bytes, Int, Bytes, Int, Int], None], intrinsic(_copy_intrinsic))
"""Copy `size` bytes: copy_bytes(target, place, source, start, size). Nothing is checked."""
store_word = cast(Callable[[Bytes, Int, np.uint64], None], intrinsic(_store_intrinsic))
"""Store a word's eight bytes: store_word(target, place, word). Nothing is checked."""
swap_bytes = cast(Callable[[np.uint64], np.uint64], intrinsic(_swap_intrinsic))
"""Turn a word's bytes around: little-endian to big-endian and back."""
