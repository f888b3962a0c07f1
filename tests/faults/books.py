"""A ledger with usage in it, round by round, and by hand what all of it costs."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from faults.stage import METER, PAYERS
from meterbridge.adapters.ledger import DATABASE_NAME, SqlLedger, open_ledger
from meterbridge.adapters.segments import FolderSegments
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.statements import SignedStatement
from meterbridge.services.metering import import_usage
from meterbridge.services.records import AccountKey, TariffRecord
from meterbridge.services.sealing import seal
from meterbridge.services.statements import make_statements

INPUT_PRICE: Final = 3  # base units a token, as the tariff of the stage says: 3 and 15 dollars a million
OUTPUT_PRICE: Final = 15


class Row(NamedTuple):
    """A row of a usage log."""

    row_number: int
    event: UsageEvent

    def at(self, moment: int) -> UsageEvent:
        """Return the same call at another time, in milliseconds."""
        return replace(self.event, occurred_at=moment)


def write_template(folder: Path, record: TariffRecord) -> None:
    """Make a ledger folder that knows the tariff and its payers."""
    with open_ledger(folder) as ledger:
        register(ledger, record)


def register(ledger: SqlLedger, record: TariffRecord) -> None:
    """Tell a ledger of the tariff and its payers; blinds are the same in every run."""
    ledger.add_tariff(record)
    for number, payer in enumerate(PAYERS):
        blind = hashlib.sha256(f"blind {number}".encode()).digest()
        ledger.open_account(AccountKey(record.domain, record.id, payer.address), blind, f"c{number}")


def copy_template(template: Path, folder: Path) -> SqlLedger:
    """Open a copy of a ledger folder; nobody has the original open."""
    folder.mkdir(parents=True)
    shutil.copyfile(template / DATABASE_NAME, folder / DATABASE_NAME)
    return open_ledger(folder)


@dataclass
class Books:
    """What was used and stated, kept twice: in the product's ledger, and as plain numbers here."""

    ledger: SqlLedger
    segments: FolderSegments
    record: TariffRecord
    random: random.Random
    used: dict[int, tuple[int, int]] = field(default_factory=dict)
    stated: dict[int, tuple[int, int]] = field(default_factory=dict)
    sealed_at: int = 0
    _events: int = 0

    def rows(self, payers: Sequence[int], calls: int = 2) -> list[Row]:
        """Make up some calls of some payers, and count them here."""
        made = []
        for payer in payers:
            for _ in range(calls):
                tokens = self.random.randrange(1, 2_000), self.random.randrange(1, 500)
                before = self.used.get(payer, (0, 0))
                self.used[payer] = (before[0] + tokens[0], before[1] + tokens[1])
                made.append(Row(self._events + 1, self._event(payer, tokens)))
        return made

    def use(self, payers: Sequence[int], calls: int = 2) -> None:
        """Meter some calls of some payers."""
        made = self.rows(payers, calls)
        assert import_usage(self.ledger, self.record, made).added == len(made)

    def state(self, sealed_at: int, signer: LocalSigner = METER) -> list[SignedStatement]:
        """Seal what was used, and sign it; what another than the meter signs counts for nothing."""
        seal(self.ledger, self.segments, self.record.id)
        made = make_statements(self.ledger, self.record, sealed_at, signer)
        if signer is METER:
            self.stated = dict(self.used)
        return made

    def owed(self, payer: int) -> int:
        """Return what a payer's stated usage costs in all, computed by hand."""
        tokens = self.stated.get(payer, (0, 0))
        return tokens[0] * INPUT_PRICE + tokens[1] * OUTPUT_PRICE

    def _event(self, payer: int, tokens: tuple[int, int]) -> UsageEvent:
        self._events += 1
        buckets = {"input": tokens[0], "output": tokens[1]}
        time = 1_790_000_000_000 + self._events
        return UsageEvent("gateway", f"call-{self._events}", time, f"c{payer}", buckets, {"model": "m"})
