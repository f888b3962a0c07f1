"""Cuts a body into records, and records into values, without making an object for any of them.

A record's skeleton is its keys, its nesting and the kinds of its values: `{"id"s"usage"{"total"i}}`. Records
with equal skeletons have the same values in the same places, so what a skeleton means is worked out once.
Importing this module compiles the kernel or loads it from the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba.core import types

from meterbridge.domain.arrays import Bytes, Ints
from meterbridge.domain.vector_code import column, compiled, copy_bytes, inlined

LINES: Final = 0
ARRAY: Final = 1
SINGLE: Final = 2
RECORD_BYTES_MAX: Final = 8_192
"""A longer record is read the ordinary way; so is one with more skeletons before it than are kept."""
SKELETONS_MAX: Final = 32
DEPTH_MAX: Final = 8
_DIGITS_MAX: Final = 18  # more might not fit an int64
_SLOW: Final = -1
_BROKEN: Final = -2

_PLAIN, _QUOTE, _ODD = 0, 1, 2
_CLASS_OF: Final = np.full(256, _PLAIN, dtype=np.uint8)
_CLASS_OF[ord('"')] = _QUOTE
_CLASS_OF[:32] = _ODD
_CLASS_OF[[ord("\\"), 127]] = _ODD


@dataclass(frozen=True, slots=True)
class Scan:
    """What stands where in a body.

    Attributes:
        body: (b,) bytes.
        starts, ends: (n,) where each record begins and ends.
        skeleton_of: (n,) index into `skeletons`, or -1 for a record that is to be read the ordinary way.
        first_value: (n,) index of a record's first value.
        values: (v, 2) of each value in the order in which it stands: where a text begins and ends without its
            quotes, or a number and 0.
        skeletons: those that occur.
    """

    body: Bytes
    starts: Ints
    ends: Ints
    skeleton_of: Ints
    first_value: Ints
    values: Ints
    skeletons: list[bytes]

    def __len__(self) -> int:
        return len(self.starts)


def scan(body: bytes, mode: int) -> Scan | None:
    """Scan a body of UTF-8; return None where only the ordinary reader can say what is wrong with it.

    Args:
        body: what was sent.
        mode: `LINES` for NDJSON, `ARRAY` for a JSON array of records, `SINGLE` for one record.
    """
    data = np.frombuffer(body, dtype=np.uint8)
    opened, commas = _marks(data, b"{[\n") + 2, _marks(data, b",")
    records = np.empty((opened + (commas if mode == ARRAY else 0), 4), dtype=np.int64)
    values = np.empty((opened + commas, 2), dtype=np.int64)
    heap = np.empty((SKELETONS_MAX + 1) * RECORD_BYTES_MAX, dtype=np.uint8)
    cuts = np.zeros(SKELETONS_MAX + 2, dtype=np.int64)
    found = np.zeros(3, dtype=np.int64)
    _scan(data, mode, records, values, heap, cuts, found)
    count, used, kinds = found.tolist()
    if count < 0:
        return None
    skeletons = [heap[cuts[i] : cuts[i + 1]].tobytes() for i in range(kinds)]
    columns = records[:count].T.copy()
    return Scan(data, columns[0], columns[1], columns[2], columns[3], values[:used], skeletons)


def _marks(data: Bytes, marks: bytes) -> int:
    """Count characters; `bytes.count` stops at each of them, and took a sixth of a request's time."""
    return sum(int(np.count_nonzero(data == mark)) for mark in marks)


@inlined
def _after_space(body: Bytes, at: int, end: int) -> int:
    while at < end and (body[at] == 32 or body[at] == 10 or body[at] == 13 or body[at] == 9):
        at += 1
    return at


@inlined
def _text_end(body: Bytes, at: int, end: int) -> int:
    """Return where a text ends that is as it looks, or -1 where it has escapes or control characters."""
    while at < end and _CLASS_OF[body[at]] == _PLAIN:
        at += 1
    if at < end and body[at] == 34:
        return at
    return _SLOW


@inlined
def _any_text_end(body: Bytes, at: int, end: int) -> int:
    """Return where a text ends, whatever it holds."""
    while at < end:
        if body[at] == 92:
            at += 1
        elif body[at] == 34:
            return at
        at += 1
    return _BROKEN


@inlined
def _value_end(body: Bytes, at: int, end: int) -> int:
    """Return where any JSON value ends, judged by its brackets and quotes alone."""
    depth = 0
    while at < end:
        byte = body[at]
        if byte == 34:
            at = _any_text_end(body, at + 1, end)
            if at < 0:
                return _BROKEN
        elif byte == 123 or byte == 91:
            depth += 1
        elif byte == 125 or byte == 93:
            if depth == 0:
                return at
            depth -= 1
        elif byte == 44 and depth == 0:
            return at
        at += 1
    return at if depth == 0 else _BROKEN


@inlined
def _is_word(body: Bytes, at: int, end: int, word: Bytes) -> bool:
    if at + len(word) > end:
        return False
    for i in range(len(word)):  # noqa: SIM110  # what Numba compiles to a plain loop
        if body[at + i] != word[i]:
            return False
    return True


_TRUE: Final = np.frombuffer(b"true", dtype=np.uint8)
_FALSE: Final = np.frombuffer(b"false", dtype=np.uint8)
_NULL: Final = np.frombuffer(b"null", dtype=np.uint8)


@inlined
def _scalar(
    body: Bytes, at: int, end: int, heap: Bytes, place: int, values: Ints, used: int
) -> tuple[int, int]:
    """Read one text, number or word; return where it ends, or -1, and how many values there are then."""
    byte = body[at]
    if byte == 34:
        close = _text_end(body, at + 1, end)
        if close < 0:
            return _SLOW, used
        heap[place] = 115
        values[used, 0], values[used, 1] = at + 1, close
        return close + 1, used + 1
    if 48 <= byte <= 57:
        first, number = at, 0
        while at < end and 48 <= body[at] <= 57 and at - first < _DIGITS_MAX:
            number = number * 10 + int(body[at]) - 48
            at += 1
        if byte == 48 and at - first > 1:
            return _SLOW, used
        if at < end and (48 <= body[at] <= 57 or body[at] == 46 or body[at] == 101 or body[at] == 69):
            return _SLOW, used
        heap[place] = 105
        values[used, 0], values[used, 1] = number, 0
        return at, used + 1
    values[used, 0], values[used, 1] = 0, 0
    if _is_word(body, at, end, _NULL):
        heap[place] = 110
        return at + 4, used + 1
    if _is_word(body, at, end, _TRUE):
        heap[place] = 116
        return at + 4, used + 1
    if _is_word(body, at, end, _FALSE):
        heap[place] = 102
        return at + 5, used + 1
    return _SLOW, used


@inlined
def _record(
    body: Bytes, at: int, end: int, heap: Bytes, place: int, values: Ints, used: int
) -> tuple[int, int, int]:
    """Read one object; return where it ends (or -1), the end of its skeleton, and the number of values."""
    objects, depth = 0, 0  # a bit a level: whether an object is open there
    limit = place + RECORD_BYTES_MAX
    end = min(end, at + RECORD_BYTES_MAX)
    if at >= end or body[at] != 123:
        return _SLOW, place, used
    state = 0  # 0: a value is due; 1: a container was opened; 2: a value has ended
    while at < end and place < limit - 4:
        byte = body[at]
        if byte == 32 or byte == 10 or byte == 13 or byte == 9:
            at += 1
            continue
        if state == 2 and byte == 44:
            at = _after_space(body, at + 1, end)
            state = 3 if objects & 1 else 0
            continue
        if state != 0 and state != 3 and (byte == 125 or byte == 93):
            if (byte == 125) != (objects & 1 == 1):
                return _SLOW, place, used
            heap[place] = byte
            place += 1
            at += 1
            objects >>= 1
            depth -= 1
            if depth == 0:
                return at, place, used
            state = 2
            continue
        if state == 2:
            return _SLOW, place, used
        if state == 3 or (state == 1 and objects & 1):
            if byte != 34:
                return _SLOW, place, used
            close = _text_end(body, at + 1, end)
            if close < 0 or place + close - at + 8 > limit:
                return _SLOW, place, used
            copy_bytes(heap, place, body, at, close + 1 - at)
            place += close + 1 - at
            at = _after_space(body, close + 1, end)
            if at >= end or body[at] != 58:
                return _SLOW, place, used
            at = _after_space(body, at + 1, end)
            state = 0
            continue
        if byte == 123 or byte == 91:
            if depth == DEPTH_MAX:
                return _SLOW, place, used
            heap[place] = byte
            place += 1
            at += 1
            objects = objects * 2 + (1 if byte == 123 else 0)
            depth += 1
            state = 1
            continue
        at, used = _scalar(body, at, end, heap, place, values, used)
        if at < 0:
            return _SLOW, place, used
        place += 1
        state = 2
    return _SLOW, place, used


@inlined
def _skeleton_of(heap: Bytes, cuts: Ints, kinds: int, end: int, last: int) -> int:
    """Return which skeleton stands at the heap's top, the new number for a new one, -1 without room."""
    start = cuts[kinds]
    for turn in range(kinds):
        known = (last + turn) % kinds
        first = cuts[known]
        if cuts[known + 1] - first != end - start:
            continue
        same = True
        for i in range(end - start):
            if heap[first + i] != heap[start + i]:
                same = False
                break
        if same:
            return known
    return kinds if kinds < SKELETONS_MAX else _SLOW


@compiled(
    types.void(
        column(types.uint8),
        types.int64,
        column(types.int64, 2, out=True),
        column(types.int64, 2, out=True),
        column(types.uint8, out=True),
        column(types.int64, out=True),
        column(types.int64, out=True),
    )
)
def _scan(body: Bytes, mode: int, records: Ints, values: Ints, heap: Bytes, cuts: Ints, found: Ints) -> None:
    """Fill (start, end, skeleton, first value) of each record; `found`: how many records, values, skeletons.

    The number of records is -1 where the body as a whole cannot be cut.
    """
    size, at, count, used, kinds, last = len(body), 0, 0, 0, 0, 0
    if mode != LINES:
        at = _after_space(body, 0, size)
        if mode == ARRAY:
            if at >= size or body[at] != 91:
                found[0] = -1
                return
            at = _after_space(body, at + 1, size)
            if at < size and body[at] == 93:
                found[0] = 0 if _after_space(body, at + 1, size) == size else -1
                return
    while True:
        stop = size
        if mode == LINES:
            stop = at
            while stop < size and body[stop] != 10:
                stop += 1
            first = at
            while first < stop and (body[first] == 32 or 9 <= body[first] <= 13):
                first += 1
            if first == stop:  # a blank line
                at = stop + 1
                if at > size:
                    break
                continue
        begin = _after_space(body, at, stop)
        end, top, after = _record(body, begin, stop, heap, cuts[kinds], values, used)
        skeleton = _SLOW
        if end > 0 and (mode != LINES or _after_space(body, end, stop) == stop):
            skeleton = _skeleton_of(heap, cuts, kinds, top, last)
        if skeleton >= 0:
            last = skeleton
            if skeleton == kinds:
                kinds += 1
                cuts[kinds] = top
            records[count, 3] = used
            used = after
        else:
            records[count, 3] = 0
            end = stop if mode != ARRAY else _value_end(body, begin, stop)
            if end <= begin:
                found[0] = -1
                return
        if mode == LINES and skeleton < 0:
            begin = at  # errors count their characters from the line's start
        records[count, 0], records[count, 1], records[count, 2] = begin, end, skeleton
        count += 1
        if mode == LINES:
            at = stop + 1
            if at > size:
                break
            continue
        at = _after_space(body, end, size)
        if mode == SINGLE:
            if at != size:
                found[0] = -1
                return
            break
        if at >= size or (body[at] != 44 and body[at] != 93):
            found[0] = -1
            return
        if body[at] == 93:
            if _after_space(body, at + 1, size) != size:
                found[0] = -1
                return
            break
        at = _after_space(body, at + 1, size)
    found[0], found[1], found[2] = count, used, kinds
