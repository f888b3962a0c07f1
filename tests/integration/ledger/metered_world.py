"""A small provider with payers, events and a key, for the tests of the usage side; no test itself.

Everything follows from the seed, blinds included, so that two worlds can be compared byte by byte.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eth_keys import keys

from meterbridge.adapters.ledger import SqlLedger, open_ledger
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.addresses import Address
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import Domain, SignedStatement
from meterbridge.domain.tariffs import terms_document
from meterbridge.domain.terms import tariff_from_document
from meterbridge.services.metering import ImportReport, import_usage
from meterbridge.services.records import AccountKey, BatchRecord, LogKey, LogKind, TariffRecord
from meterbridge.services.sealing import seal
from meterbridge.services.statements import make_statements

DOCUMENT: dict[str, Any] = {
    "meterbridge": 1,
    "name": "test model",
    "currency": {"symbol": "USDC", "decimals": 6},
    "meters": [
        {"name": "input", "buckets": ["input", "tool_prompt"], "price": "3.00", "per": 1_000_000},
        {"name": "output", "buckets": ["output", "reasoning"], "price": "15.00", "per": 1_000_000},
        {
            "name": "cache",
            "buckets": ["cache_read"],
            "price": "0.30",
            "per": 1_000_000,
            "headroom": "1000000",
        },
    ],
    "text": "terms of the tests",
}
TIME = 1_790_000_000


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


class Row(NamedTuple):
    """A row as a reader gives it."""

    row_number: int
    event: UsageEvent


class Refused(NamedTuple):
    """A row that a reader could not use."""

    row_number: int
    value: object
    reason: str


class Key:
    """A statement signer with a key in memory, apart from the signers of the product."""

    def __init__(self, number: int = 1) -> None:
        self._key = keys.PrivateKey(number.to_bytes(32, "big"))
        self.address = Address(self._key.public_key.to_canonical_address())

    def sign_digest(self, digest: bytes) -> bytes:
        signature = self._key.sign_msg_hash(digest).to_bytes()
        return signature[:64] + bytes([signature[64] + 27])


def tariff_record(document: dict[str, Any] = DOCUMENT, parties: int = 3) -> TariffRecord:
    table = PartyTable([Party(address(0x200 + i), i % 5 + 1, 10 + i) for i in range(parties)])
    split = table.split(address(0x100))
    tariff = tariff_from_document(document, address(0x300), split.id, 9, 3600)
    return TariffRecord(Domain(31337, address(0x400)), tariff, split, table.parties, terms_document(document))


def event(number: int, customer: str, **buckets: int) -> UsageEvent:
    return UsageEvent(
        "gateway",
        f"call-{number:06d}",
        1_700_000_000_000 + number,
        customer,
        buckets,
        {"model": f"m{number % 3}"},
    )


def rows(events: Iterable[UsageEvent], first: int = 1) -> list[Row]:
    return [Row(number, found) for number, found in enumerate(events, first)]


class World:
    """One ledger folder."""

    def __init__(
        self, folder: Path, payers: int = 3, document: dict[str, Any] = DOCUMENT, *, fresh: bool = True
    ) -> None:
        self.folder = folder
        self.record = tariff_record(document)
        self.ledger: SqlLedger = open_ledger(folder)
        self.segments = FolderSegments(folder / "segments")
        self.key = Key()
        self.accounts = [
            AccountKey(self.record.domain, self.record.id, address(0x1000 + i)) for i in range(payers)
        ]
        if fresh:
            self.ledger.add_tariff(self.record)
            for i, account in enumerate(self.accounts):
                self.ledger.open_account(account, hashlib.sha256(f"blind {i}".encode()).digest(), f"c{i}")

    def events(self, count: int, first: int = 0, seed: int = 7) -> list[UsageEvent]:
        made = []
        for number in range(first, first + count):
            chance = random.Random(f"{seed} {number}")
            customer = f"c{min(chance.randrange(len(self.accounts) + 2), len(self.accounts) - 1)}"
            made.append(
                event(
                    number,
                    customer,
                    input=chance.randrange(1, 5000),
                    output=chance.randrange(900),
                    cache_read=7,
                )
            )
        return made

    def take(self, events: Sequence[UsageEvent], **options: Any) -> ImportReport:
        return import_usage(self.ledger, self.record, rows(events), **options)

    def seal(self, **options: Any) -> list[BatchRecord]:
        return seal(self.ledger, self.segments, self.record.id, **options)

    def state(self, sealed_at: int = TIME) -> list[SignedStatement]:
        return make_statements(self.ledger, self.record, sealed_at, self.key)

    def charges(self, payer: int = 0) -> LogKey:
        return LogKey(self.accounts[payer], LogKind.CHARGES)

    def credits(self, payer: int = 0) -> LogKey:
        return LogKey(self.accounts[payer], LogKind.CREDITS)

    def logs(self) -> list[LogKey]:
        return [LogKey(account, kind) for account in self.accounts for kind in LogKind]

    def blind(self, payer: int = 0) -> bytes:
        return self.ledger.account(self.accounts[payer]).blind

    def sealed_receipts(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        """Return all sealed receipts by log and id, straight from the segments; each at most once."""
        found: dict[tuple[str, str], tuple[Any, ...]] = {}
        for name in self.segments.names():
            segment = self.segments.get(name)
            log = segment.meta.batch.log
            for i in range(len(segment.table)):
                receipt = segment.table.receipts.receipt(i)
                key = (f"{log.account.payer} {log.kind}", receipt.id.hex())
                assert key not in found, f"{key} is sealed twice"
                found[key] = (
                    receipt,
                    segment.table.sources[i],
                    segment.table.event_ids[i],
                    segment.table.details[i],
                )
        return found

    def close(self) -> None:
        self.ledger.close()
