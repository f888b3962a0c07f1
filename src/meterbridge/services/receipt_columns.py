"""Ids, hashes and content keys of many receipts at once (protocol, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import numpy as np

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.keccak import DIGEST_BYTES, keccak256_ragged
from meterbridge.domain.receipts import (
    REPLACEMENT_SOURCE as REPLACEMENT_SOURCE,  # for the readers of these columns
)
from meterbridge.domain.receipts import (
    SOURCE_BYTES_MAX,
    VOID_SOURCE,
    ReceiptColumns,
)
from meterbridge.domain.sum_tree import Hashes
from meterbridge.services.records import ReceiptTable

CONTENT_BYTES: Final = 16
TIMELESS_SOURCES: Final = frozenset({VOID_SOURCE, REPLACEMENT_SOURCE})
"""A correction that is sent again says the same at another time."""


def receipt_ids(blinds: Sequence[bytes], sources: Sequence[str], event_ids: Sequence[str]) -> Hashes:
    """Return (n, 32) ids; see `domain.receipts.receipt_id`, which hashes one.

    Raises:
        OutOfBounds: when a source is longer than 65,535 bytes.
    """
    prefixes = {source: _source_prefix(source) for source in set(sources)}
    return _hash_all(
        [
            blind + prefixes[source] + event_id.encode()
            for blind, source, event_id in zip(blinds, sources, event_ids, strict=True)
        ]
    )


def details_hashes(details: Sequence[str]) -> Hashes:
    """Return the (n, 32) hashes of canonical JSON texts; zero where there are none."""
    filled = [i for i, text in enumerate(details) if text]
    hashes = np.zeros((len(details), DIGEST_BYTES), dtype=np.uint8)
    if filled:
        hashes[filled] = _hash_all([details[i].encode() for i in filled])
    return hashes


def content_keys(table: ReceiptTable) -> list[bytes]:
    """Return 16 bytes a receipt that are equal where id, time, usage and details are.

    They are the first half of the leaf. The time of a correction is left out: it is that of whoever corrects,
    and correcting twice alike is correcting once.
    """
    receipts = table.receipts
    timeless = np.fromiter((s in TIMELESS_SOURCES for s in table.sources), dtype=bool, count=len(table))
    if timeless.any():
        times = np.where(timeless, 0, receipts.occurred_at)
        receipts = ReceiptColumns(receipts.ids, times, receipts.usage, receipts.details)
    leaves = receipts.leaves().tobytes()
    return [leaves[i : i + CONTENT_BYTES] for i in range(0, len(leaves), DIGEST_BYTES)]


def _source_prefix(source: str) -> bytes:
    encoded = source.encode()
    if len(encoded) > SOURCE_BYTES_MAX:
        raise OutOfBounds(
            f"source is {len(encoded)} bytes long; at most {SOURCE_BYTES_MAX} are allowed", source
        )
    return len(encoded).to_bytes(2, "big") + encoded


def _hash_all(messages: Sequence[bytes]) -> Hashes:
    offsets = np.fromiter(accumulate(map(len, messages), initial=0), dtype=np.int64, count=len(messages) + 1)
    return keccak256_ragged(np.frombuffer(b"".join(messages), dtype=np.uint8), offsets)
