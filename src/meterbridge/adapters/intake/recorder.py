"""From usage events to durable receipts: prepared in the request's thread, committed by the writer's.

Identity is (provider, source, id). The ledger keeps it within a tariff; here it also holds across the
tariffs of one provider. What contradicts a stored event goes to quarantine before anybody is answered.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sqlalchemy.exc import DBAPIError

from meterbridge.adapters.intake.accounts import Accounts
from meterbridge.adapters.intake.columns import Columns, Part
from meterbridge.adapters.intake.group_commit import Bounds, GroupCommit, StorageDown
from meterbridge.adapters.intake.known import KnownTariff, KnownTariffs
from meterbridge.adapters.intake.preparing import prepare
from meterbridge.adapters.intake.quarantine import Held, Quarantine
from meterbridge.adapters.intake.shapes import Body, Refused
from meterbridge.adapters.intake.stored import StoredEvents, event_json
from meterbridge.services.ledger_errors import Conflict, HeadroomExceeded
from meterbridge.services.ports import Ledger
from meterbridge.services.records import ADDED, REPEATED
from meterbridge.services.records import CONFLICT as CONTRADICTS

CONFLICT: Final = "conflict"
LEFT_OUT: Final = 3
Outcome = npt.NDArray[np.int8]
_RACES_MAX: Final = 20
_HASHED_TOGETHER: Final = 64


@dataclass(frozen=True, slots=True)
class Submission:
    """The events of one request, ready to be written.

    Attributes:
        columns: those that can be counted.
        refused: those that cannot, and why.
    """

    tariff: KnownTariff
    columns: Part
    refused: Sequence[Refused]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a submission; everything in it is durable."""

    accepted: int
    repeated: int
    refused: list[Refused]


class Recorder:
    """Takes events and answers once they are durable."""

    def __init__(
        self,
        ledger: Ledger,
        quarantine: Quarantine,
        stored: StoredEvents,
        bounds: Bounds | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Start the writer; `now` gives seconds since 1970."""
        self._ledger = ledger
        self._quarantine = quarantine
        self._now = now
        self._tariffs = KnownTariffs(ledger)
        self._accounts = Accounts(ledger)
        self.stored = stored
        self._down: str | None = None
        self.stored_events = 0
        self._writer = GroupCommit[Submission, Recorded](
            self._commit, lambda submission: len(submission.columns), bounds or Bounds()
        )

    def tariff(self, tariff_id: bytes) -> KnownTariff:
        """Return a tariff; asks the ledger once."""
        return self._tariffs.known(tariff_id)

    def tariffs(self) -> list[KnownTariff]:
        """Return all tariffs, as they were at most two seconds ago."""
        return self._tariffs.all()

    @property
    def waiting(self) -> int:
        """How many events wait or are being written."""
        return self._writer.waiting

    def failing(self) -> Mapping[str, str]:
        """Return what keeps events from being written, by check."""
        if not self._writer.alive:
            return {"writing": "the writer has stopped; restart the service"}
        return {} if self._down is None else {"writing": self._down}

    def prepare(self, tariff: KnownTariff, body: Body) -> Submission:
        """Find payers, measure and hash; what cannot be counted is refused by its index."""
        prepared = prepare(tariff, body, self._accounts)
        columns = prepared.columns
        if len(columns) >= _HASHED_TOGETHER:  # here, beside the writer, which hashes small requests together
            columns = Columns.joined(tariff.id, [columns])
            columns.finish()
        return Submission(tariff, columns, prepared.refused)

    def submit(self, submission: Submission) -> Future[Recorded]:
        """Write a submission; the future is done once it is durable.

        Raises:
            Overloaded, Closed: nothing was taken.
        """
        if not len(submission.columns):
            done: Future[Recorded] = Future()
            done.set_result(Recorded(0, 0, list(submission.refused)))
            return done
        return self._writer.submit(submission)

    def close(self, timeout: float) -> bool:
        """Write what waits and stop; tell whether all was written in time."""
        return self._writer.close(timeout)

    def _commit(self, group: Sequence[Submission]) -> list[Recorded]:
        try:
            results = self._commit_all(group)
        except DBAPIError as error:
            self._down = f"the database refuses: {type(error.orig).__name__}"
            raise StorageDown("the database cannot be written just now; send it again later") from error
        self._down = None
        self.stored_events += sum(result.accepted for result in results)
        return results

    def _commit_all(self, group: Sequence[Submission]) -> list[Recorded]:
        by_tariff: dict[bytes, list[int]] = defaultdict(list)
        for place, submission in enumerate(group):
            by_tariff[submission.tariff.id].append(place)
        results: dict[int, Recorded] = {}
        for places in by_tariff.values():
            written = self._write([group[place] for place in places])
            results.update(zip(places, written, strict=True))
        return [results[place] for place in range(len(group))]

    def _write(self, group: Sequence[Submission]) -> list[Recorded]:
        """Write submissions of one tariff in one transaction; what contradicts goes to quarantine."""
        tariff = group[0].tariff
        columns = Columns.joined(tariff.id, [submission.columns for submission in group])
        away = self.stored.elsewhere(tariff, self.tariffs(), columns.sources, columns.event_ids)
        outcome, reasons = self._store(tariff, columns, away)
        contradicting = np.flatnonzero(outcome == CONTRADICTS).tolist()
        if contradicting:
            self._hold(tariff, columns, contradicting, away)
        results, start = [], 0
        for submission in group:
            end = start + len(submission.columns)
            results.append(_recorded(submission, columns, outcome[start:end].tolist(), start, reasons))
            start = end
        return results

    def _store(
        self, tariff: KnownTariff, columns: Columns, away: Collection[int]
    ) -> tuple[Outcome, dict[int, str]]:
        """Store rows but those in `away`; what would exceed the headroom is left out, with the reason."""
        reasons: dict[int, str] = {}
        outcome = np.full(len(columns), CONTRADICTS, dtype=np.int8)
        races = 0
        while True:
            rows = np.array(
                [row for row in range(len(columns)) if row not in reasons and row not in away], dtype=np.int64
            )
            if not len(rows):
                return outcome, reasons
            try:
                outcome[rows] = self._ledger.add_receipts(columns.intake(rows.tolist()), tariff.headroom)
            except HeadroomExceeded as error:
                for place, reason in error.beyond:  # all of them, whatever the account: the rest fits then
                    row = int(rows[place])
                    reasons[row], outcome[row] = reason, LEFT_OUT
            except Conflict:  # another process stored one of these this very moment: look again
                races += 1
                if races > _RACES_MAX:
                    raise
            else:
                return outcome, reasons

    def _hold(
        self, tariff: KnownTariff, columns: Columns, rows: Sequence[int], away: Mapping[int, bytes]
    ) -> None:
        """Put contradictions into quarantine, each with what is stored under its identity."""
        held = []
        for row in rows:
            event = columns.event_of(row)
            held.append(
                Held(
                    provider=tariff.provider,
                    tariff_id=tariff.id,
                    source=event.source,
                    event_id=event.id,
                    content=columns.finish().contents[row],
                    incoming=event_json(event),
                    stored=self.stored.describe(away.get(row, tariff.id), event.source, event.id),
                )
            )
        self._quarantine.hold(held, int(self._now() * 1000))


def _recorded(
    submission: Submission, columns: Columns, outcome: Sequence[int], start: int, reasons: Mapping[int, str]
) -> Recorded:
    """Return what became of a submission, whose rows begin at `start` in the group's columns."""
    refused = list(submission.refused)
    for row, result in enumerate(outcome, start):
        if result in (ADDED, REPEATED):
            continue
        event_id, index = columns.event_ids[row], int(columns.indexes[row])
        if row in reasons:
            refused.append(Refused(index, "headroom", reasons[row], event_id))
        else:
            named = f"event {event_id!r} of {columns.sources[row]!r}"
            reason = f"{named} is stored with another content; both are kept"
            refused.append(Refused(index, CONFLICT, reason, event_id))
    refused.sort(key=lambda found: found.index)
    return Recorded(outcome.count(ADDED), outcome.count(REPEATED), refused)
