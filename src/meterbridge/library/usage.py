"""Usage in memory, as rows that metering takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from meterbridge.adapters.formats import Row
    from meterbridge.client.wire import Sendable
    from meterbridge.domain.events import UsageEvent

Usage: TypeAlias = Union["UsageEvent", "Sendable"]
"""One call: an event in Meterbridge's own buckets, or a record with a provider's usage object."""


def usage_rows(usage: Iterable[Usage], source: str) -> Iterator[Row]:
    """Yield what was given as rows, numbered from 1; one record may hold several events."""
    from meterbridge.adapters.formats import BadRow, UsageRow
    from meterbridge.domain.errors import MeterbridgeError

    for number, one in enumerate(usage, 1):
        try:
            events = list(_events(one, source))
        except MeterbridgeError as error:
            yield BadRow(number, error.value, str(error))
            continue
        yield from (UsageRow(number, event) for event in events)


def _events(one: Usage, source: str) -> Iterator[UsageEvent]:
    from meterbridge.adapters.formats import parse_json, read_records
    from meterbridge.adapters.formats.errors import BadUsage
    from meterbridge.domain.events import UsageEvent

    if isinstance(one, UsageEvent):
        yield one
        return
    found = parse_json(one.line())
    if not isinstance(found, dict):
        raise BadUsage("a record must be an object", json.dumps(found))
    yield from read_records(found, source)
