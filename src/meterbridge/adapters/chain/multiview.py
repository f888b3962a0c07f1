"""The same view of many accounts in one call, packed and read by hand: a few microseconds each.

The contract's `multicall(bytes[])` takes and gives arrays of bytes; all of one array have the same length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.domain.units import pack_word
from meterbridge.services.chain_errors import ChainUnavailable

_FUNCTIONS: Final = load_artifact("SettlementSplitter").abi.functions
_WORD: Final = 32


def pack_calls(function: str, arguments: Sequence[bytes]) -> bytes:
    """Return calldata of a multicall of one function, with each of many packed arguments of equal length."""
    calls = [_FUNCTIONS[function].selector + each for each in arguments]
    size = len(calls[0])
    padded = -(-size // _WORD) * _WORD
    head, tail = pack_word(size), bytes(padded - size)
    count = len(calls)
    offsets = b"".join(
        (count * _WORD + index * (_WORD + padded)).to_bytes(_WORD, "big") for index in range(count)
    )
    elements = b"".join(head + call + tail for call in calls)
    return _FUNCTIONS["multicall"].selector + pack_word(_WORD) + pack_word(count) + offsets + elements


def read_words(answer: bytes, count: int, words: int) -> list[tuple[int, ...]]:
    """Read what `count` calls returned: `words` whole numbers each.

    Raises:
        ChainUnavailable: when the node's answer is none of that shape.
    """
    stride = (1 + words) * _WORD
    start = (2 + count) * _WORD
    if len(answer) != start + count * stride or _number(answer, _WORD) != count:
        raise ChainUnavailable(f"the node's answer to {count} views has {len(answer)} bytes")
    found = []
    for index in range(count):
        at = start + index * stride
        if _number(answer, at) != words * _WORD or _number(answer, (2 + index) * _WORD) != at - 2 * _WORD:
            raise ChainUnavailable(f"the node's answer to view {index} of {count} has another shape")
        found.append(tuple(_number(answer, at + _WORD * (1 + word)) for word in range(words)))
    return found


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + _WORD], "big")
