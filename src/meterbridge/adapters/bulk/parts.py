"""Parts of a seal: Parquet files of about a million receipts, sorted by payer and id.

They have the columns of every segment, and the payer. Usage and time are packed by their differences
(DELTA_BINARY_PACKED), which writes as fast as plain integers and takes a fifth of the room; ids are random,
and stay as they are. The hash of the details is not stored: it follows from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.files import sync_and_forget
from meterbridge.adapters.bulk.schema import SCHEMA, USAGE
from meterbridge.domain.arrays import Bytes, Ints
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.receipt_rows import Receipts
from meterbridge.services.bulk.order import columns_of

ROW_GROUP: Final = 4_096
"""Receipts that are read to find one: few enough to take a millisecond, many enough to be packed well."""
_FEW = 256


@dataclass(frozen=True, slots=True)
class RowTexts:
    """The texts that receipt rows number.

    Attributes:
        payers: address of each account.
        sources: as in `services.bulk.chunk`.
        details: likewise, canonical JSON.
    """

    payers: Sequence[str]
    sources: Sequence[str]
    details: Sequence[str]


class PartWriter:
    """Writes one part; it is durable when `close` returns."""

    def __init__(self, path: Path, texts: RowTexts) -> None:
        """Create the file."""
        self._texts = texts
        self._path = path
        self._file = pa.OSFile(str(path), "wb")
        self._parquet = pq.ParquetWriter(
            self._file,
            SCHEMA,
            compression={"event_id": "zstd"},
            compression_level={"event_id": 1},
            use_dictionary=["payer", "source", "details"],
            column_encoding=dict.fromkeys(("occurred_at", *USAGE), "DELTA_BINARY_PACKED"),
            write_statistics=["occurred_at"],
            store_schema=False,
        )

    def write(self, receipts: Receipts) -> None:
        """Append receipts."""
        self._parquet.write_table(_to_arrow(receipts, self._texts), ROW_GROUP)

    def close(self) -> None:
        """Finish the file and wait until the disk has it."""
        self._parquet.close()
        self._file.close()
        sync_and_forget(self._path)


def _to_arrow(receipts: Receipts, texts: RowTexts) -> pa.Table:
    columns = columns_of(receipts.rows)
    accounts, sources, details = columns.numbers
    times = pa.array(columns.occurred_at)
    return pa.table(
        [
            _numbered(accounts, texts.payers),
            pa.Array.from_buffers(pa.binary(DIGEST_BYTES), len(times), [None, pa.py_buffer(columns.ids)]),
            times.view(pa.timestamp("ms", tz="UTC")),
            *(pa.array(lane) for lane in columns.usage),
            _numbered(sources, texts.sources),
            _texts(receipts.texts, receipts.offsets),
            _numbered(details, texts.details),
        ],
        schema=SCHEMA,
    )


def _numbered(numbers: npt.NDArray[np.int32], texts: Sequence[str]) -> Any:
    """Return a column with a dictionary of only the texts that occur in it, where there are many."""
    if len(texts) <= _FEW:
        return pa.DictionaryArray.from_arrays(numbers, pa.array(texts, pa.string()))
    present, indices = np.unique(numbers, return_inverse=True)
    some = pa.array([texts[number] for number in present.tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(indices.astype(np.int32), some)


def _texts(data: Bytes, offsets: Ints) -> Any:
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)
