"""Whatever is done to a ledger in whatever order, it says what a dictionary says."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from metered_world import TIME, World, event

from meterbridge.domain.receipts import receipt_id
from meterbridge.domain.sum_tree import Head
from meterbridge.domain.units import UsageVector
from meterbridge.services.corrections import CorrectionKind
from meterbridge.services.ledger_errors import Conflict
from meterbridge.services.metering import correct
from meterbridge.services.recovery import rebuild

NUMBERS = st.integers(0, 24)
COUNTS = st.integers(1, 6)


@dataclass
class Known:
    """One event as the model knows it: what it said, and what it counts for."""

    payer: int
    said: int
    counts: int
    corrected: int | None = None
    sealed: bool = False
    credited: bool = False


class LedgerMachine(RuleBasedStateMachine):
    """Imports, corrects, seals, states, reopens and loses databases; the model is a dictionary of events."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.events: dict[int, Known] = {}
        self.time = TIME
        self.statements: list[object] = []
        self.signed: dict[int, UsageVector] = {}

    def teardown(self) -> None:
        self.world.close()
        shutil.rmtree(self.folder)

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=6), count=COUNTS, payer=st.integers(0, 2))
    def take(self, numbers: list[int], count: int, payer: int) -> None:
        report = self.world.take([event(n, f"c{payer}", input=count) for n in numbers], skip_bad=True)
        added = repeated = 0
        for number in numbers:
            known = self.events.get(number)
            if known is None:
                self.events[number] = Known(payer, count, count)
                added += 1
            else:
                repeated += (known.payer, known.said) == (payer, count)
        assert (report.added, report.repeated) == (added, repeated)
        assert len(report.bad) == len(numbers) - added - repeated

    @precondition(lambda self: self.events)
    @rule(data=st.data(), count=st.none() | COUNTS)
    def fix(self, data: st.DataObject, count: int | None) -> None:
        number = data.draw(st.sampled_from(sorted(self.events)))
        known = self.events[number]
        wanted = count or 0
        try:
            done = self.correct(number, known.payer, count)
        except Conflict:
            assert known.credited
            assert known.corrected != wanted
            return
        if known.corrected == wanted:
            assert done is CorrectionKind.REPEATED
        else:
            assert not known.credited
            assert done is (CorrectionKind.CREDITED if known.sealed else CorrectionKind.IN_PLACE)
            known.credited = known.sealed
        known.corrected = known.counts = wanted

    def correct(self, number: int, payer: int, count: int | None) -> CorrectionKind:
        return correct(
            self.world.ledger,
            self.world.segments,
            self.world.accounts[payer],
            receipt_id(self.world.blind(payer), "gateway", f"call-{number:06d}"),
            replacement=None if count is None else UsageVector.of([count] + [0] * 7),
            occurred_at=self.time,
            reason="wrong",
        ).kind

    @rule(limit=st.none() | st.integers(1, 4))
    def seal(self, limit: int | None) -> None:
        self.world.seal(max_receipts=limit)
        for known in self.events.values():
            known.sealed = True
        assert self.world.ledger.pending_count(self.world.record.id) == 0

    @rule()
    def state(self) -> None:
        self.time += 1
        made = self.world.state(self.time)
        self.statements += made
        for signed in made:
            for line in signed.statement.lines:
                payer = [account.payer for account in self.world.accounts].index(line.payer)
                self.signed[payer] = line.usage

    @rule()
    def reopen(self) -> None:
        self.world.close()
        self.world = World(self.folder, fresh=False)

    @rule()
    def lose_the_database(self) -> None:
        self.seal(None)  # what is pending is in no segment, and would be imported again
        self.world.close()
        for file in self.folder.glob("ledger.db*"):
            file.unlink()
        self.world = World(self.folder)
        signers = [self.world.key.address]
        rebuild(self.world.ledger, self.world.segments, self.statements, signers=signers)  # type: ignore[arg-type]

    @invariant()
    def net_usage_is_what_the_events_count_for(self) -> None:
        for payer in range(3):
            expected = sum(known.counts for known in self.events.values() if known.payer == payer)
            ledger = self.world.ledger
            net = ledger.total(self.world.charges(payer)) - ledger.total(self.world.credits(payer))
            assert net == UsageVector.of([expected] + [0] * 7)

    @invariant()
    def what_was_signed_stays_signed(self) -> None:
        last = self.world.ledger.last_signed(self.world.record.id)
        found = {
            self.world.accounts.index(account): (signed.head or Head.empty()).usage()
            for account, signed in last.items()
        }
        assert found == self.signed


LedgerMachine.TestCase.settings = settings(
    max_examples=6, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedger = LedgerMachine.TestCase
