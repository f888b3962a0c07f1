"""Meterbridge's own buckets, for gateways that count disjoint things already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats.reading import REQUESTS, Reading, reading, require_total
from meterbridge.adapters.formats.values import require_placed, tokens
from meterbridge.domain.events import BUCKETS

SHAPE: Final = "buckets"
KEYS: Final = frozenset((*BUCKETS, "total"))


def read(usage: Mapping[str, object]) -> Reading:
    """Read an object of buckets, with a `total` of the tokens where one is given.

    Raises:
        Contradiction: when the total is not the sum.
        BadUsage: for a broken count or a number under another name.
    """
    require_placed(usage, KEYS)
    counts = {bucket: tokens(usage, bucket) for bucket in BUCKETS}
    added = sum(counts.values()) - counts[REQUESTS]
    if usage.get("total") is not None:
        require_total(tokens(usage, "total"), added, "the buckets")
    return reading(SHAPE, counts, added)
