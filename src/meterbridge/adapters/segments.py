"""Sealed batches as Parquet files in a folder: what is left when a database is lost.

    <tariff id, 8 digits>/tariff.json
    <tariff id, 8 digits>/<payer>/<charges|credits>/<seq>-<root, 8 digits>.parquet

A segment holds its receipts, sorted by id, with source, event id and details, and says in its metadata whose
batch it is: enough to rebuild the ledger, blinds included. So a segment is for its provider and payer only.
It is written under a temporary name, synced and renamed, and never changes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.layout import split_name
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.receipts import ReceiptColumns, batch_tree
from meterbridge.domain.statements import Domain
from meterbridge.domain.sum_tree import Hashes, Sibling, SumNode
from meterbridge.domain.units import LANES, UsageVector
from meterbridge.services.exchange import canonical_json, tariff_record_from_json, tariff_record_to_json
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.ports import Segment, SegmentMeta
from meterbridge.services.receipt_columns import details_hashes, receipt_ids
from meterbridge.services.records import (
    AccountKey,
    AccountRecord,
    BatchRecord,
    LogKey,
    LogKind,
    ReceiptTable,
    TariffRecord,
)

if TYPE_CHECKING:
    from meterbridge.adapters.bulk.reading import SealReader

FORMAT: Final = "meterbridge/segment/1"
TARIFF: Final = "tariff.json"
_WRITERS: Final = 8
_META_KEY: Final = b"meterbridge"
_NAME: Final = re.compile(r"(\d{8,})-[0-9a-f]{8}\.parquet")
_USAGE: Final = [f"usage_{lane}" for lane in range(LANES)]
_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("occurred_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in _USAGE),
        pa.field("details_hash", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("details", pa.string(), nullable=False),
    ]
)


class FolderSegments:
    """Segments below one folder of a local file system."""

    def __init__(self, folder: Path, seals: Callable[[], SealReader] | None = None) -> None:
        """Use a folder, which need not exist yet.

        Args:
            folder: of the segments.
            seals: gives what reads batches that were sealed at once, so that it can be shared.
        """
        self._folder, self._seals_of = folder, seals

    def put_tariff(self, record: TariffRecord) -> None:
        """See `ports.Segments`."""
        path = self._folder / record.id.hex()[:8] / TARIFF
        data = canonical_json(tariff_record_to_json(record))
        _sweep(path.parent)
        if not path.exists() or path.read_bytes() != data:
            _write_durably(path, data)

    def tariffs(self) -> Iterator[TariffRecord]:
        """See `ports.Segments`."""
        for path in sorted(self._folder.glob(f"*/{TARIFF}")):
            yield tariff_record_from_json(json.loads(path.read_bytes()))

    def name_of(self, meta: SegmentMeta) -> str:
        """See `ports.Segments`."""
        batch = meta.batch
        return f"{_log_folder(batch.log)}/{batch.seq:08d}-{batch.root.hash.hex()[:8]}.parquet"

    def put(self, segments: Sequence[Segment]) -> list[str]:
        """See `ports.Segments`."""
        names = [self.name_of(segment.meta) for segment in segments]
        files = [self._folder / name for name in names]
        folders = dict.fromkeys(path.parent for path in files)
        changed = dict.fromkeys([*folders, *(made.parent for folder in folders for made in _make(folder))])
        with ThreadPoolExecutor(_WRITERS) as writers:  # syncs of many files cost a disk little more than one
            list(writers.map(_write_segment, files, segments))
            list(writers.map(_sync_folder, changed))
        return names

    def get(self, name: str) -> Segment:
        """See `ports.Segments`."""
        if split_name(name) is not None:
            return self._sealed_at_once(name)
        try:
            found = pq.read_table(self._folder / name, partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise BadSegment(f"segment {name} cannot be read: {error}", name) from error
        try:
            segment = _from_arrow(name, found)
            _require_true(segment)
        except (MeterbridgeError, KeyError, TypeError, ValueError) as error:
            raise BadSegment(f"segment {name} is damaged: {error}", name) from error
        return segment

    def rows(self, name: str, first: int, stop: int) -> ReceiptTable:
        """See `ports.Segments`."""
        if split_name(name) is not None:
            return self._seals.rows(name, first, stop)
        table = self.get(name).table
        texts = (column[first:stop] for column in (table.sources, table.event_ids, table.details))
        return ReceiptTable(table.receipts.take(np.arange(len(table))[first:stop]), *texts)

    def path(self, name: str, row: int) -> tuple[Sibling, ...]:
        """See `ports.Segments`."""
        if split_name(name) is not None:
            return self._seals.path_of(name, row)
        return tuple(batch_tree(self.get(name).table.receipts).inclusion(row))

    @cached_property
    def _seals(self) -> SealReader:
        if self._seals_of is not None:
            return self._seals_of()
        from meterbridge.adapters.bulk.reading import SealReader

        return SealReader(self._folder)

    def _sealed_at_once(self, name: str) -> Segment:
        """Read one batch of a seal."""
        try:
            segment = self._seals.segment(name)
            _require_true(segment)
        except (MeterbridgeError, KeyError, TypeError, ValueError) as error:
            raise BadSegment(f"segment {name} is damaged: {error}", name) from error
        return segment

    def names(self, log: LogKey | None = None, seq: int | None = None) -> Iterator[str]:
        """See `ports.Segments`."""
        pattern = "*/*/*" if log is None else _log_folder(log)
        for folder in sorted(self._folder.glob(pattern)):
            named = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
            for match, path in sorted(named, key=lambda pair: (int(pair[0][1]), pair[1].name)):
                if seq is None or int(match[1]) == seq:
                    yield path.relative_to(self._folder).as_posix()

    def remove(self, name: str) -> None:
        """See `ports.Segments`."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def sweep(self, log: LogKey) -> None:
        """See `ports.Segments`."""
        _sweep(self._folder / _log_folder(log))


def _sweep(folder: Path) -> None:
    """Remove what interrupted writers left; whoever writes now holds the ledger's lock."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _log_folder(log: LogKey) -> str:
    return f"{log.account.tariff_id.hex()[:8]}/{log.account.payer}/{log.kind.value}"


def _write_segment(path: Path, segment: Segment) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(_to_arrow(segment.meta, segment.table), sink, compression="zstd")
    _write_whole(path, sink.getvalue())


def _write_durably(path: Path, data: Any) -> None:
    made = _make(path.parent)
    _write_whole(path, data)
    for folder in (path.parent, *(new.parent for new in made)):
        _sync_folder(folder)


def _write_whole(path: Path, data: Any) -> None:
    """Write a file that is either not there or complete, whatever happens meanwhile."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; return the new ones, whose parents are to be synced."""
    if folder.is_dir():
        return []
    made = _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)  # segments show blinds: for the provider and its payers only
    return [*made, folder]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_arrow(meta: SegmentMeta, table: ReceiptTable) -> pa.Table:
    receipts = table.receipts
    columns = [
        _binary_column(receipts.ids),
        pa.array(receipts.occurred_at).cast(pa.timestamp("ms", tz="UTC")),
        *(pa.array(np.ascontiguousarray(receipts.usage[:, lane])) for lane in range(LANES)),
        _binary_column(receipts.details),
        *(pa.array(texts, pa.string()) for texts in (table.sources, table.event_ids, table.details)),
    ]
    schema = _SCHEMA.with_metadata({_META_KEY: canonical_json(_meta_to_json(meta))})
    return pa.table(columns, schema=schema)


def _from_arrow(name: str, found: pa.Table) -> Segment:
    if not found.schema.equals(_SCHEMA):
        raise BadSegment(f"its columns are {found.schema.names}", name)
    usage = np.stack([found[column].to_numpy() for column in _USAGE], axis=1)
    receipts = ReceiptColumns(
        ids=_binary_rows(found["id"]),
        occurred_at=found["occurred_at"].cast(pa.int64()).to_numpy(),
        usage=usage.astype(np.int64, copy=False),
        details=_binary_rows(found["details_hash"]),
    )
    texts = (found[column].to_pylist() for column in ("source", "event_id", "details"))
    meta = _meta_from_json(json.loads(found.schema.metadata[_META_KEY]), name)
    return Segment(meta, ReceiptTable(receipts, *texts))


def _require_true(segment: Segment) -> None:
    """Check everything that a segment says: ids, details, order, root and size."""
    meta, table = segment.meta, segment.table
    root = batch_tree(table.receipts).root
    if root != meta.batch.root or len(table) != meta.batch.size:
        raise BadSegment(f"its rows give the root 0x{root.hash.hex()}", root)
    ids = receipt_ids([meta.account.blind] * len(table), table.sources, table.event_ids)
    if not np.array_equal(ids, table.receipts.ids):
        raise BadSegment("an id is not that of its source and event id", None)
    if not np.array_equal(details_hashes(table.details), table.receipts.details):
        raise BadSegment("details are not those whose hash the receipt holds", None)


def _binary_column(digests: Hashes) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(digests).tobytes())
    return pa.Array.from_buffers(pa.binary(DIGEST_BYTES), len(digests), [None, data])


def _binary_rows(column: pa.ChunkedArray) -> Hashes:
    return np.frombuffer(b"".join(column.to_pylist()), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _meta_to_json(meta: SegmentMeta) -> dict[str, object]:
    batch, account = meta.batch, meta.account
    key = account.key
    return {
        "format": FORMAT,
        "chainId": str(key.domain.chain_id),
        "verifyingContract": str(key.domain.verifying_contract),
        "tariffId": key.tariff_id.hex(),
        "payer": str(key.payer),
        "customer": account.customer,
        "blind": account.blind.hex(),
        "log": batch.log.kind.value,
        "seq": batch.seq,
        "size": batch.size,
        "root": batch.root.hash.hex(),
        "sum": [str(lane) for lane in batch.root.sum.lanes],
    }


def _meta_from_json(found: dict[str, Any], name: str) -> SegmentMeta:
    if found["format"] != FORMAT:
        raise BadSegment(f"its format is {found['format']!r}, not {FORMAT!r}", found["format"])
    domain = Domain(int(found["chainId"]), Address.parse(found["verifyingContract"]))
    key = AccountKey(domain, bytes.fromhex(found["tariffId"]), Address.parse(found["payer"]))
    root = SumNode(bytes.fromhex(found["root"]), UsageVector.of(int(lane) for lane in found["sum"]))
    batch = BatchRecord(LogKey(key, LogKind(found["log"])), found["seq"], found["size"], root, name)
    return SegmentMeta(batch, AccountRecord(key, bytes.fromhex(found["blind"]), found["customer"]))
