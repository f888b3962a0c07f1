"""Made-up calls of many payers, as Parquet: what the benchmarks of sealing read; no benchmark itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meterbridge.adapters.formats import ColumnMap
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import Domain
from meterbridge.domain.tariffs import terms_document
from meterbridge.domain.terms import tariff_from_document
from meterbridge.services.records import TariffRecord

MAP: Final = ColumnMap.parse(
    "source=source id=event_id time_ms=occurred_at payer=payer model=model "
    "input=input cache_read=cache_read output=output reasoning=reasoning"
)
START: Final = 1_790_000_000_000
ROW_GROUP: Final = 1 << 18
_SOURCES: Final = ["gateway-eu", "gateway-us", "gateway-ap", "batch"]
_LETTERS: Final = np.frombuffer(
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_", dtype=np.uint8
)
_METERS: Final[list[dict[str, Any]]] = [
    {"name": "input", "buckets": ["input"], "price": "3.00", "per": 1_000_000},
    {"name": "cache", "buckets": ["cache_read"], "price": "0.30", "per": 1_000_000},
    {"name": "output", "buckets": ["output"], "price": "15.00", "per": 1_000_000},
    {"name": "reasoning", "buckets": ["reasoning"], "price": "15.00", "per": 1_000_000},
]


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


def payer(number: int) -> Address:
    return Address(np.random.default_rng(number).bytes(20))


def tariff_record() -> TariffRecord:
    document = {
        "meterbridge": 1,
        "name": "benchmark",
        "currency": {"symbol": "USDC", "decimals": 6},
        "meters": _METERS,
        "text": "",
    }
    table = PartyTable([Party(address(1), 1, 100)])
    split = table.split(address(2))
    tariff = tariff_from_document(document, address(3), split.id, 6, 3600)
    return TariffRecord(Domain(1, address(4)), tariff, split, table.parties, terms_document(document))


def write_calls(path: Path, count: int, seed: int, payers: int) -> None:
    """Write calls of payers whose sizes fall as those of words in a text: the first has a tenth of all."""
    chance = np.random.default_rng(seed)
    weights = 1 / np.arange(1, payers + 1)
    shares = np.cumsum(weights / weights.sum())
    payers_ = pa.array([str(payer(number)) for number in range(payers)])
    writer = None
    for first in range(0, count, ROW_GROUP):
        table = _some_calls(chance, min(ROW_GROUP, count - first), shares, payers_)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, ROW_GROUP)
    if writer is not None:
        writer.close()


def _some_calls(chance: np.random.Generator, count: int, shares: Any, payers: Any) -> Any:
    def some(low: int, high: int, present: float = 1.0) -> Any:
        return chance.integers(low, high, count) * (chance.random(count) < present)

    def chosen(values: Any, numbers: Any) -> Any:
        return pa.DictionaryArray.from_arrays(numbers.astype(np.int32), values)

    lengths = chance.integers(20, 61, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    letters = _LETTERS[chance.integers(0, 64, offsets[-1], dtype=np.uint8)]
    who = np.searchsorted(shares, chance.random(count)).clip(0, len(payers) - 1)
    ids = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(letters))
    return pa.table(
        {
            "source": chosen(pa.array(_SOURCES), chance.integers(0, 4, count)).cast(pa.string()),
            "event_id": ids,
            "payer": chosen(payers, who).cast(pa.string()),
            "occurred_at": START + chance.integers(0, 30 * 86_400_000, count),
            "model": chosen(pa.array([f"model-{n}" for n in range(6)]), some(0, 6)).cast(pa.string()),
            "input": some(1, 8_000),
            "cache_read": some(1, 60_000, 0.5),
            "output": some(1, 2_000),
            "reasoning": some(1, 9_000, 0.3),
        }
    )
