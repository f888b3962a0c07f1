"""The SQL ledger, asked for all logs of a tariff at once.

A seal has one row a batch in the ledger and none a receipt: its own index of events says what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, bindparam, func, insert, select, update

from meterbridge.adapters.bulk.events import ENTRY_WORDS, EventIndex, open_events
from meterbridge.adapters.bulk.known import SEALS, SealsOfFolder, seal_names
from meterbridge.adapters.bulk.layout import seal_number
from meterbridge.adapters.bulk.stores import files_of
from meterbridge.adapters.ledger import SqlLedger
from meterbridge.adapters.sql.database import Database, SqlRow, SqlSelect
from meterbridge.adapters.sql.logs import BATCHES, NODES
from meterbridge.adapters.sql.receipts import INDEX, PENDING, event_keys
from meterbridge.adapters.sql.registry import ACCOUNTS, LOGS
from meterbridge.domain.arrays import Words
from meterbridge.domain.sum_tree import SumNode
from meterbridge.services.bulk.ports import KnownEvents, LogFrontier, SealedBatch
from meterbridge.services.ledger_errors import Conflict
from meterbridge.services.records import LogKind

_SCAN_FROM: Final = 256
"""Keys of a range that are looked up one by one; more are found in one pass over the range."""
_ENTRY_BYTES: Final = 24


class BulkSqlLedger(SqlLedger):
    """A ledger that takes seals too."""

    def __init__(self, database: Database, segments: Path) -> None:
        """Work on an open database, and the folder of its segments."""
        super().__init__(database)
        self._segments = segments
        self.seals: SealsOfFolder = SealsOfFolder(segments)

    def seal_names(self, tariff_id: bytes) -> list[str]:
        """Return the seals of a tariff that count, in the order in which they were made."""
        with self._database.read() as connection:
            return seal_names(connection, self._tariff_row(tariff_id))

    def frontiers(self, tariff_id: bytes) -> Mapping[bytes, LogFrontier]:
        """See `services.bulk.ports.BulkLedger`."""
        tariff = self._tariff_row(tariff_id)
        with self._database.read() as connection:
            columns = (LOGS.c.id, LOGS.c.size, LOGS.c.total, ACCOUNTS.c.payer)
            logs = connection.execute(_charges(tariff, *columns)).all()
            depth = max((_trailing_ones(log.size) for log in logs), default=0)
            left = {
                (node.log, level): SumNode(bytes(node.hash), node.sum)
                for level in range(depth)
                for node in connection.execute(_last_complete(tariff, level))
            }
        return {
            bytes(log.payer): LogFrontier(
                log.size, log.total, [left[log.id, level] for level in range(_trailing_ones(log.size))]
            )
            for log in logs
        }

    def known_events(self, tariff_id: bytes) -> SqlEvents:
        """See `services.bulk.ports.BulkLedger`."""
        return SqlEvents(self._database, self._tariff_row(tariff_id))

    def commit_seal(self, seal: str, batches: Sequence[SealedBatch], known: KnownEvents) -> None:
        """See `services.bulk.ports.BulkLedger`."""
        tariff = self._tariff_row(batches[0].record.log.account.tariff_id)
        with self._database.write() as connection:
            self._require_nothing_new(connection, tariff, known, seal)
            found = connection.execute(_charges(tariff, LOGS.c.id, LOGS.c.total, ACCOUNTS.c.payer))
            log_of = {bytes(row.payer): row for row in found}
            logs = [log_of[batch.record.log.account.payer.raw] for batch in batches]
            _grow(connection, logs, batches)
            rows = [row.id for row in logs]
            connection.execute(insert(SEALS), {"tariff": tariff, "number": seal_number(seal), "name": seal})
            connection.execute(insert(BATCHES), _batch_rows(rows, batches))
            connection.execute(insert(NODES), _node_rows(rows, batches))

    def events_of(self, seal: str) -> EventIndex:
        """Return the index of a seal's events."""
        return open_events(files_of(self._segments, seal), seal)  # not the reader's: it may yet be swept

    def _require_nothing_new(
        self, connection: Connection, tariff: int, known: KnownEvents, seal: str
    ) -> None:
        """What came one by one since this seal was judged must not be in it."""
        if not isinstance(known, SqlEvents):
            raise TypeError(f"these events are not this ledger's: {known!r}")
        query = (
            select(PENDING.c.source, PENDING.c.event_id)
            .join(LOGS, LOGS.c.id == PENDING.c.log)
            .join(ACCOUNTS, ACCOUNTS.c.id == LOGS.c.account)
            .where(ACCOUNTS.c.tariff == tariff, PENDING.c.arrival > known.last_arrival)
        )
        rows = connection.execute(query).all()
        if not rows:
            return
        events = self.events_of(seal)
        for row, key in zip(rows, event_keys(*zip(*rows, strict=True)), strict=True):
            if events.find(key) is not None:
                raise Conflict(
                    f"event {row.event_id!r} of {row.source!r} came in while it was sealed; seal again",
                    row.event_id,
                )


class SqlEvents:
    """The events that came one by one, sealed or not.

    Attributes:
        last_arrival: of the last receipt that was pending when this was made.
    """

    def __init__(self, database: Database, tariff: int) -> None:
        """Look at the ledger as it is now."""
        self._database, self._tariff = database, tariff
        with database.read() as connection:
            self.last_arrival: Final = connection.execute(select(func.max(PENDING.c.arrival))).scalar() or 0
            some = select(INDEX.c.log).where(INDEX.c.tariff == tariff).limit(1)
            self._empty = connection.execute(some).first() is None

    def around(self, firsts: Words) -> Words:
        """See `services.bulk.ports.KnownEvents`."""
        if self._empty or not len(firsts):
            return np.empty((0, ENTRY_WORDS), dtype=np.uint64)
        bounds = [int(first) for first in (firsts if len(firsts) < _SCAN_FROM else firsts[[0, -1]])]
        ranges = [(b, b) for b in bounds] if len(firsts) < _SCAN_FROM else [(bounds[0], bounds[-1])]
        with self._database.read() as connection:
            found = [row for low, high in ranges for row in connection.execute(self._between(low, high))]
        data = b"".join(bytes(row.event_key)[:12] + bytes(4) + bytes(row.content)[:8] for row in found)
        entries = np.frombuffer(data, dtype=np.uint8).reshape(-1, _ENTRY_BYTES).copy()
        words = entries.view(np.uint64)
        words[:, :2] = words[:, :2].byteswap()  # keys are big-endian numbers, leaves are bytes
        return words

    def ranges(self, count: int) -> Iterator[Words]:
        """Yield all entries, cut into so many ranges of keys, in order."""
        for number in range(0 if self._empty else count):
            low, high = (2**64 * (number + step) // count for step in (0, 1))
            many = np.array([low] * (_SCAN_FROM - 1) + [high - 1], dtype=np.uint64)
            yield self.around(many)

    def _between(self, low: int, high: int) -> SqlSelect:
        first, last = low.to_bytes(8, "big") + bytes(8), high.to_bytes(8, "big") + b"\xff" * 8
        query = select(INDEX.c.event_key, INDEX.c.content).where(INDEX.c.tariff == self._tariff)
        return query.where(INDEX.c.event_key.between(first, last)).order_by(INDEX.c.event_key)


def _charges(tariff: int, *columns: Any) -> Any:
    """Select from the charges logs of a tariff and their accounts."""
    logs = select(*columns).select_from(LOGS).join(ACCOUNTS, ACCOUNTS.c.id == LOGS.c.account)
    return logs.where(ACCOUNTS.c.tariff == tariff, LOGS.c.kind == LogKind.CHARGES.value)


def _last_complete(tariff: int, level: int) -> Any:
    """Select the last complete subtree of a level of each log."""
    last = (NODES.c.level == level) & (NODES.c.position == LOGS.c.size.op(">>")(level) - 1)
    logs = _charges(tariff, NODES.c.log, NODES.c.hash, NODES.c.sum)
    return logs.join(NODES, (NODES.c.log == LOGS.c.id) & last)


def _trailing_ones(size: int) -> int:
    return (~size & (size + 1)).bit_length() - 1


def _grow(connection: Connection, logs: Sequence[SqlRow], batches: Sequence[SealedBatch]) -> None:
    """Append to each log, provided that it has the size for which its batch was made."""
    grown = update(LOGS).where(LOGS.c.id == bindparam("log_"), LOGS.c.size == bindparam("seq_"))
    values = [
        {
            "log_": log.id,
            "seq_": batch.record.seq,
            "size_": batch.record.seq + 1,
            "total_": log.total + batch.record.root.sum,
        }
        for log, batch in zip(logs, batches, strict=True)
    ]
    changed = grown.values(size=bindparam("size_"), total=bindparam("total_"))
    found = connection.execute(changed, values).rowcount
    if found != len(batches):
        raise Conflict(f"{len(batches) - found} logs have grown meanwhile; seal again", found)


def _batch_rows(logs: Sequence[int], batches: Sequence[SealedBatch]) -> list[dict[str, Any]]:
    return [
        {
            "log": log,
            "seq": batch.record.seq,
            "size": batch.record.size,
            "root": batch.record.root.hash,
            "sum": batch.record.root.sum,
            "segment": batch.record.segment,
        }
        for log, batch in zip(logs, batches, strict=True)
    ]


def _node_rows(logs: Sequence[int], batches: Sequence[SealedBatch]) -> list[dict[str, Any]]:
    return [
        {"log": log, "level": n.level, "position": n.position, "hash": n.node.hash, "sum": n.node.sum}
        for log, batch in zip(logs, batches, strict=True)
        for n in batch.nodes
    ]
