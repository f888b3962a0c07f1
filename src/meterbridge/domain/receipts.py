"""Receipts, their ids and leaves, batches of them, and credits (protocol, sections 3 and 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import rfc8785

from meterbridge.domain.arrays import joined
from meterbridge.domain.errors import BadBatch, OutOfBounds, ProtocolError
from meterbridge.domain.keccak import DIGEST_BYTES, ZERO32, keccak256, keccak256_rows
from meterbridge.domain.sum_tree import Hashes, Lanes, NodeColumns, SumNode, SumTree, usage_bytes
from meterbridge.domain.units import LANES, UsageVector, require_int

LEAF_TAG: Final = 0x00
LEAF_BYTES: Final = 135
LANE_MAX: Final = 2**53 - 1
OCCURRED_AT_MAX: Final = 2**48 - 1
SOURCE_BYTES_MAX: Final = 2**16 - 1
VOID_SOURCE: Final = "void"
"""The source of every credit; no charge may use it."""
REPLACEMENT_SOURCE: Final = "replacement"
"""The source of charges that replace a corrected one, whose id in hex is their event id.

No event may use it: it could stand in the way of somebody's correction.
"""
RESERVED_SOURCES: Final = (VOID_SOURCE, REPLACEMENT_SOURCE)

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One measured call.

    Attributes:
        id: 32 bytes, see `receipt_id`.
        occurred_at: milliseconds since 1970, below 2**48.
        usage: eight lanes, each from 0 to 2**53 - 1.
        details: 32 bytes, see `details_hash`; zero where there are none.

    Raises:
        OutOfBounds: when a field leaves its range.
    """

    id: bytes
    occurred_at: int
    usage: UsageVector
    details: bytes = ZERO32

    def __post_init__(self) -> None:
        for name, value in (("receipt id", self.id), ("details", self.details)):
            if not isinstance(value, bytes) or len(value) != DIGEST_BYTES:
                raise OutOfBounds(f"{name} must be 32 bytes, not {value!r}", value)
        require_int("occurredAt (milliseconds)", self.occurred_at, 0, OCCURRED_AT_MAX)
        for lane, count in enumerate(self.usage.lanes):
            require_int(f"usage lane {lane} of a receipt", count, 0, LANE_MAX)

    def leaf(self) -> bytes:
        """Return the 32-byte leaf over the receipt's 135 bytes."""
        body = self.id + self.occurred_at.to_bytes(6, "big") + self.usage.to_bytes() + self.details
        return keccak256(bytes([LEAF_TAG]) + body)

    def node(self) -> SumNode:
        """Return the leaf as a node of a sum tree."""
        return SumNode(self.leaf(), self.usage)


def receipt_id(blind: bytes, source: str, event_id: str) -> bytes:
    """Return the 32-byte id of an event, which only those who know the log's blind can guess.

    Raises:
        OutOfBounds: when the blind is not 32 bytes, or the source is longer than 65,535 bytes of UTF-8.
        ProtocolError: when a text is not valid Unicode.
    """
    if len(blind) != DIGEST_BYTES:
        raise OutOfBounds(f"a log's blind is 32 bytes, not {len(blind)}", len(blind))
    source_bytes, event_bytes = _utf8("source", source), _utf8("event id", event_id)
    if len(source_bytes) > SOURCE_BYTES_MAX:
        raise OutOfBounds(
            f"source is {len(source_bytes)} bytes long; at most {SOURCE_BYTES_MAX} are allowed", source
        )
    return keccak256(blind + len(source_bytes).to_bytes(2, "big") + source_bytes + event_bytes)


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ProtocolError(f"{name} {text!r} is not valid Unicode", text) from error


def canonical_details(details: Mapping[str, object]) -> bytes:
    """Return the RFC 8785 canonical JSON of a receipt's details, UTF-8.

    Raises:
        ProtocolError: when a value has no canonical form (NaN, integers beyond 2**53, …).
    """
    if _is_flat(details):
        try:
            return json.dumps(details, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            pass  # the slow way says what is wrong
    try:
        return rfc8785.dumps(dict(details))  # type: ignore[arg-type]  # it checks the values itself
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise ProtocolError(f"details have no canonical JSON: {error}", details) from error


def _is_flat(details: Mapping[str, object]) -> bool:
    """Tell whether the standard library writes them canonically, too, ten times faster.

    It does for plain dicts of texts and small whole numbers under ASCII keys: no float to print, no keys
    whose order depends on UTF-16.
    """
    return type(details) is dict and all(
        type(key) is str
        and key.isascii()
        and (type(value) is str or value is None or (type(value) is int and abs(value) <= LANE_MAX))
        for key, value in details.items()
    )


def details_hash(details: Mapping[str, object] | None) -> bytes:
    """Return the 32-byte hash of a receipt's details; zero where there are none."""
    return keccak256(canonical_details(details)) if details else ZERO32


def credit_id(blind: bytes, corrected: bytes) -> bytes:
    """Return the id of the one credit that a receipt can ever have (section 3)."""
    return receipt_id(blind, VOID_SOURCE, corrected.hex())


def credit(
    blind: bytes, corrected: Receipt, taken_back: UsageVector, occurred_at: int, details: bytes = ZERO32
) -> Receipt:
    """Return the entry of the credit log that takes usage of `corrected` back.

    Raises:
        OutOfBounds: when a lane takes back more than was charged.
    """
    for lane, (back, charged) in enumerate(zip(taken_back.lanes, corrected.usage.lanes, strict=True)):
        if back > charged:
            raise OutOfBounds(f"lane {lane} takes back {back}; only {charged} was charged", back)
    return Receipt(credit_id(blind, corrected.id), occurred_at, taken_back, details)


@dataclass(frozen=True, slots=True)
class ReceiptColumns:
    """Many receipts as columns.

    Attributes:
        ids: (n, 32) bytes.
        occurred_at: (n,) int64, milliseconds since 1970.
        usage: (n, 8) int64.
        details: (n, 32) bytes.

    Raises:
        OutOfBounds: when shapes differ or a value leaves its range.
    """

    ids: Hashes
    occurred_at: Times
    usage: Lanes
    details: Hashes

    def __post_init__(self) -> None:
        n = len(self.ids)
        found = (self.ids.shape, self.occurred_at.shape, self.usage.shape, self.details.shape)
        if found != ((n, DIGEST_BYTES), (n,), (n, LANES), (n, DIGEST_BYTES)):
            raise OutOfBounds(f"receipt columns have shapes {found}", found)
        _require_range("occurredAt (milliseconds)", self.occurred_at, OCCURRED_AT_MAX)
        _require_range("usage lane of a receipt", self.usage, LANE_MAX)

    @classmethod
    def of(cls, receipts: Sequence[Receipt]) -> Self:
        """Turn receipts into columns."""
        return cls(
            ids=joined((r.id for r in receipts), DIGEST_BYTES),
            occurred_at=np.array([r.occurred_at for r in receipts], dtype=np.int64),
            usage=np.array([r.usage.lanes for r in receipts], dtype=np.int64).reshape(-1, LANES),
            details=joined((r.details for r in receipts), DIGEST_BYTES),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def receipt(self, index: int) -> Receipt:
        """Return one receipt."""
        return Receipt(
            self.ids[index].tobytes(),
            int(self.occurred_at[index]),
            UsageVector.of(self.usage[index].tolist()),
            self.details[index].tobytes(),
        )

    def sorted(self) -> ReceiptColumns:
        """Return the same receipts in the order of a batch: by id."""
        return self.take(self.order())

    def take(self, rows: npt.NDArray[np.int64]) -> ReceiptColumns:
        """Return the receipts at these rows, in this order."""
        return ReceiptColumns(self.ids[rows], self.occurred_at[rows], self.usage[rows], self.details[rows])

    def order(self) -> npt.NDArray[np.int64]:
        """Return the rows in the order of a batch: by id."""
        return np.lexsort(_id_words(self.ids).T[::-1])  # the last key is the primary one

    def leaves(self) -> Hashes:
        """Return the (n, 32) leaves; see `Receipt.leaf`."""
        rows = np.empty((len(self), LEAF_BYTES), dtype=np.uint8)
        rows[:, 0] = LEAF_TAG
        rows[:, 1:33] = self.ids
        times = np.ascontiguousarray(self.occurred_at, dtype=">u8").view(np.uint8).reshape(-1, 8)
        rows[:, 33:39] = times[:, 2:]  # the low 48 bits
        rows[:, 39:103] = usage_bytes(self.usage)
        rows[:, 103:135] = self.details
        return keccak256_rows(rows)


def _require_range(name: str, values: npt.NDArray[np.int64], high: int) -> None:
    wrong = (values < 0) | (values > high)
    if wrong.any():
        first = int(values[wrong][0])
        raise OutOfBounds(f"{name} is {first}; it must be from 0 to {high}", first)


def batch_tree(receipts: ReceiptColumns) -> SumTree:
    """Build the tree of a batch: at least one receipt, sorted by id, each id once (section 4).

    Raises:
        BadBatch: naming the first id out of order or repeated.
        LaneOverflow: when the total leaves int64.
    """
    if not len(receipts):
        raise BadBatch("a batch has at least one receipt", 0)
    _require_ascending(receipts.ids)
    return SumTree(NodeColumns(receipts.leaves(), receipts.usage))


def _id_words(ids: Hashes) -> npt.NDArray[np.uint64]:
    """Return ids as (n, 4) words, most significant first, that compare as the bytes do."""
    return np.ascontiguousarray(ids).view(">u8").reshape(-1, 4).astype(np.uint64)


def _require_ascending(ids: Hashes) -> None:
    """Compare neighbours word by word, most significant first."""
    keys = _id_words(ids)
    before, after = keys[:-1], keys[1:]
    ascending = np.zeros(len(before), dtype=bool)
    equal = np.ones(len(before), dtype=bool)
    for word in range(keys.shape[1]):
        ascending |= equal & (before[:, word] < after[:, word])
        equal &= before[:, word] == after[:, word]
    if not ascending.all():
        row = int(np.argmin(ascending))
        reason = "stands twice in its batch" if equal[row] else "is not in ascending order"
        raise BadBatch(f"receipt id 0x{ids[row + 1].tobytes().hex()} {reason}", ids[row + 1].tobytes())
