"""Columns hash like single receipts, and content keys tell contents apart."""

from __future__ import annotations

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.errors import OutOfBounds, ProtocolError
from meterbridge.domain.receipts import Receipt, ReceiptColumns, canonical_details, details_hash, receipt_id
from meterbridge.domain.units import UsageVector
from meterbridge.services.receipt_columns import content_keys, details_hashes, receipt_ids
from meterbridge.services.records import ReceiptTable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
USAGE = UsageVector.of([1, 2, 3, 4, 5, 6, 7, 8])


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), TEXTS, TEXTS), max_size=20))
def test_many_ids_are_those_of_one_at_a_time(events: list[tuple[bytes, str, str]]) -> None:
    found = receipt_ids([e[0] for e in events], [e[1] for e in events], [e[2] for e in events])
    assert found.shape == (len(events), 32)
    assert [row.tobytes() for row in found] == [receipt_id(*e) for e in events]


@given(
    st.lists(st.dictionaries(TEXTS, TEXTS | st.integers(-(2**53) + 1, 2**53 - 1), max_size=4), max_size=20)
)
def test_many_details_hash_like_one_at_a_time(details: list[dict[str, object]]) -> None:
    texts = [canonical_details(one).decode() if one else "" for one in details]
    assert [row.tobytes() for row in details_hashes(texts)] == [details_hash(one) for one in details]


KEYS = st.text(max_size=6) | st.sampled_from(["model", "\u20ac", "\U0001f600", "\ufb33", "\x7f", "\r"])
LOOSE = st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.text(max_size=8)


@given(st.dictionaries(KEYS, LOOSE | st.lists(LOOSE, max_size=3) | st.dictionaries(KEYS, LOOSE, max_size=3)))
def test_the_fast_way_to_canonical_json_is_the_slow_way(details: dict[str, object]) -> None:
    """The oracle is a library that does nothing else."""
    try:
        expected = rfc8785.dumps(details)  # type: ignore[arg-type]
    except rfc8785.CanonicalizationError:
        with pytest.raises(ProtocolError):
            canonical_details(details)
        return
    assert canonical_details(details) == expected


@pytest.mark.parametrize(
    "details",
    [{"a": "\ud800"}, {"\ud800": 1}, {"é": "\ud800"}, {"a": 2**53}, {"a": {1: 2}}, {1: 2}, {"a": b"x"}],
)
def test_details_without_canonical_form_are_refused(details: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="no canonical JSON"):
        canonical_details(details)


def test_a_source_beyond_its_length_field_is_refused() -> None:
    receipt_ids([bytes(32)], ["x" * 65_535], ["id"])
    with pytest.raises(OutOfBounds, match="65536 bytes"):
        receipt_ids([bytes(32)], ["x" * 65_536], ["id"])


def key(receipt: Receipt, source: str = "gateway") -> bytes:
    table = ReceiptTable(ReceiptColumns.of([receipt]), [source], ["id"], [""])
    (found,) = content_keys(table)
    return found


def test_content_is_the_first_half_of_the_leaf() -> None:
    receipt = Receipt(b"\1" * 32, 5, USAGE, b"\2" * 32)
    assert key(receipt) == receipt.leaf()[:16]


@pytest.mark.parametrize("source", ["void", "replacement"])
def test_a_correction_says_the_same_at_any_time(source: str) -> None:
    assert key(Receipt(b"\1" * 32, 5, USAGE), source) == key(Receipt(b"\1" * 32, 6, USAGE), source)
    assert key(Receipt(b"\1" * 32, 5, USAGE), source) != key(
        Receipt(b"\1" * 32, 5, UsageVector.zero()), source
    )
    assert key(Receipt(b"\1" * 32, 5, USAGE)) != key(Receipt(b"\1" * 32, 6, USAGE))


def test_columns_of_different_lengths_are_no_table() -> None:
    with pytest.raises(OutOfBounds, match="lengths"):
        ReceiptTable(ReceiptColumns.of([Receipt(bytes(32), 0, USAGE)]), ["a"], [], [""])
