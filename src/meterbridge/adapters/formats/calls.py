"""What a record says of one call: its usage, and as much of its identity as the record holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from meterbridge.adapters.formats.errors import BadUsage
from meterbridge.adapters.formats.reading import Reading
from meterbridge.domain.events import UsageEvent


@dataclass(slots=True)
class Call:
    """One call; None where the record does not say. It is filled in as more of the record is read.

    Attributes:
        reading: its usage.
        id: unique within the source.
        occurred_at: milliseconds since 1970.
        payer: who pays: an address or a customer's name.
        source: who reports.
        details: what a receipt keeps besides the reading's own details.
    """

    reading: Reading
    id: str | None = None
    occurred_at: int | None = None
    payer: str | None = None
    source: str | None = None
    details: dict[str, object] = field(default_factory=dict)

    def event(self, source: str) -> UsageEvent:
        """Return the event; `source` stands in where the record names none.

        Raises:
            BadUsage: when the record has no id or no time.
        """
        if self.id is None:
            raise BadUsage("the record has no id; name its column, as in id=request_id", None)
        if self.occurred_at is None:
            reason = "the record has no time, or a number whose unit it does not say"
            raise BadUsage(f"{reason}; name its column, as in time=created or time_ms=ts", None)
        return UsageEvent(
            source=self.source or source,
            id=self.id,
            occurred_at=self.occurred_at,
            payer=self.payer,
            buckets=self.reading.buckets,
            details={**self.reading.details, **self.details},
        )
