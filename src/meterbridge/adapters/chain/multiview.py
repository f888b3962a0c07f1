"""The same view of many accounts in one call, packed and read as columns: a microsecond or two each.

The contract's `multicall(bytes[])` takes and gives arrays of bytes; all of one array have the same length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.domain.arrays import Bytes, cells
from meterbridge.domain.units import pack_word
from meterbridge.services.chain_errors import ChainUnavailable

_FUNCTIONS: Final = load_artifact("SettlementSplitter").abi.functions
_WORD: Final = 32
_FIRST: Final = 2 * _WORD  # where the offsets stand, after the array's own offset and its length


def pack_calls(function: str, arguments: Sequence[bytes]) -> bytes:
    """Return calldata of a multicall of one function, with each of many packed arguments of equal length."""
    selector, count = _FUNCTIONS[function].selector, len(arguments)
    size = len(selector) + len(arguments[0])
    elements = np.zeros((count, _WORD + -(-size // _WORD) * _WORD), dtype=np.uint8)
    elements[:, :_WORD] = np.frombuffer(pack_word(size), dtype=np.uint8)
    elements[:, _WORD : _WORD + len(selector)] = np.frombuffer(selector, dtype=np.uint8)
    elements[:, _WORD + len(selector) : _WORD + size] = np.frombuffer(
        b"".join(arguments), dtype=np.uint8
    ).reshape(count, -1)
    start = pack_word(_WORD) + pack_word(count) + _offsets(count, elements.shape[1]).tobytes()
    return _FUNCTIONS["multicall"].selector + start + elements.tobytes()


def read_words(answer: bytes, count: int, words: int) -> list[tuple[int, ...]]:
    """Read what `count` calls returned: `words` whole numbers each.

    Raises:
        ChainUnavailable: when the node's answer is none of that shape.
    """
    stride = (1 + words) * _WORD
    start = _FIRST + count * _WORD
    if len(answer) != start + count * stride or answer[_WORD:_FIRST] != pack_word(count):
        raise ChainUnavailable(f"the node's answer to {count} views has {len(answer)} bytes")
    elements = np.frombuffer(answer, dtype=np.uint8, offset=start).reshape(count, stride)
    offsets = np.frombuffer(answer, dtype=np.uint8, offset=_FIRST, count=count * _WORD).reshape(count, _WORD)
    size = np.frombuffer(pack_word(words * _WORD), dtype=np.uint8)
    odd = (offsets != _offsets(count, stride)).any(axis=1) | (elements[:, :_WORD] != size).any(axis=1)
    if odd.any():
        raise ChainUnavailable(f"the node's answer to view {int(odd.argmax())} of {count} has another shape")
    columns = [_numbers(elements[:, at : at + _WORD]) for at in range(_WORD, stride, _WORD)]
    return list(zip(*columns, strict=True))


def _offsets(count: int, stride: int) -> Bytes:
    """Return where each element begins after the array's length, as (count, 32) bytes."""
    offsets = np.zeros((count, _WORD), dtype=np.uint8)
    places = np.arange(count, dtype=np.int64) * stride + count * _WORD
    offsets[:, _WORD - 8 :] = places.astype(">i8").view(np.uint8).reshape(count, 8)
    return offsets


def _numbers(words: Bytes) -> list[int]:
    """Read (n, 32) bytes as whole numbers; most fit 64 bits."""
    if not words[:, : _WORD - 8].any():
        small: npt.NDArray[np.uint64] = np.ascontiguousarray(words[:, _WORD - 8 :]).view(">u8")[:, 0]
        return [int(number) for number in small.tolist()]
    return [int.from_bytes(word, "big") for word in cells(words.tobytes(), _WORD)]
