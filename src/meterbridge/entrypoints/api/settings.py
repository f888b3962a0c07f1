"""Limits and rhythms of a running service."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meterbridge.domain.errors import OutOfBounds

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set; all numbers are per process.

    Attributes:
        body_bytes: largest request body, unpacked; more is 413.
        batch_events: most events in one request; more is 413.
        inflight_bytes: most bytes of bodies in memory at once; more is 503 until some are done.
        waiting_events: most events that wait for the writer; more is 503.
        group_events: most events in one transaction.
        events_per_second, burst_events: rate of one API key; more is 429.
        seal_seconds: how often pending receipts are sealed and a statement is signed.
        seal_receipts: seal earlier once so many receipts of a tariff are pending.
        batch_receipts: largest sealed batch; more makes several.
        stalled_rounds: `/readyz` fails when the worker is behind by so many intervals.
        settle_seconds: how long settling may be behind before `/readyz` fails, where the service settles.
        drain_seconds: how long a shutdown waits for what was taken but not yet written.
        page_max: most items of one page.
        credit_margin_seconds: how far ahead credit is reckoned by default: sealing, signing and settling must
            all happen within it.
    """

    body_bytes: int = 8 * MIB
    batch_events: int = 10_000
    inflight_bytes: int = 64 * MIB
    waiting_events: int = 50_000
    group_events: int = 10_000
    events_per_second: int = 100_000
    burst_events: int = 200_000
    seal_seconds: int = 60
    seal_receipts: int = 100_000
    batch_receipts: int = 1_000_000
    stalled_rounds: int = 5
    settle_seconds: int = 3_600
    drain_seconds: int = 30
    page_max: int = 1_000
    credit_margin_seconds: int = 3_600

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OutOfBounds(
                    f"setting {field.name} is {value!r}; it must be a whole number above 0", value
                )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Build from names and numbers.

        Raises:
            OutOfBounds: naming a setting that does not exist or a value that it cannot have.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise OutOfBounds(f"there is no setting {name!r}; there are {', '.join(sorted(known))}", name)
        return cls(**values)
