"""Checking a seal from end to end: everything that it says of itself is computed again from its receipts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterbridge.adapters.bulk.events import open_events
from meterbridge.adapters.bulk.layout import NODES
from meterbridge.adapters.bulk.manifest import Manifest
from meterbridge.adapters.bulk.reading import SealReader
from meterbridge.adapters.bulk.schema import USAGE
from meterbridge.domain.arrays import Ints, Words
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.receipt_rows import Rows, sum_node
from meterbridge.domain.receipts import LANE_MAX, OCCURRED_AT_MAX
from meterbridge.services.bulk.chunk import Details, Origin, Sources, UsageChunk
from meterbridge.services.bulk.order import key_order, take
from meterbridge.services.bulk.plan import Block, SealPlan
from meterbridge.services.bulk.pool import ReceiptPool, measure
from meterbridge.services.bulk.writing import Forest
from meterbridge.services.ledger_errors import BadSegment


def check_seal(folder: Path, name: str) -> Manifest:
    """Check ids, order, trees, roots and the index of events of a seal; return its manifest.

    Memory grows with the index alone: 24 bytes a receipt.

    Raises:
        BadSegment: saying what does not fit.
    """
    try:
        return _Check(folder, name).run()
    except (
        OSError,
        pa.ArrowException,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        MeterbridgeError,
    ) as error:
        raise BadSegment(f"seal {name} is damaged: {error}", name) from error


class _Check:
    def __init__(self, folder: Path, name: str) -> None:
        self._reader = SealReader(folder)
        self._files = self._reader.files(name)
        self._manifest = self._reader.manifest(name)
        sizes = np.zeros(int(self._manifest.accounts.max()) + 1, dtype=np.int64)
        sizes[self._manifest.accounts] = self._manifest.sizes
        self._plan = SealPlan.of(sizes)
        self._forest = Forest(self._plan)
        self._last: tuple[int, bytes] = (-1, b"")
        blinds = [self._manifest.account(number).blind for number in range(len(self._manifest.sizes))]
        self._blinds = np.frombuffer(b"".join(blinds), dtype=np.uint8).reshape(-1, DIGEST_BYTES)

    def run(self) -> Manifest:
        self._require_places()
        keys = np.concatenate([self._check(block) for part in self._plan.parts() for block in part])
        self._forest.finish()
        self._require_forest()
        events = open_events(self._files, self._manifest.name)
        keys = take(keys, key_order(keys))
        if not np.array_equal(events.around(keys[:, 0].copy()), keys):
            raise BadSegment("its index of events is not that of its receipts", None)
        return self._manifest

    def _require_places(self) -> None:
        found, plan = self._manifest, self._plan
        pairs = (
            (found.accounts, plan.accounts),
            (found.sizes, plan.sizes),
            (found.first_rows, plan.first_rows),
            (found.nodes_at, plan.nodes_at),
            (found.part_rows, [*(blocks[0].first for blocks in plan.parts()), plan.rows]),
        )
        if not all(np.array_equal(a, b) for a, b in pairs):
            raise BadSegment("its batches do not stand where their sizes put them", None)

    def _check(self, block: Block) -> Words:
        """Measure a block again; return its keys, with the accounts' numbers."""
        numbers = np.repeat(block.batches, block.counts)
        tables: list[Any] = []
        for batch, count in zip(block.batches.tolist(), block.counts.tolist(), strict=True):
            first = block.first - int(self._plan.first_rows[batch]) if len(block.batches) == 1 else 0
            tables += self._reader.tables(self._manifest, batch, first, first + count)
        table = pa.concat_tables(tables)
        pool, sources, details = _pool_of(table), Sources(), Details()
        measure(_chunk_of(table, numbers, sources, details), pool, 0, 0, self._blinds, sources, details)
        stored = np.frombuffer(b"".join(table["id"].to_pylist()), dtype=np.uint64).reshape(-1, 4)
        if not np.array_equal(pool.rows["id"], stored):
            raise BadSegment("an id is not that of its source and event id", None)
        self._require_order(pool.rows)
        self._forest.add(block, pool.rows)
        keys = pool.keys.copy()
        keys[:, 1] &= np.uint64(0xFFFFFFFF00000000)
        keys[:, 1] |= self._plan.accounts[numbers].astype(np.uint64)
        return keys

    def _require_order(self, rows: Rows) -> None:
        ids = np.ascontiguousarray(rows["id"]).view(f"V{DIGEST_BYTES}").reshape(-1)
        order = [(int(a), i.tobytes()) for a, i in zip(rows["account"].tolist(), ids, strict=True)]
        pairs = zip([self._last, *order], order, strict=False)
        if any(before >= after for before, after in pairs):
            raise BadSegment("its receipts do not ascend by payer and id", None)
        self._last = order[-1]

    def _require_forest(self) -> None:
        forest, found = self._forest, self._manifest
        stored = np.frombuffer(self._files.whole(NODES), dtype=np.uint64)
        if not np.array_equal(stored, forest.stored):
            raise BadSegment("its nodes are not those of its receipts", None)
        times = np.array_equal(found.first_times, forest.first_times) and np.array_equal(
            found.last_times, forest.last_times
        )
        if not times:
            raise BadSegment("its times are not those of its receipts", None)
        for number, root in enumerate(forest.roots):
            if sum_node(root) != found.batch(number).root:
                raise BadSegment(f"its receipts do not give the root of batch {number}", number)


def _pool_of(table: Any) -> ReceiptPool:
    return ReceiptPool(len(table), int(pc.sum(pc.binary_length(table["event_id"])).as_py()))


def _chunk_of(table: Any, accounts: Ints, sources: Sources, details: Details) -> UsageChunk:
    usage = np.stack([table[lane].to_numpy() for lane in USAGE], axis=1)
    times = pc.cast(table["occurred_at"], pa.int64()).to_numpy()
    if usage.min() < 0 or usage.max() > LANE_MAX or times.min() < 0 or times.max() > OCCURRED_AT_MAX:
        raise BadSegment("a count or a time is out of range", None)
    texts = table["event_id"].combine_chunks()
    _, offsets, data = texts.buffers()
    cuts = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return UsageChunk(
        origin=Origin("", 0),
        accounts=accounts,
        sources=_numbers(table["source"], sources),
        details=_numbers(table["details"], details),
        occurred_at=times,
        usage=usage,
        event_bytes=np.frombuffer(data, dtype=np.uint8),
        event_offsets=cuts.astype(np.int64),
    )


def _numbers(column: Any, texts: Sources | Details) -> Ints:
    coded = pc.dictionary_encode(column.combine_chunks())
    numbers: Ints = texts.numbers(coded.dictionary.to_pylist())[coded.indices.to_numpy()]
    return numbers
