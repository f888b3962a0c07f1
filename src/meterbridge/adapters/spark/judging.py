"""Second task: all events of a range of keys, told apart by what is new, repeated or contradicted.

What is new goes on, in the order of its batches; its keys become a piece of the seal's index of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from meterbridge.adapters.bulk.events import EventIndex
from meterbridge.adapters.spark.cells import COLUMNS, count_cells, fineness
from meterbridge.adapters.spark.packs import Kind, Message, Pack, by_place, joined, origin_of, read_messages
from meterbridge.adapters.spark.work import RANGE_RECEIPTS, Work
from meterbridge.domain.arrays import Ints, Words
from meterbridge.services.bulk.judging import Verdict, judge_all
from meterbridge.services.bulk.pool import ReceiptPool
from meterbridge.services.bulk.runs import PoolRun
from meterbridge.services.bulk.sealing import conflict_reason

PIECE = "piece"


def judge_ranges(work: Work, batches: Iterable[Any]) -> Iterator[Message]:
    """Yield what is new of each range of keys, and what was found of it; the rest passes through."""
    known = [place.open() for place in work.known]
    for place, messages in by_place(read_messages(batches)):
        yield from (message for message in messages if message.kind is not Kind.RECEIPTS)
        packs = [Pack.of(message) for message in messages if message.kind is Kind.RECEIPTS]
        del messages
        if packs:
            yield from _judge(work, known, place, joined(packs))


def _judge(work: Work, known: Sequence[EventIndex], place: int, pack: Pack) -> Iterator[Message]:
    pool = ReceiptPool.of(pack.rows, pack.keys, pack.texts, [])
    counts = np.bincount(pack.rows["account"], minlength=len(work.accounts)).astype(np.int64)
    run = PoolRun(pool, counts)
    with work.attempts.writing(f"{PIECE}-{place:05d}") as attempt, attempt.path.open("wb") as file:

        def keep(entries: Words) -> None:
            file.write(np.ascontiguousarray(entries).data)

        verdict = judge_all([run], known, len(work.accounts), keep, threads=1)
    kept, bits = int(verdict.counts.sum()), fineness(verdict.counts * work.ranges)
    cells = []
    for first in range(0, kept, RANGE_RECEIPTS):
        receipts = run.read(first, min(kept, first + RANGE_RECEIPTS))
        receipts.rows["event_start"] = receipts.offsets[:-1]
        none = np.empty((0, 3), dtype=np.uint64), np.empty(0, dtype=np.int64)
        some = Pack(receipts.rows, receipts.texts, *none, pack.sources, pack.details, [])
        cells.append(count_cells(some.rows, bits))
        yield some.slice(0, len(some.rows)).message(place)
    yield from _conflicts(verdict, pack, run)
    said = {"piece": attempt.name, "entries": kept, "repeated": verdict.repeated}
    counted = np.concatenate(cells) if cells else np.empty((0, COLUMNS), dtype=np.int64)
    yield Message(place, Kind.VERDICT, said, rows=counted.tobytes())


def _conflicts(verdict: Verdict, pack: Pack, run: PoolRun) -> Iterator[Message]:
    for _, number in verdict.conflicts:
        row, event_id = run.receipt(number)
        file, row_number = origin_of(pack, number)
        reason = conflict_reason(pack.sources[int(row["source"])], event_id)
        said = {"file": file, "row": row_number, "reason": reason, "id": event_id, "value": event_id}
        yield Message(0, Kind.BAD_ROW, {**said, "conflict": True})


def counted_cells(messages: Sequence[Message]) -> Ints:
    """Return the receipts of all verdicts by cell; see `count_cells`."""
    tables = [np.frombuffer(message.rows, dtype=np.int64).reshape(-1, COLUMNS) for message in messages]
    return np.concatenate(tables) if tables else np.empty((0, COLUMNS), dtype=np.int64)
