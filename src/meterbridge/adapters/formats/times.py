"""Times as logs write them, to milliseconds since 1970; digits finer than a millisecond are cut off."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from enum import Enum
from functools import lru_cache
from typing import Final

from meterbridge.adapters.formats.errors import BadUsage
from meterbridge.adapters.formats.rows import snippet
from meterbridge.domain.receipts import OCCURRED_AT_MAX

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<time>[0-9]{2}:[0-9]{2})(?::(?P<second>[0-9]{2}))?"
    r"(?:[.,](?P<fraction>[0-9]{1,12}))?\s?(?P<zone>[Zz]|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_NUMBER: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,12})?")
PLAUSIBLE_FROM: Final = 978_307_200_000
"""2001-01-01: a bare number that means an earlier time has been given the wrong unit."""


class TimeUnit(Enum):
    """How a column writes its time; a bare number never says its own unit."""

    ISO = "iso"
    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


_EXACT: Final = Context(prec=64)
PER_SECOND: Final = {TimeUnit.S: 1, TimeUnit.MS: 10**3, TimeUnit.US: 10**6, TimeUnit.NS: 10**9}


class Millis(int):
    """Milliseconds since 1970 that a typed column (Parquet) gave; no unit is left to guess."""


def iso_millis(name: str, value: object) -> int:
    """Read an ISO 8601 time; without a zone it is UTC.

    Raises:
        BadUsage: when it is no such time, is out of the calendar, or before 1970.
    """
    if isinstance(value, Millis):
        return in_range(name, int(value), value)
    found = _ISO.fullmatch(value.strip(" ")) if isinstance(value, str) else None
    if not found:
        raise BadUsage(
            f"{name} is {snippet(value)}; a time looks like 2026-01-31T12:00:00.5Z; for a number since 1970, "
            "name its unit in the map: time_s, time_ms, time_us or time_ns",
            value,
        )
    try:
        minute = _minute(found["date"], found["time"], found["zone"] or "Z")
        second = int(found["second"] or 0)
        if second > 59:  # a leap second has no place in milliseconds since 1970
            raise ValueError("second must be in 0..59")
    except ValueError as error:
        raise BadUsage(f"{name} is {snippet(value)}; it is out of range: {error}", value) from error
    millis = int((found["fraction"] or "0")[:3].ljust(3, "0"))
    return in_range(name, minute + second * 1000 + millis, value)


@lru_cache(maxsize=4096)  # a log's rows share their minutes
def _minute(date: str, time: str, zone: str) -> int:
    offset = "+00:00" if zone in "zZUTC" else zone
    moment = datetime.fromisoformat(f"{date}T{time}:00{offset}")
    return (moment - EPOCH) // timedelta(milliseconds=1)


def epoch_millis(name: str, value: object, unit: TimeUnit) -> int:
    """Read a number of seconds, milliseconds, microseconds or nanoseconds since 1970.

    Whole numbers and exact decimals (`1700000000.25`, as text or out of JSON) are read; a binary float is
    not, as it has lost digits already.

    Raises:
        BadUsage: for anything else, and for a time before 2001 or beyond 2**48 milliseconds: the unit is
            wrong.
    """
    if type(value) is int:
        exact = Decimal(value)
    elif isinstance(value, Decimal) and value.is_finite():
        exact = value
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip(" ")):
        exact = Decimal(value.strip(" "))
    else:
        raise BadUsage(f"{name} is {snippet(value)}; time in {unit.value} is a number since 1970", value)
    if exact.copy_abs() > 10**20:  # beyond any unit; spares huge exponents the arithmetic
        raise BadUsage(f"{name} is {snippet(value)}; that is out of range", value)
    millis = int(_EXACT.divide_int(_EXACT.multiply(exact, Decimal(1000)), Decimal(PER_SECOND[unit])))
    if not PLAUSIBLE_FROM <= millis <= OCCURRED_AT_MAX:
        reason = f"{name} is {snippet(value)}; taken as {unit.value} since 1970 it is out of range"
        raise BadUsage(f"{reason}: is it in another unit?", value)
    return millis


def seconds_millis(name: str, value: object) -> int:
    """Read seconds since 1970 that some SDK hands over as a float: its shortest decimal is taken.

    Raises:
        BadUsage: as `epoch_millis`.
    """
    return epoch_millis(name, Decimal(repr(value)) if isinstance(value, float) else value, TimeUnit.S)


def in_range(name: str, millis: int, value: object) -> int:
    """Return milliseconds that fit a receipt.

    Raises:
        BadUsage: when they are before 1970 or from 2**48 on.
    """
    if not 0 <= millis <= OCCURRED_AT_MAX:
        reason = f"{name} is {snippet(value)}; it is out of range, which is 1970 to 2**48 milliseconds later"
        raise BadUsage(reason, value)
    return millis
