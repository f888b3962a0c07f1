"""The demo's usage log: where it comes from, who pays for which call, and what it will cost."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from meterbridge.adapters.formats import BadRow, ColumnMap, Row, read_usage
from meterbridge.adapters.formats.sample import make_sample_log
from meterbridge.domain.events import MeterMap, UsageEvent
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import LANES, AssetAmount, UsageVector
from meterbridge.entrypoints.demo.setting import CALLS, CUSTOMERS, ROUNDS, SEED
from meterbridge.services.ledger_errors import BadUsage

_NAMES: Final = tuple(customer.name for customer in CUSTOMERS)
_DEALT: Final = tuple(i for i, customer in enumerate(CUSTOMERS) for _ in range(customer.calls))


@dataclass(frozen=True, slots=True)
class UsageLog:
    """A usage log that can be read again from its start.

    Attributes:
        file: where it is.
        made: whether the demo made it itself.
        column_map: what its columns mean; None where the file says so itself.
        skip_bad: go on after rows that cannot be read.
    """

    file: Path
    made: bool
    column_map: ColumnMap | None = None
    skip_bad: bool = False

    @classmethod
    def sample(cls, folder: Path) -> UsageLog:
        """Make the seeded log of 20,000 calls in the shapes of three providers, unless it is there."""
        file = folder / "usage.ndjson"
        if not file.exists():
            unfinished = file.with_suffix(".part")
            with unfinished.open("w", encoding="utf-8") as out:
                out.writelines(make_sample_log(CALLS, SEED))
            unfinished.rename(file)
        return cls(file, made=True)

    def rows(self) -> Iterator[Row]:
        """Read it from the start."""
        return read_usage(self.file, column_map=self.column_map)


def customer_of(event: UsageEvent) -> str:
    """Return which of the three payers a call belongs to.

    Logs without payers, or with others than the demo's, are dealt out by the event's id: the same call goes
    to the same payer each time.
    """
    if event.payer in _NAMES:
        return str(event.payer)
    key = event.id if event.payer is None else event.payer
    return _NAMES[_DEALT[zlib.crc32(key.encode()) % len(_DEALT)]]


@dataclass(slots=True)
class Forecast:
    """What each payer will have used by the end of each round, found by reading the log once.

    Attributes:
        rows: all rows, bad ones included.
        bad: rows that cannot be read.
    """

    rows: int = 0
    bad: int = 0
    _payers: array[int] = field(default_factory=lambda: array("b"))
    _lanes: array[int] = field(default_factory=lambda: array("q"))

    @property
    def rounds(self) -> int:
        """How many rounds the log is sealed in."""
        return min(ROUNDS, self.rows)

    def ends(self, round_: int) -> int:
        """Return after how many rows a round ends."""
        return self.rows * (round_ + 1) // self.rounds

    def add(self, row: Row, meters: MeterMap) -> None:
        """Count one row."""
        self.rows += 1
        if isinstance(row, BadRow):
            self.bad += 1
            self._payers.append(-1)
            self._lanes.extend([0] * LANES)
            return
        self._payers.append(_NAMES.index(customer_of(row.event)))
        self._lanes.extend(meters.measure(row.event.buckets).lanes)

    def usage(self, customer: str, round_: int) -> UsageVector:
        """Return a payer's cumulative usage at the end of a round."""
        end = self.ends(round_)
        mine = np.frombuffer(self._payers, dtype=np.int8)[:end] == _NAMES.index(customer)
        lanes = np.frombuffer(self._lanes, dtype=np.int64).reshape(-1, LANES)[:end][mine]
        # Halves cannot wrap, whatever the counts; the whole numbers are put together in Python.
        high, low = (lanes >> 32).sum(axis=0), (lanes & 0xFFFFFFFF).sum(axis=0)
        return UsageVector.of((int(h) << 32) + int(w) for h, w in zip(high, low, strict=True))


def forecast(log: UsageLog, meters: MeterMap, advance: Callable[[int], None]) -> Forecast:
    """Read a log once and count what each payer will have used.

    Raises:
        BadUsage: naming the first row that cannot be read, unless the log says to skip those.
    """
    found = Forecast()
    for row in log.rows():
        if isinstance(row, BadRow) and not log.skip_bad:
            raise BadUsage(row.row_number, row.reason, row.value)
        found.add(row, meters)
        advance(1)
    if found.rows == found.bad:
        raise BadUsage(0, f"no row of {log.file} can be read", str(log.file))
    return found


def rounds_of(log: UsageLog, plan: Forecast, first: int) -> Iterator[Iterator[Row]]:
    """Yield the rows of each round from round `first` on; each must be read before the next."""
    rows = log.rows()
    done = plan.ends(first - 1) if first else 0
    for _ in islice(rows, done):
        pass
    for round_ in range(first, plan.rounds):
        start = plan.ends(round_ - 1) if round_ else 0
        yield islice(rows, plan.ends(round_) - start)


def deposits(plan: Forecast, tariff: Tariff) -> dict[str, AssetAmount]:
    """Return what each payer deposits at first: two have enough, the last runs dry before the end."""
    last, held = plan.rounds - 1, max(0, plan.rounds - 2)
    acme, globex, initech = (tariff.price_down(plan.usage(name, last)).base_units for name in _NAMES)
    covered = tariff.price_down(plan.usage("initech", held - 1)).base_units if held else 0
    at_hold = tariff.price_down(plan.usage("initech", held)).base_units
    dry = (covered + at_hold) // 2 if plan.rounds > 1 else initech
    amounts = (acme * 3 // 2, globex * 6 // 5, dry)
    return {name: AssetAmount(max(1, amount)) for name, amount in zip(_NAMES, amounts, strict=True)}


def top_up(plan: Forecast, tariff: Tariff) -> AssetAmount:
    """Return what the payer that ran dry needs in all, with a fifth to spare."""
    return AssetAmount(max(1, tariff.price_down(plan.usage("initech", plan.rounds - 1)).base_units * 6 // 5))
