"""Columns of texts out of a scanned body: equal ones numbered, times read. Compiled, as `scanner` is."""

from __future__ import annotations

import numpy as np
from numba.core import types

from meterbridge.domain.arrays import Bytes, Ints
from meterbridge.domain.vector_code import column, compiled, inlined


def numbered(body: Bytes, spans: Ints) -> tuple[Ints, list[bytes]]:
    """Number equal texts alike, in the order in which they first stand.

    Args:
        body: (b,) bytes.
        spans: (n, 2) where each text begins and ends.

    Returns:
        (n,) numbers, and the text of each number.
    """
    count = len(spans)
    numbers, firsts = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    table = np.full(1 << max(4, (2 * count).bit_length()), -1, dtype=np.int64)
    found = np.zeros(1, dtype=np.int64)
    _number(body, spans, table, numbers, firsts, found)
    cuts = spans[firsts[: found[0]]].tolist()
    return numbers, [body[start:end].tobytes() for start, end in cuts]


@inlined
def _equal(body: Bytes, spans: Ints, one: int, other: int) -> bool:
    size, start, known = spans[one, 1] - spans[one, 0], spans[one, 0], spans[other, 0]
    if spans[other, 1] - known != size:
        return False
    for i in range(size):  # noqa: SIM110  # what Numba compiles to a plain loop
        if body[start + i] != body[known + i]:
            return False
    return True


@compiled(
    types.void(
        column(types.uint8),
        column(types.int64, 2, layout="A"),
        column(types.int64, out=True),
        column(types.int64, out=True),
        column(types.int64, out=True),
        column(types.int64, out=True),
    )
)
def _number(body: Bytes, spans: Ints, table: Ints, numbers: Ints, firsts: Ints, found: Ints) -> None:
    count, mask = 0, len(table) - 1
    for row in range(len(spans)):
        if row and _equal(body, spans, row, row - 1):  # logs repeat themselves
            numbers[row] = numbers[row - 1]
            continue
        digest = np.uint64(14695981039346656037)
        for i in range(spans[row, 0], spans[row, 1]):
            digest = (digest ^ np.uint64(body[i])) * np.uint64(1099511628211)
        place = np.int64((digest ^ (digest >> np.uint64(32))) & np.uint64(mask))
        while table[place] >= 0 and not _equal(body, spans, row, firsts[table[place]]):
            place = (place + 1) & mask
        if table[place] < 0:
            table[place] = count
            firsts[count] = row
            count += 1
        numbers[row] = table[place]
    found[0] = count


def iso_times(body: Bytes, spans: Ints) -> Ints:
    """Return (n,) milliseconds since 1970 of ISO 8601 times, -1 for one that is written in a rarer way.

    What is read is `2026-01-31T12:00:00Z`, with up to twelve digits of a fraction, of which three count, and
    with an offset such as `+01:00` in place of the Z.
    """
    times = np.empty(len(spans), dtype=np.int64)
    _read_times(body, spans, times)
    return times


@inlined
def _digits(body: Bytes, at: int, count: int) -> int:
    number = 0
    for i in range(at, at + count):
        if body[i] < 48 or body[i] > 57:
            return -1
        number = number * 10 + int(body[i]) - 48
    return number


@inlined
def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970 of a date of the Gregorian calendar, -1 if there is no such date."""
    if year < 1970 or month < 1 or month > 12 or day < 1:
        return -1
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    last = 31
    if month == 2:
        last = 29 if leap else 28
    elif month == 4 or month == 6 or month == 9 or month == 11:
        last = 30
    if day > last:
        return -1
    years = year - 1 if month <= 2 else year
    era = years // 400
    of_era = years - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


@inlined
def _time(body: Bytes, at: int, end: int) -> int:
    if (
        end - at < 20
        or body[at + 4] != 45
        or body[at + 7] != 45
        or body[at + 13] != 58
        or body[at + 16] != 58
    ):
        return -1
    if body[at + 10] != 84 and body[at + 10] != 116 and body[at + 10] != 32:
        return -1
    days = _days(_digits(body, at, 4), _digits(body, at + 5, 2), _digits(body, at + 8, 2))
    hour, minute, second = (
        _digits(body, at + 11, 2),
        _digits(body, at + 14, 2),
        _digits(body, at + 17, 2),
    )
    if days < 0 or hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return -1
    at += 19
    millis, digits = 0, 0
    if body[at] == 46:
        at += 1
        while at < end and 48 <= body[at] <= 57:
            if digits < 3:
                millis = millis * 10 + int(body[at]) - 48
            digits += 1
            at += 1
        if digits == 0 or digits > 12:
            return -1
        for _ in range(digits, 3):
            millis *= 10
    offset = 0
    if at + 6 == end and (body[at] == 43 or body[at] == 45) and body[at + 3] == 58:
        hours, minutes = _digits(body, at + 1, 2), _digits(body, at + 4, 2)
        if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
            return -1
        offset = hours * 60 + minutes if body[at] == 43 else -(hours * 60 + minutes)
    elif at + 1 != end or (body[at] != 90 and body[at] != 122):
        return -1
    found = ((days * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1000 + millis
    return found if found >= 0 else -1


@compiled(types.void(column(types.uint8), column(types.int64, 2, layout="A"), column(types.int64, out=True)))
def _read_times(body: Bytes, spans: Ints, times: Ints) -> None:
    for row in range(len(spans)):
        times[row] = _time(body, spans[row, 0], spans[row, 1])
