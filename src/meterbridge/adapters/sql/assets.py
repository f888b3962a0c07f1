"""Submissions in SQL: the asset side of the ledger. Nothing here knows what usage is."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, bindparam, delete, select, text, update

from meterbridge.adapters.sql.database import Database, SqlRow, insert_row
from meterbridge.adapters.tables.assets import DrawRow, SubmissionRow
from meterbridge.adapters.tables.base import table_of
from meterbridge.domain.addresses import Address
from meterbridge.services.ledger_errors import Conflict
from meterbridge.services.records import Draw, SubmissionRecord, SubmissionState
from meterbridge.services.settling.parcels import Draws

SUBMISSIONS: Final = table_of(SubmissionRow)
DRAWS: Final = table_of(DrawRow)
_BY_HASH: Final = select(SUBMISSIONS).where(SUBMISSIONS.c.tx_hash == bindparam("of_tx"))
# `AssetColumn` keeps an amount as decimal digits.
_INSERT_DRAWS: Final = {
    "sqlite": text(
        "INSERT INTO draws (submission, position, payer, drawn, skipped) "
        "SELECT :submission, key, substr(:payers, 20 * key + 1, 20), value, "
        "substr(:skipped, key + 1, 1) = x'01' FROM json_each(:amounts)"
    ),
    "postgresql": text(
        "INSERT INTO draws (submission, position, payer, drawn, skipped) "
        "SELECT :submission, place - 1, "
        "substring(CAST(:payers AS bytea) FROM 20 * place - 19 FOR 20), amount, "
        "get_byte(CAST(:skipped AS bytea), place - 1) = 1 "
        "FROM (SELECT amount, CAST(ordinality AS integer) AS place "
        "FROM json_array_elements_text(CAST(:amounts AS json)) WITH ORDINALITY AS told (amount)) AS draw"
    ),
}


class SqlAssets:
    """What was submitted, and what it drew."""

    _database: Database

    def record_submission(self, submission: SubmissionRecord) -> None:
        """See `ports.AssetLedger`."""
        with self._database.write() as connection:
            store_submission(connection, submission)

    def submissions(self, tariff_id: bytes) -> list[SubmissionRecord]:
        """See `ports.AssetLedger`."""
        return self._submissions(SUBMISSIONS.c.tariff_id == tariff_id)

    def settlements(self, tariff_id: bytes) -> list[SubmissionRecord]:
        """See `ports.AssetLedger`."""
        settled = SUBMISSIONS.c.state == SubmissionState.SETTLED.value
        return self._submissions(SUBMISSIONS.c.tariff_id == tariff_id, settled)

    def settled_payers(self, tariff_id: bytes) -> Set[Address]:
        """See `ports.AssetLedger`."""
        settled = (SUBMISSIONS.c.tariff_id == tariff_id, SUBMISSIONS.c.state == SubmissionState.SETTLED.value)
        query = (
            select(DRAWS.c.payer).join(SUBMISSIONS, SUBMISSIONS.c.id == DRAWS.c.submission).where(*settled)
        )
        with self._database.read() as connection:
            return {Address(bytes(payer)) for payer in connection.execute(query.distinct()).scalars()}

    def _submissions(self, *wanted: ColumnElement[bool]) -> list[SubmissionRecord]:
        with self._database.read() as connection:
            rows = connection.execute(select(SUBMISSIONS).where(*wanted).order_by(SUBMISSIONS.c.id)).all()
            return [_record(row, _draws(connection, row.id)) for row in rows]


def store_submission(connection: Connection, submission: SubmissionRecord) -> None:
    """Insert or update a submission within a transaction; see `ports.AssetLedger.record_submission`."""
    known = connection.execute(_BY_HASH, {"of_tx": submission.tx_hash}).one_or_none()
    if known is None:
        row = insert_row(connection, SUBMISSIONS, tx_hash=submission.tx_hash, **_values(submission))
    else:
        row = known.id
        _require_forward(known, submission)
        if submission.state is SubmissionState.SENT and known.state != submission.state.value:
            return  # "sent" said late, or again, tells nothing that is not known
        connection.execute(update(SUBMISSIONS).where(SUBMISSIONS.c.id == row).values(**_values(submission)))
        connection.execute(delete(DRAWS).where(DRAWS.c.submission == row))
    if submission.draws:
        _insert_draws(connection, row, submission.draws)


def _values(submission: SubmissionRecord) -> dict[str, Any]:
    return {
        "tariff_id": submission.tariff_id,
        "digest": submission.digest,
        "sealed_at": submission.sealed_at,
        "state": submission.state.value,
        "block": submission.block,
    }


def _require_forward(known: SqlRow, submission: SubmissionRecord) -> None:
    if bytes(known.digest) != submission.digest:
        raise Conflict(
            f"transaction 0x{submission.tx_hash.hex()} carried another statement", submission.tx_hash
        )
    told = (SubmissionState.SENT.value, known.state)
    if known.state != SubmissionState.SENT.value and submission.state.value not in told:
        raise Conflict(
            f"transaction 0x{submission.tx_hash.hex()} is {known.state}; it cannot become {submission.state}",
            submission.state,
        )


def _insert_draws(connection: Connection, row: int, draws: Sequence[Draw]) -> None:
    """Insert all draws by one statement that cuts them out of columns: it takes a third of one for each."""
    columns = draws if isinstance(draws, Draws) else Draws.of(draws)
    values = {
        "submission": row,
        "payers": b"".join(columns.payers),
        "skipped": bytes(columns.skipped),
        "amounts": to_json([str(drawn) for drawn in columns.drawn]).decode(),
    }
    connection.execute(_INSERT_DRAWS[connection.dialect.name], values)


def _draws(connection: Connection, row: int) -> tuple[Draw, ...]:
    query = select(DRAWS).where(DRAWS.c.submission == row).order_by(DRAWS.c.position)
    return tuple(Draw(Address(bytes(d.payer)), d.drawn, d.skipped) for d in connection.execute(query))


def _record(row: SqlRow, draws: tuple[Draw, ...]) -> SubmissionRecord:
    return SubmissionRecord(
        tariff_id=bytes(row.tariff_id),
        digest=bytes(row.digest),
        sealed_at=row.sealed_at,
        tx_hash=bytes(row.tx_hash),
        state=SubmissionState(row.state),
        block=row.block,
        draws=draws,
    )
