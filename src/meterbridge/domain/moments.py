"""Times as people write and read them: ISO 8601 beside seconds since 1970. No clock here."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.units import UINT64_MAX, require_int

_SECONDS: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_LAST_SECOND: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


class BadTime(OutOfBounds):
    """A text is no moment."""


def parse_time(text: str) -> int:
    """Return seconds since 1970 of `2026-12-31T12:00:00Z`, of a day (its first second in UTC), or of seconds.

    Raises:
        BadTime: when it is neither, has no time zone, or falls between two seconds.
    """
    if _SECONDS.fullmatch(text):
        return require_int("time (seconds since 1970)", int(text), 0, UINT64_MAX)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadTime(
            f"{text!r} is no time; write it as 2026-12-31T12:00:00Z, 2026-12-31, or seconds since 1970", text
        ) from None
    if moment.tzinfo is None and len(text) > len("2026-12-31"):
        raise BadTime(f"{text!r} does not say in which time zone; add Z for UTC, or +02:00", text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    seconds = int(moment.timestamp())
    if moment.microsecond or seconds < 0:
        raise BadTime(f"{text!r} is before 1970 or no whole second", text)
    return seconds


def time_text(seconds: int) -> str:
    """Write a moment for people: `2026-12-31T12:00:00Z (1798718400)`; far beyond any clock, `for ever`."""
    if seconds > _LAST_SECOND:
        return "for ever"
    moment = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    return f"{moment} ({seconds})"
