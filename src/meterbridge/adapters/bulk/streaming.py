"""A payer's receipts of a period as a stream, as NDJSON or Parquet, whatever their number.

    {"id": "0x…", "source": "gateway", "event_id": "call-17", "occurred_at": 1790000000000,
     "usage": [1200, 0, 80, 0, 0, 0, 0, 0], "details": {"model": "…"}, "batch": 3}

Receipts come batch by batch, in the order of each batch's leaves; `batch` is its index in the charges log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.reading import SealReader
from meterbridge.adapters.bulk.schema import USAGE
from meterbridge.domain.addresses import Address
from meterbridge.domain.receipts import OCCURRED_AT_MAX

SCHEMA: Final = pa.schema(
    [
        ("id", pa.binary(32)),
        ("source", pa.string()),
        ("event_id", pa.string()),
        ("occurred_at", pa.timestamp("ms", tz="UTC")),
        *((name, pa.int64()) for name in USAGE),
        ("details", pa.string()),
        ("batch", pa.int64()),
    ]
)
COLUMNS: Final = tuple(SCHEMA.names[:-1])


def stream_receipts(
    reader: SealReader,
    seals: Iterable[str],
    payer: Address,
    first: int = 0,
    stop: int = OCCURRED_AT_MAX + 1,
) -> Iterator[Any]:
    """Yield the receipts of a payer as pyarrow Tables of some thousand rows.

    Args:
        reader: reads the seals.
        seals: their names, in order.
        payer: whose charges.
        first: only what occurred from this time on, in milliseconds since 1970.
        stop: and before this.

    Raises:
        BadSegment: when a seal cannot be read.
    """
    low, high = (pa.scalar(time, pa.int64()) for time in (first, stop))
    for name in seals:
        manifest = reader.manifest(name)
        number = manifest.number_of(payer)
        if number is None or manifest.last_times[number] < first or manifest.first_times[number] >= stop:
            continue
        seq = manifest.batch(number).seq
        for table in reader.tables(manifest, number):
            times = pc.cast(table["occurred_at"], pa.int64())
            found = table.filter(pc.and_(pc.greater_equal(times, low), pc.less(times, high)))
            if len(found):
                batch = pa.repeat(pa.scalar(seq, pa.int64()), len(found))
                yield found.select(COLUMNS).append_column("batch", batch)


def write_ndjson(tables: Iterable[Any], sink: BinaryIO) -> int:
    """Write receipts as lines of JSON; return how many."""
    written = 0
    for table in tables:
        millis = pc.cast(table["occurred_at"], pa.int64())
        found = table.set_column(COLUMNS.index("occurred_at"), "occurred_at", millis).to_pylist()
        lines = [json.dumps(_row(row), ensure_ascii=False) + "\n" for row in found]
        sink.write("".join(lines).encode())
        written += len(lines)
    return written


def write_parquet(tables: Iterable[Any], sink: BinaryIO) -> int:
    """Write receipts as one Parquet file, also if there are none; return how many."""
    written, writer = 0, pq.ParquetWriter(sink, SCHEMA, compression="zstd")
    with writer:
        for table in tables:
            writer.write_table(table.cast(SCHEMA))
            written += len(table)
    return written


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "0x" + row["id"].hex(),
        "source": row["source"],
        "event_id": row["event_id"],
        "occurred_at": row["occurred_at"],
        "usage": [row[name] for name in USAGE],
        "details": json.loads(row["details"]) if row["details"] else {},
        "batch": row["batch"],
    }
