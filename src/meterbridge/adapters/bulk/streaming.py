"""A payer's receipts of a period as a stream, as NDJSON or Parquet, whatever their number.

    {"id": "0x…", "source": "gateway", "event_id": "call-17", "occurred_at": 1790000000000,
     "usage": [1200, 0, 80, 0, 0, 0, 0, 0], "details": {"model": "…"}, "log": "charges", "batch": 3}

Receipts come batch by batch, in the order of each batch's leaves; `batch` is its index in the log. They are
read as they stand, without checking that they give the root of their batch: `prove` does that for one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.layout import split_name
from meterbridge.adapters.bulk.reading import SealReader
from meterbridge.adapters.bulk.schema import USAGE
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.records import BatchRecord

COLUMNS: Final = ("id", "source", "event_id", "occurred_at", *USAGE, "details")
SCHEMA: Final = pa.schema(
    [
        ("id", pa.binary(32)),
        ("source", pa.string()),
        ("event_id", pa.string()),
        ("occurred_at", pa.timestamp("ms", tz="UTC")),
        *((name, pa.int64()) for name in USAGE),
        ("details", pa.string()),
        ("log", pa.string()),
        ("batch", pa.int64()),
    ]
)
_ROWS: Final = 16_384


class SealedPeriods:
    """Reads batches below the folder of the segments as pyarrow Tables: a `services.periods.PeriodSource`."""

    def __init__(self, folder: Path) -> None:
        """Use the folder of the segments."""
        self._folder, self._seals = folder, SealReader(folder)

    def period(self, batch: BatchRecord, first: int, stop: int) -> Iterator[Any]:
        """Yield tables with the columns of `SCHEMA`; see the port.

        Raises:
            BadSegment: when the batch cannot be read.
        """
        low, high = (pa.scalar(time, pa.int64()) for time in (first, stop))
        try:
            for table in self._tables(batch, first, stop):
                times = pc.cast(table["occurred_at"], pa.int64())
                found = table.filter(pc.and_(pc.greater_equal(times, low), pc.less(times, high)))
                if len(found):
                    yield _marked(found.select(COLUMNS), batch)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise BadSegment(f"segment {batch.segment} cannot be read: {error}", batch.segment) from error

    def _tables(self, batch: BatchRecord, first: int, stop: int) -> Iterator[Any]:
        sealed_at_once = split_name(batch.segment or "")
        if sealed_at_once is None:
            with pq.ParquetFile(self._folder / (batch.segment or "")) as file:
                for rows in file.iter_batches(_ROWS, columns=list(COLUMNS), use_threads=False):
                    yield pa.Table.from_batches([rows])
            return
        seal, number = sealed_at_once
        manifest = self._seals.manifest(seal)
        if manifest.last_times[number] >= first and manifest.first_times[number] < stop:
            yield from self._seals.tables(manifest, number)


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
            writer.write_table(table)
            written += len(table)
    return written


def _marked(table: Any, batch: BatchRecord) -> Any:
    """Say with each receipt in which log and batch it is."""
    log = pa.repeat(pa.scalar(batch.log.kind.value, pa.string()), len(table))
    seq = pa.repeat(pa.scalar(batch.seq, pa.int64()), len(table))
    return table.append_column("log", log).append_column("batch", seq).cast(SCHEMA)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "0x" + row["id"].hex(),
        "source": row["source"],
        "event_id": row["event_id"],
        "occurred_at": row["occurred_at"],
        "usage": [row[name] for name in USAGE],
        "details": json.loads(row["details"]) if row["details"] else {},
        "log": row["log"],
        "batch": row["batch"],
    }
