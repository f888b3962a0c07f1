"""Logs in SQL: their elements and the subtrees over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import repeat
from typing import Final

from sqlalchemy import Connection, LargeBinary, bindparam, delete, insert, select, tuple_, update

from meterbridge.adapters.sql.database import SqlRow, execute_many, in_slices
from meterbridge.adapters.sql.receipts import (
    INDEX,
    INDEX_NAMES,
    PENDING,
    SEALED,
    SqlReceipts,
    event_keys,
)
from meterbridge.adapters.sql.registry import ACCOUNTS, LOGS
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.usage import BatchRow, RestartRow, TreeNodeRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.arrays import cells
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.sum_tree import SumNode
from meterbridge.domain.units import USAGE_BYTES, UsageVector
from meterbridge.services.ledger_errors import Conflict, UnknownReceipt
from meterbridge.services.records import (
    AccountKey,
    BatchRecord,
    LogKey,
    LogKind,
    Pending,
    ReceiptTable,
    Restart,
    SealedBatch,
    TreeNode,
)

BATCHES: Final = table_of(BatchRow)
NODES: Final = table_of(TreeNodeRow)
RESTARTS: Final = table_of(RestartRow)
_PLACE_NAMES: Final = ("log", "receipt_id", "seq", "batch_row")
_PLACES_MAX: Final = 400  # two values each, and SQLite nests one comparison in another


class SqlLogs(SqlReceipts):
    """The growing side: batches become elements, receipts move from pending to sealed."""

    def log_size(self, log: LogKey) -> int:
        """See `ports.UsageLedger`."""
        query = select(LOGS.c.size).where(LOGS.c.id == self._log_row(log))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def log_sizes(self, tariff_id: bytes) -> Mapping[LogKey, int]:
        """See `ports.UsageLedger`."""
        domain = self._domain(tariff_id)
        query = (
            select(ACCOUNTS.c.payer, LOGS.c.kind, LOGS.c.size)
            .join(LOGS, LOGS.c.account == ACCOUNTS.c.id)
            .where(ACCOUNTS.c.tariff == self._tariff_row(tariff_id), LOGS.c.size > 0)
            .order_by(ACCOUNTS.c.id, LOGS.c.kind)
        )
        with self._database.read() as connection:
            return {
                LogKey(AccountKey(domain, tariff_id, Address(bytes(r.payer))), LogKind(r.kind)): r.size
                for r in connection.execute(query)
            }

    def tree_nodes(self, log: LogKey, places: Sequence[tuple[int, int]]) -> list[SumNode]:
        """See `ports.UsageLedger`."""
        if not places:
            return []
        row, c = self._log_row(log), NODES.c
        found: dict[tuple[int, int], SumNode] = {}
        with self._database.read() as connection:
            for part in in_slices(places, _PLACES_MAX):
                query = select(NODES).where(c.log == row, tuple_(c.level, c.position).in_(list(part)))
                for node in connection.execute(query):
                    found[node.level, node.position] = SumNode(bytes(node.hash), node.sum)
        return [found[place] for place in places]

    def batch(self, log: LogKey, seq: int) -> BatchRecord:
        """See `ports.UsageLedger`."""
        query = select(BATCHES).where(BATCHES.c.log == self._log_row(log), BATCHES.c.seq == seq)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownReceipt(f"the {log.kind} log of {log.account.payer} has no batch {seq}", seq)
        return _batch_of(log, row)

    def batches(self, log: LogKey) -> Iterator[BatchRecord]:
        """See `ports.UsageLedger`."""
        query = select(BATCHES).where(BATCHES.c.log == self._log_row(log)).order_by(BATCHES.c.seq)
        with self._database.read() as connection:
            for row in connection.execute(query):
                yield _batch_of(log, row)

    def commit_batches(self, sealed: Sequence[SealedBatch]) -> None:
        """See `ports.UsageLedger`."""
        grown = [(self._log_row(one.batch.log), one) for one in sealed]
        with self._database.write() as connection:
            _append(connection, [(log, one.batch, one.nodes) for log, one in grown])
            self._set_places(connection, [(log, one.batch, _ids(one.pending.table)) for log, one in grown])
            _drop_pending(connection, [(log, one.pending) for log, one in grown])

    def restore_batch(
        self, batch: BatchRecord, nodes: Sequence[TreeNode], table: ReceiptTable, contents: Sequence[bytes]
    ) -> None:
        """See `ports.UsageLedger`."""
        log, tariff = self._log_row(batch.log), self._tariff_row(batch.log.account.tariff_id)
        ids = _ids(table)
        keys = event_keys(table.sources, table.event_ids)
        rows = list(zip(repeat(tariff), keys, repeat(log), contents, strict=False))
        with self._database.write() as connection:
            _append(connection, [(log, batch, nodes)])
            _forget_pending(connection, log, ids)
            execute_many(connection, self._database.insert_or_skip(INDEX), INDEX_NAMES, rows)
            self._set_places(connection, [(log, batch, ids)])
            _add_total(connection, log, batch.root.sum)

    def restart(
        self, account: AccountKey, state: Restart, elements: Sequence[tuple[BatchRecord, TreeNode]]
    ) -> None:
        """See `ports.UsageLedger`."""
        logs = {kind: self._log_row(LogKey(account, kind)) for kind in LogKind}
        with self._database.write() as connection:
            found = connection.execute(select(LOGS).where(LOGS.c.id.in_(logs.values()))).all()
            if any(row.size for row in found):
                raise Conflict(f"the logs of {account.payer} are not empty; they cannot begin again", account)
            for element, node in elements:
                log = logs[element.log.kind]
                _append(connection, [(log, element, [node])])
                _add_total(connection, log, element.root.sum)
            values = {"head": state.head, "usage": state.usage, "sealed_at": state.sealed_at}
            connection.execute(insert(RESTARTS).values(account=found[0].account, **values))

    def _set_places(
        self, connection: Connection, grown: Sequence[tuple[int, BatchRecord, Sequence[bytes]]]
    ) -> None:
        """Say of each receipt where it is sealed; none may be sealed elsewhere."""
        rows = [
            (log, receipt_id, batch.seq, row)
            for log, batch, ids in grown
            for row, receipt_id in enumerate(ids)
        ]
        found = execute_many(connection, self._database.insert_or_skip(SEALED), _PLACE_NAMES, rows)
        if found != len(rows):
            raise Conflict(f"{len(rows) - found} of these receipts are sealed already", len(rows) - found)

    def sole_writer(self, timeout: float = 30.0) -> AbstractContextManager[None]:
        """See `ports.UsageLedger`."""
        return self._database.sole_writer(timeout)


def _append(connection: Connection, grown: Sequence[tuple[int, BatchRecord, Sequence[TreeNode]]]) -> None:
    statement = (
        update(LOGS)
        .where(LOGS.c.id == bindparam("log_"), LOGS.c.size == bindparam("seq_"))
        .values(size=bindparam("size_"))
    )
    sizes = [(batch.seq + 1, log, batch.seq) for log, batch, _ in grown]
    if execute_many(connection, statement, ("size_", "log_", "seq_"), sizes) != len(grown):
        raise Conflict("a log has grown meanwhile; seal again", [batch.log for _, batch, _ in grown])
    batches = [
        (log, batch.seq, batch.size, batch.root.hash, batch.root.sum.to_bytes(), batch.segment)
        for log, batch, _ in grown
    ]
    execute_many(connection, insert(BATCHES), ("log", "seq", "size", "root", "sum", "segment"), batches)
    subtrees = [
        (log, made.level, made.position, made.node.hash, made.node.sum.to_bytes())
        for log, _, nodes in grown
        for made in nodes
    ]
    execute_many(connection, insert(NODES), ("log", "level", "position", "hash", "sum"), subtrees)


def _ids(table: ReceiptTable) -> list[bytes]:
    return cells(table.receipts.ids.tobytes(), DIGEST_BYTES)


def _drop_pending(connection: Connection, grown: Sequence[tuple[int, Pending]]) -> None:
    """Remove the pending rows, provided that they still say what was sealed."""
    c = PENDING.c
    statement = delete(PENDING).where(
        c.arrival == bindparam("arrival_"),
        c.log == bindparam("log_"),
        c.usage == bindparam("usage_", type_=LargeBinary),
        c.details_hash == bindparam("hash_"),
    )
    rows: list[tuple[object, ...]] = []
    for log, pending in grown:
        usage = cells(pending.table.receipts.usage.astype(">i8").tobytes(), USAGE_BYTES)
        hashes = cells(pending.table.receipts.details.tobytes(), DIGEST_BYTES)
        rows += zip(pending.arrivals.tolist(), repeat(log), usage, hashes, strict=False)
    found = execute_many(connection, statement, ("arrival_", "log_", "usage_", "hash_"), rows)
    if found != len(rows):
        raise Conflict(f"{len(rows) - found} receipts changed while they were sealed; seal again", found)


def _forget_pending(connection: Connection, log: int, ids: Sequence[bytes]) -> None:
    """Remove receipts from the pending ones, and from their log's total, that a segment holds sealed."""
    for part in in_slices(ids):
        wanted = (PENDING.c.log == log, PENDING.c.receipt_id.in_(part))
        held: list[UsageVector] = list(connection.execute(select(PENDING.c.usage).where(*wanted)).scalars())
        if held:
            _add_total(connection, log, UsageVector.zero() - sum(held, UsageVector.zero()))
            connection.execute(delete(PENDING).where(*wanted))


def _add_total(connection: Connection, log: int, usage: UsageVector) -> None:
    query = select(LOGS.c.total).where(LOGS.c.id == log).with_for_update()
    total: UsageVector = connection.execute(query).scalar_one()
    connection.execute(update(LOGS).where(LOGS.c.id == log).values(total=total + usage))


def _batch_of(log: LogKey, row: SqlRow) -> BatchRecord:
    return BatchRecord(log, row.seq, row.size, SumNode(bytes(row.root), row.sum), row.segment)
