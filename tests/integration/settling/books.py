"""A ledger with accounts whose logs grow as a test says, so that statements can be made; no test itself."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, text

from meterbridge.adapters.ledger import SqlLedger, open_ledger
from meterbridge.adapters.postgres import PostgresDatabase
from meterbridge.adapters.segments import FolderSegments
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import Domain, SignedStatement
from meterbridge.domain.tariffs import terms_document
from meterbridge.domain.terms import tariff_from_document
from meterbridge.services.corrections import correct
from meterbridge.services.metering import import_usage
from meterbridge.services.records import AccountKey, TariffRecord
from meterbridge.services.sealing import seal
from meterbridge.services.statements import make_statements

METER = LocalSigner(b"\x07" * 32)
DOMAIN = Domain(31337, Address(b"\x41" * 20))
THAW_PERIOD = 3_600
DOCUMENT: dict[str, Any] = {
    "meterbridge": 1,
    "name": "one base unit a token",
    "currency": {"symbol": "USD", "decimals": 6},
    "meters": [{"name": "input", "buckets": ["input"], "price": "1", "per": 1_000_000}],
    "text": "",
}


def tariff_record(
    domain: Domain = DOMAIN, provider: Address | None = None, asset: Address | None = None
) -> TariffRecord:
    """Return a tariff that asks for one base unit a token."""
    parties = (Party(Address(b"\x21" * 20), 1, 60), Party(Address(b"\x22" * 20), 2, 40))
    split = PartyTable(parties).split(asset or Address(b"\x31" * 20))
    tariff = tariff_from_document(DOCUMENT, provider or Address(b"\x11" * 20), split.id, 6, THAW_PERIOD)
    return TariffRecord(domain, tariff, split, parties, terms_document(DOCUMENT))


@dataclass(frozen=True, slots=True)
class Row:
    row_number: int
    event: UsageEvent


def fresh_database(url: str) -> str:
    """Make an empty database on a PostgreSQL server and return its URL."""
    name = f"test_{uuid4().hex}"
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.rsplit("/", 1)[0] + "/" + name


def open_books(folder: Path, database: str | None) -> SqlLedger:
    """Open a ledger in a folder, or on a PostgreSQL database."""
    return open_ledger(folder) if database is None else SqlLedger(PostgresDatabase.open(database))


@dataclass
class Books:
    """One ledger."""

    folder: Path
    record: TariffRecord = field(default_factory=tariff_record)
    database: str | None = None
    numbers: Any = field(default_factory=itertools.count)
    events: dict[tuple[Address, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = open_books(self.folder, self.database)
        self.segments = FolderSegments(self.folder / "segments")
        self.ledger.add_tariff(self.record)

    def use(self, tokens: dict[Address, int]) -> None:
        """Count tokens of payers, and seal them."""
        known = {account.key.payer for account in self.ledger.accounts(self.record.id)}
        for payer in tokens:
            if payer not in known:
                key = AccountKey(self.record.domain, self.record.id, payer)
                self.ledger.open_account(key, hashlib.sha256(payer.raw).digest(), payer.raw.hex())
        rows = [Row(n, self._event(n, payer, count)) for n, (payer, count) in enumerate(tokens.items(), 1)]
        report = import_usage(self.ledger, self.record, rows)
        assert not report.bad, report.bad
        seal(self.ledger, self.segments, self.record.id)

    def take_back(self, payer: Address, tokens: int) -> None:
        """Void an event of a payer with so many tokens, and seal that."""
        event_id = self.events.pop((payer, tokens))
        located = self.ledger.locate(self.record.id, "gateway", event_id)
        assert located is not None
        log, receipt_id = located
        told = {"replacement": None, "occurred_at": 1_700_000_000_000, "reason": "counted twice"}
        correct(self.ledger, self.segments, log.account, receipt_id, **told)
        seal(self.ledger, self.segments, self.record.id)

    def state(self, sealed_at: int, **options: Any) -> list[SignedStatement]:
        return make_statements(self.ledger, self.record, sealed_at, METER, **options)

    def _event(self, number: int, payer: Address, tokens: int) -> UsageEvent:
        event_id = self.events[payer, tokens] = f"call-{next(self.numbers):08d}"
        return UsageEvent(
            "gateway",
            event_id,
            1_700_000_000_000 + number,
            payer.raw.hex(),
            {"input": tokens},
            {"model": "m"},
        )


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))
