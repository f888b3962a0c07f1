"""Logs in SQL: their elements and the subtrees over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from sqlalchemy import Connection, LargeBinary, bindparam, delete, insert, select, tuple_, update

from meterbridge.adapters.sql.database import SqlRow, in_slices
from meterbridge.adapters.sql.receipts import INDEX, PENDING, SqlReceipts, event_keys
from meterbridge.adapters.sql.registry import ACCOUNTS, LOGS
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.usage import BatchRow, RestartRow, TreeNodeRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.sum_tree import SumNode
from meterbridge.domain.units import UsageVector
from meterbridge.services.ledger_errors import Conflict, UnknownReceipt
from meterbridge.services.records import (
    AccountKey,
    BatchRecord,
    LogKey,
    LogKind,
    Pending,
    ReceiptTable,
    Restart,
    TreeNode,
)

BATCHES: Final = table_of(BatchRow)
NODES: Final = table_of(TreeNodeRow)
RESTARTS: Final = table_of(RestartRow)
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
        domain = self.tariff(tariff_id).domain
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

    def commit_batch(self, batch: BatchRecord, nodes: Sequence[TreeNode], sealed: Pending) -> None:
        """See `ports.UsageLedger`."""
        log = self._log_row(batch.log)
        with self._database.write() as connection:
            _append(connection, log, batch, nodes)
            _mark_sealed(connection, log, batch, sealed.table)
            _drop_pending(connection, log, sealed)

    def restore_batch(
        self, batch: BatchRecord, nodes: Sequence[TreeNode], table: ReceiptTable, contents: Sequence[bytes]
    ) -> None:
        """See `ports.UsageLedger`."""
        log, tariff = self._log_row(batch.log), self._tariff_row(batch.log.account.tariff_id)
        ids = table.receipts.ids.tobytes()
        keys = event_keys(table.sources, table.event_ids)
        rows = [
            {"receipt_id": ids[i * 32 : i * 32 + 32], "event_key": keys[i], "content": contents[i]}
            | {"log": log, "tariff": tariff, "seq": batch.seq, "batch_row": i}
            for i in range(len(table))
        ]
        with self._database.write() as connection:
            _append(connection, log, batch, nodes)
            added = connection.execute(self._database.insert_or_skip(INDEX), rows).rowcount
            if added != len(rows):
                raise Conflict(
                    f"segment {batch.segment} holds {len(rows) - added} receipts that the ledger has; "
                    "rebuild into an empty ledger",
                    batch.segment,
                )
            _add_total(connection, log, batch.root.sum)

    def restart(self, account: AccountKey, state: Restart, elements: Sequence[BatchRecord]) -> None:
        """See `ports.UsageLedger`."""
        logs = {kind: self._log_row(LogKey(account, kind)) for kind in LogKind}
        with self._database.write() as connection:
            row = connection.execute(select(LOGS.c.account).filter_by(id=logs[LogKind.CHARGES])).scalar_one()
            for element in elements:
                log = logs[element.log.kind]
                _append(connection, log, element, [TreeNode(0, 0, element.root)])
                _add_total(connection, log, element.root.sum)
            values = {"head": state.head, "usage": state.usage, "sealed_at": state.sealed_at}
            connection.execute(insert(RESTARTS).values(account=row, **values))

    def sole_writer(self, timeout: float = 30.0) -> AbstractContextManager[None]:
        """See `ports.UsageLedger`."""
        return self._database.sole_writer(timeout)


def _append(connection: Connection, log: int, batch: BatchRecord, nodes: Sequence[TreeNode]) -> None:
    grown = update(LOGS).where(LOGS.c.id == log, LOGS.c.size == batch.seq).values(size=batch.seq + 1)
    if connection.execute(grown).rowcount != 1:
        raise Conflict(
            f"the {batch.log.kind} log of {batch.log.account.payer} has grown meanwhile", batch.seq
        )
    connection.execute(
        insert(BATCHES).values(
            log=log,
            seq=batch.seq,
            size=batch.size,
            root=batch.root.hash,
            sum=batch.root.sum,
            segment=batch.segment,
        )
    )
    connection.execute(
        insert(NODES),
        [
            {"log": log, "level": n.level, "position": n.position, "hash": n.node.hash, "sum": n.node.sum}
            for n in nodes
        ],
    )


def _mark_sealed(connection: Connection, log: int, batch: BatchRecord, table: ReceiptTable) -> None:
    ids = table.receipts.ids.tobytes()
    found = connection.execute(
        update(INDEX)
        .where(INDEX.c.log == log, INDEX.c.receipt_id == bindparam("id_"), INDEX.c.seq.is_(None))
        .values(seq=batch.seq, batch_row=bindparam("row_")),
        [{"id_": ids[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES], "row_": i} for i in range(len(table))],
    ).rowcount
    if found != len(table):
        raise Conflict(f"{len(table) - found} receipts of this batch are sealed already", batch.seq)


def _drop_pending(connection: Connection, log: int, sealed: Pending) -> None:
    """Remove the pending rows, provided that they still say what was sealed."""
    usage = sealed.table.receipts.usage.astype(">i8").tobytes()
    hashes = sealed.table.receipts.details.tobytes()
    found = connection.execute(
        delete(PENDING).where(
            PENDING.c.arrival == bindparam("arrival_"),
            PENDING.c.log == log,
            PENDING.c.usage == bindparam("usage_", type_=LargeBinary),
            PENDING.c.details_hash == bindparam("hash_"),
        ),
        [
            {"arrival_": a, "usage_": usage[i * 64 : i * 64 + 64], "hash_": hashes[i * 32 : i * 32 + 32]}
            for i, a in enumerate(sealed.arrivals.tolist())
        ],
    ).rowcount
    if found != len(sealed.arrivals):
        raise Conflict(f"{len(sealed.arrivals) - found} receipts changed while they were sealed", found)


def _add_total(connection: Connection, log: int, usage: UsageVector) -> None:
    query = select(LOGS.c.total).where(LOGS.c.id == log).with_for_update()
    total: UsageVector = connection.execute(query).scalar_one()
    connection.execute(update(LOGS).where(LOGS.c.id == log).values(total=total + usage))


def _batch_of(log: LogKey, row: SqlRow) -> BatchRecord:
    return BatchRecord(log, row.seq, row.size, SumNode(bytes(row.root), row.sum), row.segment)
