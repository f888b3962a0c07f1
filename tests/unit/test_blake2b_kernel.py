"""The compiled BLAKE2b against hashlib's."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterbridge.domain import blake2b_kernel
from meterbridge.domain.vector_code import LANES


def expected(message: bytes) -> bytes:
    return hashlib.blake2b(message, digest_size=16).digest()


def keys_of(messages: list[bytes], skip: int = 0, width: int = 2) -> list[bytes]:
    offsets = np.cumsum([0, *map(len, messages)], dtype=np.int64)
    keys = np.zeros((len(messages), width), dtype=np.uint64)
    buffer = np.frombuffer(b"".join(messages), dtype=np.uint8)
    blake2b_kernel.hash_keys(buffer, offsets, skip, 0, len(messages), keys)
    assert not keys[:, 2:].any()
    return [key.astype(">u8").tobytes() for key in keys[:, :2]]


@pytest.mark.parametrize("length", [*range(4), *range(60, 68), *range(120, 140), 255, 256, 257, 1000])
def test_each_length_agrees_with_hashlib(length: int) -> None:
    messages = [bytes([seed]) * length for seed in range(LANES + 2)]
    assert keys_of(messages) == [expected(message) for message in messages]


@given(st.lists(st.binary(max_size=500), min_size=1, max_size=3 * LANES))
@settings(max_examples=200, deadline=None)
def test_messages_of_any_lengths_side_by_side(messages: list[bytes]) -> None:
    assert keys_of(messages) == [expected(message) for message in messages]


@given(st.lists(st.binary(min_size=32, max_size=300), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_prefix_is_left_out(messages: list[bytes]) -> None:
    assert keys_of(messages, skip=32, width=3) == [expected(message[32:]) for message in messages]


def test_keys_compare_as_their_bytes_do() -> None:
    messages = [bytes([i]) for i in range(200)]
    found = sorted(range(200), key=lambda i: keys_of([messages[i]])[0])
    assert found == sorted(range(200), key=lambda i: expected(messages[i]))
