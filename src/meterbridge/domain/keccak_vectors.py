"""The Keccak-f[1600] permutation as vector code: `LANES` states at a time, one per vector lane."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Final, cast

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from meterbridge.domain.arrays import Bytes, Words
from meterbridge.domain.vector_code import (
    INDEX,
    LANES,
    VECTOR,
    WORD,
    ZERO,
    constant,
    data_of,
    gather,
    rotate_left,
    word_at,
)

RATE_BYTES: Final = 136
RATE_WORDS: Final = 17
STATE_WORDS: Final = 25

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
_ALL_ONES = constant(-1)


def _emit_columns(builder: Any, state: Any) -> list[Any]:
    """Emit the parity of each of the five columns of a state in memory."""
    columns = []
    for x in range(5):
        words = [builder.load(word_at(builder, state, x + 5 * y), align=8) for y in range(5)]
        columns.append(reduce(builder.xor, words))
    return columns


def _emit_round(builder: Any, source: Any, target: Any, columns: list[Any], iota: Any) -> list[Any]:
    """Emit one round from one state in memory to another; return the parities of the new columns.

    Row by row through memory: five rows of five, their parities and the mixing words fit sixteen registers,
    where the whole state does not. Since either pointer may be the other's, LLVM keeps this order.
    """
    mix = [builder.xor(columns[(x + 4) % 5], rotate_left(builder, columns[(x + 1) % 5], 1)) for x in range(5)]
    parities: list[Any] = [None] * 5
    for y in range(5):
        row = []
        for x in range(5):
            from_x, from_y = (x + 3 * y) % 5, x
            word = builder.load(word_at(builder, source, from_x + 5 * from_y), align=8)
            row.append(rotate_left(builder, builder.xor(word, mix[from_x]), _ROTATIONS[from_x][from_y]))
        for x in range(5):
            others = builder.and_(builder.xor(row[(x + 1) % 5], _ALL_ONES), row[(x + 2) % 5])
            word = builder.xor(row[x], others)
            if x == y == 0:
                word = builder.xor(word, iota)
            builder.store(word, word_at(builder, target, x + 5 * y), align=8)
            parities[x] = word if y == 0 else builder.xor(parities[x], word)
    return parities


def _emit_round_constant(builder: Any, table: Any, number: Any) -> Any:
    """Emit the load of one round's constant into every lane."""
    word = builder.load(builder.gep(table, [ZERO, number]))
    single = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), word, ZERO)
    everywhere = ir.Constant(ir.VectorType(INDEX, LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(VECTOR, ir.Undefined), everywhere)


def _emit_permutation(builder: Any, state: Any) -> None:
    """Emit Keccak-f[1600] over the 25 vectors at a pointer, in place; the 25 behind them are scratch."""
    table = cast(Any, cgutils).global_constant(
        builder, "keccak_rounds", ir.Constant(ir.ArrayType(WORD, 24), list(_ROUND_CONSTANTS))
    )
    before = [ZERO, state, word_at(builder, state, STATE_WORDS), *_emit_columns(builder, state)]
    entry, loop = builder.block, builder.append_basic_block("rounds")
    builder.branch(loop)
    builder.position_at_end(loop)
    phis = [builder.phi(value.type) for value in before]
    number, source, target, *columns = phis
    iota = _emit_round_constant(builder, table, number)
    after = _emit_round(builder, source, target, columns, iota)
    following = builder.add(number, ir.Constant(INDEX, 1))
    for phi, first, then in zip(phis, before, [following, target, source, *after], strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop)
    done = builder.append_basic_block("rounds_done")
    builder.cbranch(builder.icmp_unsigned("<", following, ir.Constant(INDEX, 24)), loop, done)
    builder.position_at_end(done)


def _emit_absorption(builder: Any, state: Any, blocks: Any) -> None:
    """Emit the addition of one block per lane, `LANES` blocks of 17 words one after another, to a state."""
    for word in range(RATE_WORDS):
        place = word_at(builder, state, word)
        added = gather(builder, blocks, RATE_WORDS, word)
        builder.store(builder.xor(builder.load(place, align=8), added), place, align=8)


def _absorb_intrinsic(_typing: Any, state: Any, blocks: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = [data_of(context, builder, *pair) for pair in zip(signature.args, arguments, strict=True)]
        vectors = builder.bitcast(data[0], VECTOR.as_pointer())
        _emit_absorption(builder, vectors, builder.bitcast(data[1], WORD.as_pointer()))
        _emit_permutation(builder, vectors)
        return context.get_dummy_value()

    return types.void(state, blocks), emit


absorb = cast(Callable[[Words, Words | Bytes], None], intrinsic(_absorb_intrinsic))
"""Add one block per lane to the states and permute them: absorb(state, blocks).

`state` is (2 * STATE_WORDS, LANES) words, the second half scratch; `blocks` is (LANES, RATE_WORDS) words, or
as many bytes."""
