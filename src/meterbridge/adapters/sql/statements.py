"""Statements in SQL: stored before they leave, so that no head is ever signed and forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select

from meterbridge.adapters.sql.database import SqlRow, SqlSelect, insert_row
from meterbridge.adapters.sql.logs import RESTARTS, SqlLogs
from meterbridge.adapters.sql.registry import ACCOUNTS
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.proving import LineHashesRow
from meterbridge.adapters.tables.usage import StatementLineRow, StatementRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.arrays import cells
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.statements import Domain, Line, SignedStatement, Statement
from meterbridge.domain.sum_tree import Head, LogState, SumNode
from meterbridge.services.ledger_errors import Conflict, UnknownAccount
from meterbridge.services.records import AccountKey, SignedHead, StatementRecord
from meterbridge.services.signed_lines import SignedLine

STATEMENTS: Final = table_of(StatementRow)
LINES: Final = table_of(StatementLineRow)
HASHES: Final = table_of(LineHashesRow)


class SqlStatements(SqlLogs):
    """What was signed, in order of time."""

    def last_signed(self, tariff_id: bytes) -> Mapping[AccountKey, SignedHead]:
        """See `ports.StatementLedger`."""
        domain, tariff = self._domain(tariff_id), self._tariff_row(tariff_id)
        restarts = (
            select(ACCOUNTS.c.payer, RESTARTS.c.sealed_at)
            .join(RESTARTS, RESTARTS.c.account == ACCOUNTS.c.id)
            .where(ACCOUNTS.c.tariff == tariff)
        )
        last: dict[AccountKey, SignedHead] = {}
        with self._database.read() as connection:
            for row in connection.execute(restarts):
                last[_key(domain, tariff_id, row)] = SignedHead(row.sealed_at, None)
            for row in connection.execute(_last_lines(tariff)):
                last[_key(domain, tariff_id, row)] = SignedHead(row.sealed_at, _head_of(row))
        return last

    def store_statements(self, records: Sequence[StatementRecord]) -> None:
        """See `ports.StatementLedger`."""
        with self._database.write() as connection:
            for record in records:
                self._store(connection, record)

    def _store(self, connection: Connection, record: StatementRecord) -> None:
        statement = record.signed.statement
        tariff = self._tariff_row(statement.tariff_id)
        lines = _line_rows(record, _accounts(connection, tariff, statement))
        _require_later(connection, tariff, statement)
        row = insert_row(
            connection,
            STATEMENTS,
            tariff=tariff,
            sealed_at=statement.sealed_at,
            part=record.part,
            digest=record.signed.digest(),
            signer=record.signed.signer.raw,
            signature=record.signed.signature,
        )
        connection.execute(insert(LINES), [{"statement": row} | line for line in lines])
        connection.execute(insert(HASHES), {"statement": row, "hashes": _packed(record.signed)})

    def statements(self, tariff_id: bytes) -> Iterator[StatementRecord]:
        """See `ports.StatementLedger`."""
        wanted = STATEMENTS.c.tariff == self._tariff_row(tariff_id)
        query = _statement_lines().where(wanted)
        domain = self._domain(tariff_id)
        with self._database.read() as connection:
            for _, rows in groupby(connection.execute(query), key=lambda row: row.id):
                yield _record_of(domain, tariff_id, list(rows))

    def signed_line(self, account: AccountKey) -> SignedLine | None:
        """See `ports.StatementLedger`. Of a statement of 1,000 lines one is read, and the hashes of all."""
        query = (
            select(STATEMENTS.c.signer, STATEMENTS.c.signature, HASHES.c.hashes, LINES)
            .join(LINES, LINES.c.statement == STATEMENTS.c.id)
            .join(ACCOUNTS, ACCOUNTS.c.id == LINES.c.account)
            .outerjoin(HASHES, HASHES.c.statement == STATEMENTS.c.id)
            .where(ACCOUNTS.c.tariff == self._require_tariff(account), ACCOUNTS.c.payer == account.payer.raw)
            .order_by(LINES.c.sealed_at.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            hashes = row.hashes
            if hashes is None:  # it was stored before hashes were
                lines = connection.execute(_statement_lines().where(STATEMENTS.c.id == row.statement)).all()
                hashes = _packed(_record_of(account.domain, account.tariff_id, lines).signed)
        return SignedLine(
            sealed_at=row.sealed_at,
            position=row.position,
            head=_head_of(row),
            line_hashes=tuple(cells(bytes(hashes), DIGEST_BYTES)),
            signer=Address(bytes(row.signer)),
            signature=bytes(row.signature),
        )


def _last_lines(tariff: int) -> SqlSelect:
    """Select each account's last line: one index look-up an account, however many statements there are."""
    times = LINES.alias("times")
    last = select(func.max(times.c.sealed_at)).where(times.c.account == ACCOUNTS.c.id).scalar_subquery()
    return (
        select(ACCOUNTS.c.payer, LINES)
        .select_from(ACCOUNTS)
        .join(LINES, (LINES.c.account == ACCOUNTS.c.id) & (LINES.c.sealed_at == last))
        .where(ACCOUNTS.c.tariff == tariff)
    )


def _statement_lines() -> SqlSelect:
    head = (STATEMENTS.c.id, STATEMENTS.c.part, STATEMENTS.c.signer, STATEMENTS.c.signature)
    return (
        select(*head, ACCOUNTS.c.payer, LINES)
        .join(LINES, LINES.c.statement == STATEMENTS.c.id)
        .join(ACCOUNTS, ACCOUNTS.c.id == LINES.c.account)
        .order_by(STATEMENTS.c.sealed_at, STATEMENTS.c.part, LINES.c.position)
    )


def _record_of(domain: Domain, tariff_id: bytes, rows: Sequence[SqlRow]) -> StatementRecord:
    heads = tuple(_head_of(row) for row in rows)
    lines = tuple(
        Line(Address(bytes(row.payer)), head.usage(), head.hash())
        for row, head in zip(rows, heads, strict=True)
    )
    statement = Statement(tariff_id, rows[0].sealed_at, lines)
    signed = SignedStatement(domain, statement, Address(bytes(rows[0].signer)), bytes(rows[0].signature))
    return StatementRecord(signed, rows[0].part, heads)


def _packed(signed: SignedStatement) -> bytes:
    """Return the hashes of all lines, one after another."""
    return b"".join(signed.statement.line_hashes())


def _head_of(row: SqlRow) -> Head:
    return Head(
        LogState(row.charges_size, SumNode(bytes(row.charges_hash), row.charges_sum)),
        LogState(row.credits_size, SumNode(bytes(row.credits_hash), row.credits_sum)),
    )


def _line_rows(record: StatementRecord, accounts: Mapping[bytes, int]) -> list[dict[str, Any]]:
    statement = record.signed.statement
    rows = []
    for position, (line, head) in enumerate(zip(statement.lines, record.heads, strict=True)):
        if line.head != head.hash() or line.usage != head.usage():
            raise Conflict(f"the line of {line.payer} is not that of the head behind it", line)
        row: dict[str, Any] = {"position": position, "account": accounts[line.payer.raw]}
        for name, log in (("charges", head.charges), ("credits", head.credits)):
            row |= {f"{name}_size": log.size, f"{name}_hash": log.root.hash, f"{name}_sum": log.root.sum}
        rows.append(row | {"sealed_at": statement.sealed_at})
    return rows


def _accounts(connection: Connection, tariff: int, statement: Statement) -> dict[bytes, int]:
    payers = [line.payer.raw for line in statement.lines]
    query = select(ACCOUNTS.c.payer, ACCOUNTS.c.id).where(
        ACCOUNTS.c.tariff == tariff, ACCOUNTS.c.payer.in_(payers)
    )
    found = {bytes(row.payer): row.id for row in connection.execute(query)}
    for payer in payers:
        if payer not in found:
            raise UnknownAccount(f"the ledger has no account of {Address(payer)} under this tariff", payer)
    return found


def _require_later(connection: Connection, tariff: int, statement: Statement) -> None:
    """Refuse a time that is not after each account's last: a race between writers ends here."""
    accounts = _accounts(connection, tariff, statement).values()
    for table in (LINES, RESTARTS):
        query = select(func.max(table.c.sealed_at)).where(table.c.account.in_(accounts))
        last = connection.execute(query).scalar_one()
        if last is not None and last >= statement.sealed_at:
            raise Conflict(
                f"an account of this statement has one of time {last}, not before {statement.sealed_at}", last
            )


def _key(domain: Domain, tariff_id: bytes, row: SqlRow) -> AccountKey:
    return AccountKey(domain, tariff_id, Address(bytes(row.payer)))
