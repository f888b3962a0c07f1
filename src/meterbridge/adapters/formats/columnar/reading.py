"""From a body to columns of events; what needs the ordinary reader is named, not read."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from meterbridge.adapters.formats.cloudevents import is_json_type
from meterbridge.adapters.formats.columnar.counting import BUCKET, COUNTERS, Cannot, Counts
from meterbridge.adapters.formats.columnar.plans import Plan, millis_per, plan_of
from meterbridge.adapters.formats.columnar.scanner import ARRAY, LINES, SINGLE, Scan, scan
from meterbridge.adapters.formats.columnar.texts import iso_times, numbered
from meterbridge.adapters.formats.records import read_records
from meterbridge.adapters.formats.times import PLAUSIBLE_FROM, TimeUnit
from meterbridge.adapters.formats.values import TEXT_CHARS_MAX, parse_json
from meterbridge.domain.arrays import Bytes, Ints
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.events import BUCKETS, UsageEvent
from meterbridge.domain.receipts import LANE_MAX, OCCURRED_AT_MAX, RESERVED_SOURCES, canonical_details

__all__ = ["ARRAY", "LINES", "EventColumns", "read_columns"]
_PLANS_MAX: Final = 1_024
_NOBODY: Final = "nobody"
_TRIES_MAX: Final = 8
_TOTAL: Final = b'"total_tokens":0}'
_NUMBER_MAX: Final = 10**15
"""Larger numbers of seconds are beyond any time, and their milliseconds beyond an int64."""


@dataclass(slots=True)
class EventColumns:
    """Events of one body that could be read at once.

    Attributes:
        body: the bytes that the spans are in.
        count: how many records the body holds, those left to the ordinary reader included.
        left: (l,) which records are left to it, ascending.
        starts, ends: (count,) where each record stands.
        rows: (n,) which record each event is, ascending.
        id_spans: (n, 2) where each event's id stands.
        sources, source_of: texts, and (n,) which of them is each event's.
        payers, payer_of: likewise.
        details, details_of: canonical JSON up to the total's digits, and which is each event's.
        totals: (n,) that stand in the details.
        occurred_at: (n,) milliseconds since 1970.
        buckets: (n, 14) in the order of `BUCKETS`.
    """

    body: Bytes
    count: int
    left: Ints
    starts: Ints
    ends: Ints
    rows: Ints
    id_spans: Ints
    sources: list[str]
    source_of: Ints
    payers: list[str]
    payer_of: Ints
    details: list[str]
    details_of: Ints
    totals: Ints
    occurred_at: Ints
    buckets: Ints

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, index: int) -> bytes:
        """Return the bytes of one of the body's records."""
        return self.body[self.starts[index] : self.ends[index]].tobytes()

    def event(self, row: int) -> UsageEvent:
        """Return one event as a value."""
        start, end = self.id_spans[row].tolist()
        counts = self.buckets[row].tolist()
        return UsageEvent(
            source=self.sources[self.source_of[row]],
            id=self.body[start:end].tobytes().decode(),
            occurred_at=int(self.occurred_at[row]),
            payer=self.payers[self.payer_of[row]],
            buckets={name: count for name, count in zip(BUCKETS, counts, strict=True) if count},
            details=parse_json(f"{self.details[self.details_of[row]]}{self.totals[row]}}}"),
        )


Coded = tuple[list[str], Ints]
"""Texts, and which of them is each event's."""


@dataclass(slots=True)
class _Part:
    """The events of one skeleton; rows and spans are those of the whole body."""

    rows: Ints
    id_spans: Ints
    sources: Coded
    payers: Coded
    details: Coded
    totals: Ints
    occurred_at: Ints
    buckets: Ints


class _Plans:
    """Plans by skeleton; a skeleton for which there is none is remembered as well."""

    def __init__(self) -> None:
        self._known: dict[bytes, Plan | None] = {}
        self._tries: Counter[bytes] = Counter()

    def of(self, skeleton: bytes, record: bytes) -> Plan | None:
        """Return the plan of a skeleton, worked out on one of its records."""
        known = self._known.get(skeleton, _UNKNOWN)
        if not isinstance(known, str):
            return known
        plan, certain = _checked_plan(record)
        self._tries[skeleton] += 1
        if certain or self._tries[skeleton] >= _TRIES_MAX:
            if len(self._known) >= _PLANS_MAX:
                self._known.clear()  # whoever sends so many shapes pays for it
                self._tries.clear()
            self._known[skeleton] = plan
        return plan


_UNKNOWN: Final = "unknown"
_plans: Final = _Plans()


def _checked_plan(record: bytes) -> tuple[Plan | None, bool]:
    """Work out a plan, and keep it only if it gives what the ordinary reader gives.

    Returns:
        The plan, and whether the answer holds for all records of the skeleton, not only for this bad one.
    """
    try:
        found = parse_json(record)
        plan = plan_of(found)
    except (Cannot, MeterbridgeError):
        return None, True
    try:
        (event,) = read_records(found, _NOBODY)
    except MeterbridgeError:
        return None, False
    cut = scan(record, SINGLE)
    if cut is None or len(cut) != 1:
        return None, True
    try:
        whole = _joined(cut, [_part(cut, np.zeros(1, dtype=np.int64), plan, _NOBODY)])
    except Cannot:
        return None, True
    if not len(whole):
        return None, False  # written in a rare way; the next may not be
    return (plan if whole.event(0) == event else None), True


def read_columns(body: bytes, mode: int, source: str) -> EventColumns | None:
    """Read a body of several records; None where the ordinary reader must take the whole of it.

    Args:
        body: unpacked.
        mode: `LINES` or `ARRAY`.
        source: who reports what names no source itself.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return None
    found = scan(body.removeprefix(b"\xef\xbb\xbf") if mode == LINES else body, mode)
    if found is None:
        return None
    parts = []
    for number, skeleton in enumerate(found.skeletons):
        rows = np.flatnonzero(found.skeleton_of == number)
        first = int(rows[0])
        plan = _plans.of(skeleton, found.body[found.starts[first] : found.ends[first]].tobytes())
        if plan is not None:
            parts.append(_part(found, rows, plan, source))
    return _joined(found, parts)


def _joined(found: Scan, parts: Sequence[_Part]) -> EventColumns:
    """Put the events of all skeletons into the order of their records."""
    rows = np.concatenate([np.empty(0, dtype=np.int64), *(part.rows for part in parts)])
    order = np.argsort(rows, kind="stable")
    left = np.ones(len(found), dtype=np.bool_)
    left[rows] = False
    sources, source_of = _recoded([part.sources for part in parts])
    payers, payer_of = _recoded([part.payers for part in parts])
    details, details_of = _recoded([part.details for part in parts])
    nothing, none = np.empty(0, dtype=np.int64), np.empty((0, len(BUCKETS)), dtype=np.int64)
    return EventColumns(
        body=found.body,
        count=len(found),
        left=np.flatnonzero(left),
        starts=found.starts,
        ends=found.ends,
        rows=rows[order],
        id_spans=np.concatenate([none[:, :2], *(part.id_spans for part in parts)])[order],
        sources=sources,
        source_of=source_of[order],
        payers=payers,
        payer_of=payer_of[order],
        details=details,
        details_of=details_of[order],
        totals=np.concatenate([nothing, *(part.totals for part in parts)])[order],
        occurred_at=np.concatenate([nothing, *(part.occurred_at for part in parts)])[order],
        buckets=np.concatenate([none, *(part.buckets for part in parts)])[order],
    )


def _recoded(coded: Sequence[Coded]) -> Coded:
    texts: list[str] = []
    numbers = [np.empty(0, dtype=np.int64)]
    for some, which in coded:
        numbers.append(which + len(texts))
        texts += some
    return texts, np.concatenate(numbers)


class _Slots:
    """The values of one skeleton's records, by slot; marks rows that only the ordinary reader can judge."""

    def __init__(self, found: Scan, rows: Ints) -> None:
        self._found, self._base = found, found.first_value[rows]
        self.fine: npt.NDArray[np.bool_] = np.ones(len(rows), dtype=np.bool_)

    def numbers(self, slot: int) -> Ints:
        """Return the numbers of a slot."""
        found: Ints = self._found.values[self._base + slot, 0]
        return found

    def spans(self, slot: int) -> Ints:
        """Return where the texts of a slot stand; empty ones and endless ones are marked."""
        spans = self._found.values[self._base + slot]
        size = spans[:, 1] - spans[:, 0]
        self.fine &= (size > 0) & (size <= TEXT_CHARS_MAX)
        return spans

    def texts(self, slot: int) -> Coded:
        """Return the texts of a slot, equal ones once."""
        numbers, texts = numbered(self._found.body, self.spans(slot))
        return [text.decode() for text in texts], numbers

    def require(self, slot: int, allowed: Callable[[str], bool]) -> None:
        """Mark rows whose text is not allowed."""
        texts, numbers = self.texts(slot)
        self.fine &= np.array([allowed(text) for text in texts], dtype=np.bool_)[numbers]

    def times(self, slot: int, unit: TimeUnit | None) -> Ints:
        """Return milliseconds since 1970."""
        if unit is None:
            times = iso_times(self._found.body, self.spans(slot))
            self.fine &= times >= 0
            return times
        numbers = self.numbers(slot)
        self.fine &= numbers <= _NUMBER_MAX
        by, per = millis_per(unit)
        times = np.minimum(numbers, _NUMBER_MAX) * by // per
        self.fine &= (times >= PLAUSIBLE_FROM) & (times <= OCCURRED_AT_MAX)
        return times


def _part(found: Scan, rows: Ints, plan: Plan, source: str) -> _Part:
    """Read the records of one skeleton.

    Raises:
        Cannot: when its usage object has keys that only the ordinary reader knows.
    """
    slots = _Slots(found, rows)
    for slot, text in plan.equal.items():
        slots.require(slot, partial(operator.eq, text))
    if plan.media_type is not None:
        slots.require(plan.media_type, is_json_type)
    for slot in plan.filled:
        slots.spans(slot)
    sources: Coded = ([source], np.zeros(len(rows), dtype=np.int64))
    if plan.source is not None:
        sources = slots.texts(plan.source)
    slots.fine &= np.array([text not in RESERVED_SOURCES for text in sources[0]], dtype=np.bool_)[sources[1]]
    buckets, totals = _counted(slots, plan, len(rows))
    details = _details(slots, plan, len(rows))
    columns = (
        *(rows, slots.spans(plan.identity), sources[1], *(payers := slots.texts(plan.payer))[1:]),
        *(details[1], totals, slots.times(*plan.time), buckets),
    )
    rows, spans, source_of, payer_of, details_of, totals, times, buckets = (c[slots.fine] for c in columns)
    return _Part(
        rows=rows,
        id_spans=spans,
        sources=(sources[0], source_of),
        payers=(payers[0], payer_of),
        details=(details[0], details_of),
        totals=totals,
        occurred_at=times,
        buckets=buckets,
    )


def _counted(slots: _Slots, plan: Plan, size: int) -> tuple[Ints, Ints]:
    """Return (n, 14) buckets and (n,) totals."""
    counts = Counts(size, {path: slots.numbers(slot) for path, slot in plan.counts.items()}, plan.keys)
    counted = COUNTERS[plan.shape](counts)
    buckets = np.zeros((size, len(BUCKETS)), dtype=np.int64)
    for name, column in counted.buckets.items():
        buckets[:, BUCKET[name]] = column
    slots.fine &= counts.fine & (counted.total <= LANE_MAX)
    return buckets, counted.total


def _details(slots: _Slots, plan: Plan, size: int) -> Coded:
    """Return canonical details up to the digits of their total, which stands last in them."""
    names = list(plan.kept)
    coded = [slots.texts(plan.kept[name]) for name in names]
    mixed = np.zeros(size, dtype=np.int64)
    for texts, numbers in coded:
        _, mixed = np.unique(mixed * len(texts) + numbers, return_inverse=True)
    _, firsts, numbers = np.unique(mixed, return_index=True, return_inverse=True)
    prefixes = []
    for row in firsts.tolist():
        kept = {name: texts[of[row]] for name, (texts, of) in zip(names, coded, strict=True)}
        whole = canonical_details({"shape": plan.shape, "total_tokens": 0, **kept})
        if not whole.endswith(_TOTAL):
            raise Cannot
        prefixes.append(whole.removesuffix(b"0}").decode())
    return prefixes, numbers
