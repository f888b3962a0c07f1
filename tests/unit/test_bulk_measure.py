"""Chunks become receipts: ids, leaves and keys against pycryptodome and hashlib, event ids of any length."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from Crypto.Hash import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from meterbridge.domain.errors import OutOfBounds
from meterbridge.services.bulk.chunk import Details, Origin, Sources, UsageChunk
from meterbridge.services.bulk.pool import ReceiptPool, measure

BLINDS = [bytes([n + 1]) * 32 for n in range(3)]
SOURCES = ["gateway", "", "ein Zähler mit einem längeren Namen " * 9]
DETAILS = ["", '{"model":"m"}', '{"a":[1,2,3],"b":"ü"}']

Event = tuple[bytes, int, int, int, int, list[int]]

event = st.tuples(
    st.binary(max_size=400),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2**48 - 1),
    st.lists(st.integers(0, 2**53 - 1), min_size=8, max_size=8),
)


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def measured(events: list[Event], skipped: bytes = b"") -> ReceiptPool:
    """Measure events that stand behind some other bytes, as those of a slice do."""
    ids = [one[0] for one in events]
    sources, details = Sources(SOURCES), Details()
    chunk = UsageChunk(
        origin=Origin("file", 1),
        accounts=np.array([one[1] for one in events], dtype=np.int64),
        sources=np.array([one[2] for one in events], dtype=np.int64),
        details=details.numbers([DETAILS[one[3]] for one in events]),
        occurred_at=np.array([one[4] for one in events], dtype=np.int64),
        usage=np.array([one[5] for one in events], dtype=np.int64),
        event_bytes=np.frombuffer(skipped + b"".join(ids), dtype=np.uint8),
        event_offsets=np.cumsum([len(skipped), *map(len, ids)], dtype=np.int64),
    )
    pool = ReceiptPool(len(events) + 5, len(b"".join(ids)) + 9)
    blinds = np.frombuffer(b"".join(BLINDS), dtype=np.uint8).reshape(-1, 32)
    place = pool.reserve(chunk)
    assert place is not None
    measure(chunk, pool, *place, blinds, sources, details)
    return pool


def check(events: list[Event], pool: ReceiptPool) -> None:
    assert pool.size == len(events)
    for number, (id_, account, source, details, time, lanes) in enumerate(events):
        row, key = pool.rows[number], pool.keys[number]
        name = SOURCES[source].encode()
        named = len(name).to_bytes(2, "big") + name + id_
        receipt = keccak256(BLINDS[account] + named)
        said = DETAILS[details].encode()
        leaf = keccak256(
            b"\0"
            + receipt
            + time.to_bytes(6, "big")
            + b"".join(lane.to_bytes(8, "big") for lane in lanes)
            + (keccak256(said) if said else bytes(32))
        )
        assert row["id"].tobytes() == receipt
        assert row["leaf"].tobytes() == leaf
        start = int(row["event_start"])
        assert pool.texts[start : start + int(row["event_length"])].tobytes() == id_
        digest = hashlib.blake2b(named, digest_size=16).digest()
        assert int(key[0]).to_bytes(8, "big") == digest[:8]
        assert int(key[1]).to_bytes(8, "big") == digest[8:12] + account.to_bytes(4, "big")
        assert key[2].tobytes() == leaf[:8]


@given(st.lists(event, min_size=1, max_size=20), st.binary(max_size=5))
@settings(max_examples=80, deadline=None)
def test_any_events_are_measured_as_the_protocol_says(events: list[Event], skipped: bytes) -> None:
    check(events, measured(events, skipped))


@pytest.mark.parametrize("around", [0, 33, 100, 136, 272, 1000, 4096, 65_535, 200_000])
def test_event_ids_of_any_length_stand_beside_each_other(around: int) -> None:
    """Around the ends of blocks of both hash functions, and far beyond; short ones beside long ones."""
    lengths = [max(0, around + step) for step in range(-9, 10)] + [1, 0, 20]
    events = [
        (bytes([length % 251]) * length, n % 3, n % 3, n % 3, n, list(range(n, n + 8)))
        for n, length in enumerate(lengths)
    ]
    check(events, measured(events))


def test_more_events_than_are_hashed_in_one_go() -> None:
    chance = np.random.default_rng(5)
    events = [
        (chance.bytes(int(chance.integers(0, 90))), n % 3, n % 2, n % 3, n, [n] * 8) for n in range(5000)
    ]
    check(events, measured(events))


@pytest.mark.parametrize("bound", ["TEXTS_MAX", "TEXT_CHARS_MAX"])
def test_more_different_details_than_fit_memory_are_refused(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(f"meterbridge.services.bulk.chunk.{bound}", 100)
    details = Details()
    texts = [f"{number:04d}" for number in range(24)]
    assert details.numbers(texts * 9).tolist() == list(range(1, 25)) * 9
    with pytest.raises(OutOfBounds, match="different details in one seal"):
        details.numbers([f"{number:05d}" for number in range(100)])
