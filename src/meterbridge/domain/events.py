"""Usage events: what a log says of one call, before it is priced or hashed.

Every shape of usage that Meterbridge reads lands in the same disjoint buckets; a tariff's document maps
buckets onto the eight meters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meterbridge.domain.errors import OutOfBounds, ProtocolError
from meterbridge.domain.receipts import LANE_MAX, OCCURRED_AT_MAX, RESERVED_SOURCES
from meterbridge.domain.units import LANES, UsageVector, require_int

BUCKETS: Final = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image_input",
    "image_output",
    "video_input",
    "tool_prompt",
    "tool_requests",
)
"""All buckets, disjoint. `input` is uncached text, `cache_write` a write of unknown time to live."""


class UnknownBucket(ProtocolError):
    """A bucket has usage and no meter, or no such bucket exists."""


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One call as its log tells it.

    Attributes:
        source: who reported it (a gateway, a file).
        id: unique within the source.
        occurred_at: milliseconds since 1970.
        payer: who pays: an address, or a customer name that the ledger knows; None where the log is silent.
        buckets: token counts by bucket; only those above zero.
        details: what else the receipt commits to (model, provider's own totals, attribution, …); JSON
            values without floats, never prompts or answers.

    Raises:
        OutOfBounds, UnknownBucket, ProtocolError: naming the offending value.
    """

    source: str
    id: str
    occurred_at: int
    payer: str | None
    buckets: Mapping[str, int]
    details: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            raise OutOfBounds("an event needs an id", self.id)
        if not self.source or self.source in RESERVED_SOURCES:
            raise OutOfBounds(f"source {self.source!r} is reserved or empty; name who reports", self.source)
        require_int("event time (milliseconds since 1970)", self.occurred_at, 0, OCCURRED_AT_MAX)
        for bucket, count in self.buckets.items():
            if bucket not in BUCKETS:
                raise UnknownBucket(f"there is no bucket {bucket!r}; there are {', '.join(BUCKETS)}", bucket)
            require_int(f"bucket {bucket!r}", count, 0, LANE_MAX)


@dataclass(frozen=True, slots=True)
class MeterMap:
    """Which meter each bucket counts on.

    Attributes:
        meter_of: bucket to meter index, 0 to 7. Several buckets may share a meter.
    """

    meter_of: Mapping[str, int]

    def __post_init__(self) -> None:
        for bucket, meter in self.meter_of.items():
            if bucket not in BUCKETS:
                raise UnknownBucket(f"there is no bucket {bucket!r}; there are {', '.join(BUCKETS)}", bucket)
            require_int(f"meter of {bucket!r}", meter, 0, LANES - 1)

    def measure(self, buckets: Mapping[str, int]) -> UsageVector:
        """Count buckets on their meters.

        Raises:
            UnknownBucket: when a bucket has usage and no meter; usage is never dropped.
        """
        lanes = [0] * LANES
        for bucket, count in buckets.items():
            if count and bucket not in self.meter_of:
                raise UnknownBucket(f"the tariff has no meter for {count} of {bucket!r}", bucket)
            if count:
                lanes[self.meter_of[bucket]] += count
        return UsageVector.of(lanes)
