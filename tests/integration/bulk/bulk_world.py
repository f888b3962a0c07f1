"""A provider with payers and files of calls, for the tests of bulk sealing; no test itself.

`expected` seals the same calls with the domain's own values, one object at a time.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.folder import BulkFolder, open_bulk
from meterbridge.adapters.bulk.scan import Files, scan_files
from meterbridge.adapters.formats import ColumnMap
from meterbridge.domain.addresses import Address
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.receipts import Receipt, ReceiptColumns, batch_tree, details_hash, receipt_id
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import Domain
from meterbridge.domain.sum_tree import SumNode
from meterbridge.domain.tariffs import terms_document
from meterbridge.domain.terms import tariff_from_document
from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk.sealing import SealOptions, SealReport
from meterbridge.services.records import AccountKey, TariffRecord

DOCUMENT: dict[str, Any] = {
    "meterbridge": 1,
    "name": "test model",
    "currency": {"symbol": "USDC", "decimals": 6},
    "meters": [
        {"name": "input", "buckets": ["input"], "price": "3.00", "per": 1_000_000},
        {"name": "output", "buckets": ["output", "reasoning"], "price": "15.00", "per": 1_000_000},
        {"name": "cache", "buckets": ["cache_read"], "price": "0.30", "per": 1_000_000},
    ],
    "text": "terms of the tests",
}
START = 1_790_000_000_000
COLUMNS = ("source", "id", "time", "customer", "model", "input", "output", "reasoning", "cached")
MAP = ColumnMap.parse(
    "source=source id=id time_ms=time payer=customer model?=model "
    "input=input output=output reasoning?=reasoning cache_read=cached"
)


class Call(NamedTuple):
    """One call as a file says it."""

    source: str
    id: str
    time: int
    customer: str
    model: str | None
    input: int
    output: int
    reasoning: int | None
    cached: int

    def usage(self) -> UsageVector:
        return UsageVector.of([self.input, self.output + (self.reasoning or 0), self.cached, 0, 0, 0, 0, 0])

    def event(self) -> UsageEvent:
        counts = {"input": self.input, "output": self.output, "reasoning": self.reasoning or 0}
        details = {} if self.model is None else {"model": self.model}
        buckets = {bucket: n for bucket, n in {**counts, "cache_read": self.cached}.items() if n}
        return UsageEvent(self.source, self.id, self.time, self.customer, buckets, details)


def make_calls(count: int, payers: int, seed: int = 1) -> list[Call]:
    """Make calls of payers whose shares fall by half, so that some have many and some have few."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        payer = min(int(-3 * chance.random() ** 0.5 * chance.expovariate(-1)) % payers, payers - 1)
        found.append(
            Call(
                chance.choice(["gateway-eu", "gateway-us"]),
                f"{seed}-{number}-" + "x" * chance.randrange(0, 50),
                START + chance.randrange(30 * 86_400_000),
                f"c{payer}",
                chance.choice(["small", "large", None]),
                chance.randrange(1, 8000),
                chance.randrange(2000),
                chance.choice([None, 0, chance.randrange(900)]),
                chance.randrange(50_000),
            )
        )
    return found


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


def tariff_record() -> TariffRecord:
    table = PartyTable([Party(address(0x200 + i), i % 5 + 1, 10 + i) for i in range(3)])
    split = table.split(address(0x100))
    tariff = tariff_from_document(DOCUMENT, address(0x300), split.id, 9, 3600)
    return TariffRecord(Domain(31337, address(0x400)), tariff, split, table.parties, terms_document(DOCUMENT))


def blind(payer: int) -> bytes:
    return hashlib.sha256(f"blind {payer}".encode()).digest()


def receipt_of(call: Call) -> Receipt:
    id_ = receipt_id(blind(int(call.customer[1:])), call.source, call.id)
    details = details_hash(None if call.model is None else {"model": call.model})
    return Receipt(id_, call.time, call.usage(), details)


def expected(calls: Iterable[Call]) -> dict[str, tuple[int, SumNode]]:
    """Return size and root of each customer's batch."""
    found: dict[str, dict[bytes, Receipt]] = {}
    for call in calls:
        receipt = receipt_of(call)
        found.setdefault(call.customer, {})[receipt.id] = receipt
    return {
        customer: (len(batch), batch_tree(ReceiptColumns.of([batch[i] for i in sorted(batch)])).root)
        for customer, batch in found.items()
    }


def write_parquet(path: Path, calls: Sequence[Call], row_group: int = 1000) -> Path:
    columns = dict(zip(COLUMNS, zip(*calls, strict=True), strict=True))
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path, row_group)
    return path


def write_csv(path: Path, calls: Sequence[Call]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(["" if cell is None else cell for cell in call] for call in calls)
    return path


def write_ndjson(path: Path, calls: Sequence[Call]) -> Path:
    rows = [{k: v for k, v in zip(COLUMNS, call, strict=True) if v is not None} for call in calls]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class BulkWorld:
    """One ledger folder, open for bulk sealing."""

    def __init__(self, folder: Path, opened: BulkFolder, payers: int) -> None:
        self.folder, self.bulk = folder, opened
        self.record = tariff_record()
        self.keys = [
            AccountKey(self.record.domain, self.record.id, address(0x1000 + i)) for i in range(payers)
        ]
        opened.ledger.add_tariff(self.record)
        for number, key in enumerate(self.keys):
            opened.ledger.open_account(key, blind(number), f"c{number}")

    def seal(self, *paths: Path, column_map: ColumnMap | None = MAP, **options: Any) -> SealReport:
        files = {k: options.pop(k) for k in ("source", "payer", "latest") if k in options}
        return self.seal_files(Files(paths, column_map, **files), **options)

    def seal_files(self, files: Files, **options: Any) -> SealReport:
        return self.bulk.sealing.seal(self.record.id, scan_files(files), SealOptions(**options))

    def roots(self, report: SealReport) -> dict[str, tuple[int, SumNode]]:
        names = {key.payer: f"c{number}" for number, key in enumerate(self.keys)}
        return {names[b.log.account.payer]: (b.size, b.root) for b in report.batches}


@contextmanager
def bulk_world(folder: Path, payers: int = 5) -> Iterator[BulkWorld]:
    with open_bulk(folder) as opened:
        yield BulkWorld(folder, opened, payers)
