"""Receipts, ids, credits and batches against hashes put together by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from Crypto.Hash import keccak as oracle_keccak
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.errors import BadBatch, OutOfBounds, ProtocolError
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.receipts import (
    Receipt,
    ReceiptColumns,
    batch_tree,
    canonical_details,
    credit,
    credit_id,
    details_hash,
    receipt_id,
)
from meterbridge.domain.units import UsageVector

BLIND = bytes(range(32))
USAGE = UsageVector.of([3, 0, 5, 0, 0, 0, 0, 2**53 - 1])


def oracle_hash(data: bytes) -> bytes:
    return oracle_keccak.new(digest_bits=256, data=data).digest()


def receipt(id_: bytes = b"\x01" * 32, **changes: Any) -> Receipt:
    fields: dict[str, Any] = {"occurred_at": 1_700_000_000_000, "usage": USAGE, "details": b"\x02" * 32}
    return Receipt(id_, **{**fields, **changes})


def test_an_id_hides_source_and_event_behind_the_blind() -> None:
    by_hand = oracle_hash(BLIND + b"\x00\x06" + "网关".encode() + "é1".encode())
    assert receipt_id(BLIND, "网关", "é1") == by_hand
    assert receipt_id(b"\xff" * 32, "网关", "é1") != by_hand


def test_source_and_event_id_cannot_be_shifted_into_each_other() -> None:
    assert receipt_id(BLIND, "ab", "c") != receipt_id(BLIND, "a", "bc")


def test_a_leaf_is_one_hash_over_135_bytes() -> None:
    lanes = b"".join(lane.to_bytes(8, "big") for lane in USAGE.lanes)
    body = b"\x00" + b"\x01" * 32 + (1_700_000_000_000).to_bytes(6, "big") + lanes + b"\x02" * 32
    assert len(body) == 135
    assert receipt().leaf() == oracle_hash(body)


@given(
    st.lists(
        st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 2**48 - 1), st.integers(0, 2**53 - 1)),
        min_size=1,
        max_size=20,
        unique_by=lambda row: row[0],
    )
)
def test_columns_say_the_same_as_single_receipts(rows: list[tuple[bytes, int, int]]) -> None:
    receipts = [Receipt(i, t, UsageVector.of([n, 0, 0, n, 0, 0, 0, 1])) for i, t, n in rows]
    columns = ReceiptColumns.of(receipts).sorted()
    expected = sorted(receipts, key=lambda r: r.id)
    assert [columns.receipt(i) for i in range(len(columns))] == expected
    assert [leaf.tobytes() for leaf in columns.leaves()] == [r.leaf() for r in expected]


def test_columns_of_any_memory_layout_hash_the_same() -> None:
    receipts = [receipt(bytes([i]) * 32, occurred_at=i) for i in range(1, 9)]
    columns = ReceiptColumns.of(receipts)
    strided = ReceiptColumns(
        np.asfortranarray(columns.ids),
        np.repeat(columns.occurred_at, 2)[::2],
        np.asfortranarray(columns.usage),
        np.asfortranarray(columns.details),
    )
    assert (strided.leaves() == columns.leaves()).all()
    assert batch_tree(strided).root == batch_tree(columns).root


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"usage": UsageVector.of([-1, 0, 0, 0, 0, 0, 0, 0])}, "lane 0"),
        ({"usage": UsageVector.of([0, 2**53, 0, 0, 0, 0, 0, 0])}, "9007199254740992"),
        ({"occurred_at": 2**48}, "281474976710656"),
        ({"occurred_at": -1}, "-1"),
        ({"occurred_at": 1.5}, "whole number"),
        ({"details": b"short"}, "32 bytes"),
    ],
)
def test_a_field_out_of_range_is_refused_and_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OutOfBounds, match=message):
        receipt(**change)


@pytest.mark.parametrize("lane", [-1, 2**53])
def test_columns_refuse_what_receipts_refuse(lane: int) -> None:
    columns = ReceiptColumns.of([receipt()])
    usage = columns.usage.copy()
    usage[0, 3] = lane
    with pytest.raises(OutOfBounds, match=str(lane)):
        ReceiptColumns(columns.ids, columns.occurred_at, usage, columns.details)


def test_a_long_source_is_refused() -> None:
    receipt_id(BLIND, "s" * 65535, "e")
    with pytest.raises(OutOfBounds, match="65536 bytes"):
        receipt_id(BLIND, "s" * 65536, "e")


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not valid Unicode"):
        receipt_id(BLIND, "s", "\ud800")


def test_a_batch_is_sorted_unique_and_not_empty() -> None:
    one, two = receipt(b"\x01" * 32), receipt(b"\x01" * 31 + b"\x02")
    batch_tree(ReceiptColumns.of([one, two]))
    with pytest.raises(BadBatch, match="ascending"):
        batch_tree(ReceiptColumns.of([two, one]))
    with pytest.raises(BadBatch, match="twice"):
        batch_tree(ReceiptColumns.of([one, two, two]))
    with pytest.raises(BadBatch, match="at least one"):
        batch_tree(ReceiptColumns.of([]))


def test_ids_order_as_unsigned_bytes() -> None:
    low, high = receipt(b"\x7f" + bytes(31)), receipt(b"\x80" + bytes(31))
    assert ReceiptColumns.of([high, low]).sorted().receipt(0) == low


def test_a_credit_has_the_one_id_that_its_receipt_can_ever_have() -> None:
    charged = receipt()
    by_hand = oracle_hash(BLIND + b"\x00\x04void" + ("01" * 32).encode())
    assert credit(BLIND, charged, USAGE, 5).id == credit_id(BLIND, charged.id) == by_hand


def test_a_credit_takes_back_no_more_than_was_charged() -> None:
    with pytest.raises(OutOfBounds, match="lane 1 takes back 1"):
        credit(BLIND, receipt(), UsageVector.of([3, 1, 0, 0, 0, 0, 0, 0]), 5)


def test_details_hash_their_canonical_json() -> None:
    details = {"model": "m", "b": [1, {"é": None}], "a": True}
    canonical = json.dumps(details, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert canonical_details(details) == canonical
    assert details_hash(details) == oracle_hash(canonical)
    assert details_hash(None) == details_hash({}) == bytes(32)


@pytest.mark.parametrize("value", [float("nan"), 2**53 + 1, {1: 2}, b"x"])
def test_details_without_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(ProtocolError, match="canonical"):
        details_hash({"x": value})


@pytest.mark.parametrize("source", ["void", "replacement"])
def test_sources_of_corrections_are_reserved(source: str) -> None:
    with pytest.raises(OutOfBounds, match="reserved"):
        UsageEvent(source, "01" * 32, 0, None, {})
