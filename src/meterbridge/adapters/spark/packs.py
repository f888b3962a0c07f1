"""Receipts on their way between tasks: many of them in one row of a few binary cells.

Spark moves such rows as it moves any, but their receipts it need not know: columns from end to end, no object
a receipt in either language. What a task has to say besides receipts travels as rows of other kinds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from typing import Any, Final

import numpy as np
import pyarrow as pa

from meterbridge.domain.arrays import Bytes, Ints, Words
from meterbridge.domain.receipt_rows import RECEIPT, Rows
from meterbridge.services.bulk.chunk import Texts

SPARK_SCHEMA: Final = (
    "place INT, kind INT, rows BINARY, texts BINARY, keys BINARY, origins BINARY, said STRING"
)
_SCHEMA: Final = pa.schema(
    [
        ("place", pa.int32()),
        ("kind", pa.int32()),
        ("rows", pa.binary()),
        ("texts", pa.binary()),
        ("keys", pa.binary()),
        ("origins", pa.binary()),
        ("said", pa.string()),
    ]
)
BATCH_BYTES: Final = 16 << 20
"""About how much one Arrow batch of packs holds."""
_ROW_BITS: Final = 40


class Kind(IntEnum):
    """What a row between tasks holds."""

    RECEIPTS = 0
    BAD_ROW = 1
    FAILURE = 2
    VERDICT = 3
    PART = 4
    FILE = 5


@dataclass(frozen=True, slots=True)
class Message:
    """One row between tasks.

    Attributes:
        place: where it goes: a range of keys, or a part.
        kind: what it is.
        said: JSON.
        rows: receipts, whose event ids stand in `texts`; or whatever its kind says.
        texts: event ids.
        keys: (n, 3) keys of events as bytes.
        origins: (n,) where each row was read, see `Origins`.
    """

    place: int
    kind: Kind
    said: dict[str, Any]
    rows: bytes | memoryview = b""
    texts: bytes | memoryview = b""
    keys: bytes | memoryview = b""
    origins: bytes | memoryview = b""

    @property
    def size(self) -> int:
        """How many bytes its cells have."""
        return len(self.rows) + len(self.texts) + len(self.keys) + len(self.origins)


@dataclass(frozen=True, slots=True)
class Pack:
    """Receipts with all that they refer to.

    Attributes:
        rows: they number `sources` and `details`, and point into `texts`.
        texts: event ids.
        keys: (n, 3) keys of their events, or none.
        origins: (n,) numbers of file and row, or none.
        sources: as in `services.bulk.chunk`.
        details: likewise.
        files: what `origins` numbers.
    """

    rows: Rows
    texts: Bytes
    keys: Words
    origins: Ints
    sources: Sequence[str]
    details: Sequence[str]
    files: Sequence[str]

    def slice(self, first: int, stop: int) -> Pack:
        """Return some of the receipts, whose texts must stand in their order, with the texts they need."""
        rows = self.rows[first:stop].copy()
        start = int(rows["event_start"][0])
        end = int(rows["event_start"][-1]) + int(rows["event_length"][-1])
        rows["event_start"] -= start
        sources, rows["source"] = _present(rows["source"], self.sources)
        details, rows["details"] = _present(rows["details"], self.details)
        keys, origins = self.keys[first:stop], self.origins[first:stop]
        return Pack(rows, self.texts[start:end], keys, origins, sources, details, self.files)

    def message(self, place: int) -> Message:
        """Return it as a row for a place."""
        said = {"sources": self.sources, "details": self.details, "files": self.files}
        return Message(
            place, Kind.RECEIPTS, said, *map(_raw, (self.rows, self.texts, self.keys, self.origins))
        )

    @classmethod
    def of(cls, message: Message) -> Pack:
        """Read a row."""
        return cls(
            np.frombuffer(message.rows, dtype=RECEIPT),
            np.frombuffer(message.texts, dtype=np.uint8),
            np.frombuffer(message.keys, dtype=np.uint64).reshape(-1, 3),
            np.frombuffer(message.origins, dtype=np.int64),
            message.said["sources"],
            message.said["details"],
            message.said["files"],
        )


def joined(packs: Sequence[Pack]) -> Pack:
    """Return several packs as one; equal texts get equal numbers, in the order of the texts."""
    sources, details, files = (
        sorted({text for pack in packs for text in getattr(pack, name)})
        for name in ("sources", "details", "files")
    )
    numbered = [Texts(sources), Texts(details), Texts(files)]
    rows = np.concatenate([pack.rows for pack in packs])
    origins = np.concatenate([pack.origins for pack in packs])
    at = row = 0
    for pack in packs:
        part = rows[row : row + len(pack.rows)]
        part["event_start"] += at
        part["source"] = numbered[0].numbers(pack.sources)[part["source"]]
        part["details"] = numbered[1].numbers(pack.details)[part["details"]]
        if len(origins):
            some = origins[row : row + len(part)]
            some[:] = place_of(numbered[2].numbers(pack.files)[some >> _ROW_BITS], some)
        at, row = at + len(pack.texts), row + len(part)
    texts, keys = (np.concatenate([getattr(pack, name) for pack in packs]) for name in ("texts", "keys"))
    return Pack(rows, texts, keys, origins, sources, details, files)


def place_of(files: Ints, rows: Ints) -> Ints:
    """Return numbers of files and of rows in them as one number each."""
    return files << _ROW_BITS | rows & (1 << _ROW_BITS) - 1


def origin_of(pack: Pack, number: int) -> tuple[str, int]:
    """Return the file and the row in it that a receipt was read from."""
    place = int(pack.origins[number])
    return pack.files[place >> _ROW_BITS], place & (1 << _ROW_BITS) - 1


def write_messages(messages: Iterable[Message]) -> Iterator[Any]:
    """Yield Arrow batches of messages, each of a bounded size."""
    some: list[Message] = []
    size = 0
    for message in messages:
        if some and size + message.size > BATCH_BYTES:
            yield _to_arrow(some)
            some, size = [], 0
        some.append(message)
        size += message.size
    if some:
        yield _to_arrow(some)


def read_messages(batches: Iterable[Any]) -> Iterator[Message]:
    """Yield the messages of Arrow batches, whose memory they share."""
    for batch in batches:
        places, kinds = batch.column("place").to_pylist(), batch.column("kind").to_pylist()
        cells = [batch.column(name) for name in ("rows", "texts", "keys", "origins")]
        for row, said in enumerate(batch.column("said").to_pylist()):
            buffers = (memoryview(cell[row].as_buffer()) for cell in cells)
            yield Message(places[row], Kind(kinds[row]), json.loads(said), *buffers)


def by_place(messages: Iterable[Message]) -> Iterator[tuple[int, list[Message]]]:
    """Gather messages that follow each other and go to the same place."""
    for place, some in groupby(messages, key=lambda message: message.place):
        yield place, list(some)


def _to_arrow(messages: Sequence[Message]) -> Any:
    columns = [
        [message.place for message in messages],
        [int(message.kind) for message in messages],
        *([getattr(message, name) for message in messages] for name in ("rows", "texts", "keys", "origins")),
        [json.dumps(message.said) for message in messages],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _present(numbers: Any, texts: Sequence[str]) -> tuple[list[str], Any]:
    """Return only the texts that numbers refer to, and the numbers among them."""
    used, found = np.unique(numbers, return_inverse=True)
    return [texts[number] for number in used.tolist()], found.astype(np.uint32)


def _raw(array: Any) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
