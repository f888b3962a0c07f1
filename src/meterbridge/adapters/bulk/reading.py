"""Reading seals: one receipt with its proof in milliseconds, or a payer's receipts of a period as a stream.

A proof opens one part and reads the row group around the receipt. Of its batch's tree, 32 leaves and what
joins them are hashed again; the nodes above are read where they stand. No kernel is loaded for that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.events import EventIndex, open_events
from meterbridge.adapters.bulk.layout import NODES, part_name, split_name
from meterbridge.adapters.bulk.manifest import Manifest, read_manifest
from meterbridge.adapters.bulk.nodes import siblings_above, words_around
from meterbridge.adapters.bulk.schema import SCHEMA, USAGE
from meterbridge.adapters.bulk.stores import SealFiles, files_of
from meterbridge.domain.errors import ProtocolError
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.receipts import ReceiptColumns
from meterbridge.domain.sum_tree import NodeColumns, Sibling, SumTree, verify_inclusion
from meterbridge.services.bulk.plan import STORED_LEVEL, STORED_RECEIPTS, level_size
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.ports import Segment, SegmentMeta
from meterbridge.services.receipt_columns import details_hashes
from meterbridge.services.records import BatchRecord, ReceiptTable

OPEN_FILES: Final = 64
_BATCHES: Final = 4_096
_GROUPS: Final = 4
_BLOCKS: Final = 64
"""Row groups and blocks of 32 receipts that are kept once they are read: a proof asks for one three times."""
_WORD_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Found:
    """Where a receipt stands.

    Attributes:
        block: which 32 receipts of its batch it is among.
        row: its index among them.
        receipts: those 32, or what there is of them.
    """

    block: int
    row: int
    receipts: ReceiptTable

    @property
    def index(self) -> int:
        """Its index in the batch."""
        return self.block * STORED_RECEIPTS + self.row


class SealReader:
    """Reads seals below a folder by their names; what it opened once it keeps, for seals never change."""

    def __init__(self, folder: Path) -> None:
        """Use the folder of the segments; of seals that it only points to, read the store."""
        self._folder = folder
        self.files = lru_cache(OPEN_FILES)(self._files)
        self.manifest = lru_cache(OPEN_FILES)(self._manifest)
        self.events = lru_cache(OPEN_FILES)(self._events)
        self.batch_of = lru_cache(_BATCHES)(self._batch_of)
        self._part = lru_cache(OPEN_FILES)(self._open_part)
        self._group = lru_cache(_GROUPS)(self._read_group)
        self._block = lru_cache(_BLOCKS)(self._read_block)

    def _files(self, name: str) -> SealFiles:
        return files_of(self._folder, name)

    def _manifest(self, name: str) -> Manifest:
        return read_manifest(self.files(name), name)

    def _batch_of(self, name: str, number: int) -> BatchRecord:
        return self.manifest(name).batch(number)

    def _events(self, name: str) -> EventIndex:
        return open_events(self.files(name), name)

    def find(self, manifest: Manifest, number: int, receipt_id: bytes) -> Found | None:
        """Look a receipt up in one batch of a seal by its id."""
        for block, first in self._blocks_of(manifest, number, receipt_id):
            table = self._block(manifest.name, number, block)
            if first is not None and table.receipts.ids[0, :_WORD_BYTES].tobytes() != first:
                reason = f"seal {manifest.name} is damaged: block {block} of batch {number} begins otherwise"
                raise BadSegment(reason, block)
            rows = np.flatnonzero((table.receipts.ids == np.frombuffer(receipt_id, np.uint8)).all(axis=1))
            if len(rows):
                return Found(block, int(rows[0]), table)
        return None

    def path(self, manifest: Manifest, number: int, index: int) -> tuple[Sibling, ...]:
        """Return the siblings of a receipt of a batch, from its leaf up to the batch's root.

        Raises:
            BadSegment: when it does not lead there: a file of the seal is damaged.
        """
        size, block = int(manifest.sizes[number]), index // STORED_RECEIPTS
        table = self._block(manifest.name, number, block)
        tree = SumTree(NodeColumns(table.receipts.leaves(), table.receipts.usage))
        above = self._siblings_above(manifest, number, block)
        path = (*tree.inclusion(index % STORED_RECEIPTS), *above)
        leaf = table.receipts.receipt(index % STORED_RECEIPTS).node()
        try:
            verify_inclusion(leaf, index, size, path, self.batch_of(manifest.name, number).root)
        except ProtocolError as error:
            reason = f"seal {manifest.name} is damaged around row {index} of batch {number}"
            raise BadSegment(reason, index) from error
        return path

    def _siblings_above(self, manifest: Manifest, number: int, block: int) -> list[Sibling]:
        with self.files(manifest.name).open(NODES) as nodes:
            return siblings_above(nodes, int(manifest.nodes_at[number]), int(manifest.sizes[number]), block)

    def batch(self, name: str) -> tuple[Manifest, int]:
        """Return the seal of a batch by the batch's name, and its number there.

        Raises:
            BadSegment: when there is no such batch.
        """
        seal, number = split_name(name) or (name, -1)
        manifest = self.manifest(seal)
        if not 0 <= number < len(manifest.sizes):
            raise BadSegment(f"seal {seal} has no batch {number}", name)
        return manifest, number

    def rows(self, name: str, first: int, stop: int) -> ReceiptTable:
        """Return receipts of a batch by its name and their index."""
        manifest, number = self.batch(name)
        block, before = first // STORED_RECEIPTS, first % STORED_RECEIPTS
        if not first < stop <= (block + 1) * STORED_RECEIPTS:
            return self.receipts(manifest, number, first, stop)
        table, some = self._block(manifest.name, number, block), slice(before, before + stop - first)
        texts = (column[some] for column in (table.sources, table.event_ids, table.details))
        return ReceiptTable(table.receipts.take(np.arange(len(table))[some]), *texts)

    def path_of(self, name: str, row: int) -> tuple[Sibling, ...]:
        """Return the siblings of a receipt by its batch's name and its index; see `path`."""
        return self.path(*self.batch(name), row)

    def segment(self, name: str) -> Segment:
        """Read a whole batch by its name.

        Raises:
            BadSegment: when there is no such batch, or it cannot be read.
        """
        manifest, number = self.batch(name)
        meta = SegmentMeta(manifest.batch(number), manifest.account(number))
        return Segment(meta, self.receipts(manifest, number, 0, int(manifest.sizes[number])))

    def receipts(self, manifest: Manifest, number: int, first: int, stop: int) -> ReceiptTable:
        """Return receipts of a batch by their index."""
        tables = list(self.tables(manifest, number, first, stop))
        return receipts_of(pa.concat_tables(tables) if tables else pa.Table.from_pylist([], SCHEMA))

    def tables(
        self, manifest: Manifest, number: int, first: int = 0, stop: int | None = None
    ) -> Iterator[Any]:
        """Yield receipts of a batch as pyarrow Tables with the columns of its part, in order."""
        size, start = int(manifest.sizes[number]), int(manifest.first_rows[number])
        end = start + (size if stop is None else min(size, stop))
        first += start
        part = int(np.searchsorted(manifest.part_rows, first, "right")) - 1
        while first < end:
            low, high = int(manifest.part_rows[part]), int(manifest.part_rows[part + 1])
            yield from self._slices(manifest.name, part, first - low, min(end, high) - low)
            first, part = high, part + 1

    def _slices(self, seal: str, part: int, first: int, stop: int) -> Iterator[Any]:
        """Yield pyarrow Tables of rows `first` to `stop` of a part, row group by row group."""
        for group, start, end in self._part(seal, part).groups(first, stop):
            yield self._group(seal, part, group).slice(
                max(first, start) - start, min(stop, end) - max(first, start)
            )

    def _open_part(self, seal: str, part: int) -> _Part:
        return _Part(self.files(seal), part_name(part), seal)

    def _read_group(self, seal: str, part: int, group: int) -> Any:
        return self._part(seal, part).read(group)

    def _read_block(self, seal: str, number: int, block: int) -> ReceiptTable:
        first = block * STORED_RECEIPTS
        return self.receipts(self.manifest(seal), number, first, first + STORED_RECEIPTS)

    def _blocks_of(
        self, manifest: Manifest, number: int, receipt_id: bytes
    ) -> Iterable[tuple[int, bytes | None]]:
        """Return the blocks of 32 receipts that an id may be in, with the beginning of each one's first id.

        It is one block, or more where they begin alike.
        """
        size, at = int(manifest.sizes[number]), int(manifest.nodes_at[number])
        if at < 0:
            return [(0, None)]
        word = int.from_bytes(receipt_id[:_WORD_BYTES], "big")
        with self.files(manifest.name).open(NODES) as nodes:
            start, firsts = words_around(nodes, at, level_size(size, STORED_LEVEL), word)
        low = int(np.searchsorted(firsts, np.uint64(word), "left")) - 1
        high = int(np.searchsorted(firsts, np.uint64(word), "right")) - 1
        blocks = range(max(0, low), high + 1)
        return [(start + block, int(firsts[block]).to_bytes(_WORD_BYTES, "big")) for block in blocks]


class _Part:
    """One part, open; threads that read it take turns, since Arrow's readers are for one at a time."""

    def __init__(self, files: SealFiles, name: str, seal: str) -> None:
        self._lock = threading.Lock()
        try:
            self._file = pq.ParquetFile(files.part(name), pre_buffer=True)
        except (pa.ArrowException, OSError) as error:
            raise BadSegment(f"{seal}/{name} cannot be read: {error}", seal) from error
        metadata = self._file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])

    def groups(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the row groups with rows `first` to `stop`: number, first row, and row behind the last."""
        group = int(np.searchsorted(self._starts, first, "right")) - 1
        while first < stop:
            start, first = int(self._starts[group]), int(self._starts[group + 1])
            yield group, start, first
            group += 1

    def read(self, group: int) -> Any:
        """Return a row group as a pyarrow Table."""
        with self._lock:
            return self._file.read_row_group(group, use_threads=False)


def receipts_of(table: Any) -> ReceiptTable:
    """Return rows of a part as receipts with their texts."""
    details = pc.dictionary_encode(table["details"].combine_chunks())
    hashes = details_hashes(details.dictionary.to_pylist())
    ids = np.frombuffer(b"".join(table["id"].to_pylist()), dtype=np.uint8)
    receipts = ReceiptColumns(
        ids=ids.reshape(-1, DIGEST_BYTES),
        occurred_at=pc.cast(table["occurred_at"], pa.int64()).to_numpy(),
        usage=np.stack([table[lane].to_numpy() for lane in USAGE], axis=1),
        details=hashes[details.indices.to_numpy()],
    )
    texts = (table[name].to_pylist() for name in ("source", "event_id", "details"))
    return ReceiptTable(receipts, *texts)
