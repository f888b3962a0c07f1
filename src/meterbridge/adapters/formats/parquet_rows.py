"""Parquet: one row a record; read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meterbridge.adapters.formats.errors import BadFile
from meterbridge.adapters.formats.rows import BadRow, RawRow
from meterbridge.adapters.formats.times import Millis

BATCH_ROWS: Final = 4096
UNITS_PER_MILLI: Final = {"us": 1000, "ns": 10**6}


class ParquetRows:
    """The rows of a Parquet file; timestamps are `Millis`, decimals of scale 0 are integers.

    Attributes:
        columns: the names of its top-level columns.
    """

    def __init__(self, path: Path) -> None:
        """Read the footer.

        Raises:
            BadFile: when it is no Parquet file, or names a column twice.
        """
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise BadFile(f"{path} is not a Parquet file that can be read: {error}", str(path)) from error
        self.columns = list(self._file.schema_arrow.names)
        for name in self.columns:
            if self.columns.count(name) > 1:
                raise BadFile(f"column {name!r} stands twice; which of them counts?", name)

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        number = 0
        batches = self._file.iter_batches(batch_size=BATCH_ROWS)
        try:
            for batch in batches:
                columns = [exact_values(column) for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield RawRow(number, dict(zip(self.columns, cells, strict=True)))
        except (pa.ArrowException, OSError) as error:
            reason = f"the file is damaged: {error}; this row and all after it are left out"
            yield BadRow(number + 1, str(self._file), reason)
        finally:
            self._file.close()


def exact_values(column: Any) -> list[object]:
    """Return a column's values in Python's own types, each exact."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return [
            None if value is None else _millis(value, kind.unit)
            for value in pc.cast(column, pa.int64()).to_pylist()
        ]
    values: list[object] = column.to_pylist()
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return [int(value) if isinstance(value, Decimal) else value for value in values]
    return values


def _millis(value: int, unit: str) -> Millis:
    return Millis(value * 1000 if unit == "s" else value // UNITS_PER_MILLI.get(unit, 1))
