"""A ledger of the schema before, with receipts in it, opens as if it had been written today."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import _service as support
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from meterbridge.adapters import migrations
from meterbridge.adapters.sql.receipts import event_keys
from meterbridge.domain.receipts import receipt_id
from meterbridge.services.records import LogKey, LogKind

NAMES = [f"call-{n}" for n in range(6)]
SEALED = NAMES[:4]


def to_revision(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.downgrade(config, revision)


def as_it_was(book: support.Book, blind: bytes) -> None:
    """Take the tables of receipts back to revision 0005, by what a test knows of their rows."""
    keys = dict(zip(NAMES, event_keys(["gateway"] * len(NAMES), NAMES), strict=True))
    with book.base.write() as connection:
        index = connection.execute(text("SELECT tariff, event_key, log, content FROM receipt_index")).all()
        sealed = connection.execute(text("SELECT receipt_id, seq, batch_row FROM sealed_receipts")).all()
        pending = connection.execute(text("SELECT * FROM pending_receipts")).mappings().all()
        for table in ("receipt_index", "sealed_receipts", "pending_receipts"):
            connection.execute(text(f"DELETE FROM {table}"))
        to_revision(connection, "0005")
        places = {bytes(row.receipt_id): row for row in sealed}
        of_key = {bytes(row.event_key): row for row in index}
        for name in NAMES:
            identity = receipt_id(blind, "gateway", name)
            row, place = of_key[keys[name]], places.get(identity)
            values = {
                "log": row.log,
                "id": identity,
                "tariff": row.tariff,
                "key": keys[name],
                "content": bytes(row.content),
                "seq": None if place is None else place.seq,
                "row": None if place is None else place.batch_row,
            }
            insert = "INSERT INTO receipt_index VALUES (:log, :id, :tariff, :key, :content, :seq, :row)"
            connection.execute(text(insert), values)
        for row in pending:
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO pending_receipts ({names}) VALUES ({marks})"), dict(row))
        if connection.dialect.name == "postgresql":  # the counter of the table that stood here before
            counter = "pg_get_serial_sequence('pending_receipts', 'arrival')"
            connection.execute(text(f"SELECT setval({counter}, {len(NAMES)})"))


@pytest.fixture(params=["sqlite", "postgresql"])
def book(request, tmp_path):
    url = request.getfixturevalue("database") if request.param == "postgresql" else None
    found = support.Book(tmp_path, url)
    yield found
    found.close()


def test_receipts_of_the_schema_before_are_found_again(book, serve):
    with serve(book) as live:
        live.send(*(support.event(name) for name in SEALED))
        live.deps.worker.round()
        live.send(*(support.event(name) for name in NAMES[4:]))
        (account,) = book.ledger.accounts(book.record.id)
    log = LogKey(account.key, LogKind.CHARGES)
    before = {name: book.ledger.find(log, receipt_id(account.blind, "gateway", name)) for name in NAMES}
    assert [place.seq for place in before.values() if place] == [0] * 4 + [None] * 2
    as_it_was(book, account.blind)
    book.close()
    book.ledger, book.base = book.open()
    after = {name: book.ledger.find(log, receipt_id(account.blind, "gateway", name)) for name in NAMES}
    assert after == before
    for name in NAMES:
        assert book.ledger.locate(book.record.id, "gateway", name) == (
            log,
            receipt_id(account.blind, "gateway", name),
        )
    with serve(book) as live:
        again = live.send(*(support.event(name) for name in NAMES), support.event("new"))
        assert again.json() == {"accepted": 1, "repeated": 6}
        arrivals = book.ledger.pending(log).arrivals.tolist()
        assert len(set(arrivals)) == 3
        assert max(arrivals) > len(NAMES), "no arrival is used twice"
        live.deps.worker.round()
        assert live.usage()[:4] == (12 * 7, 0, 3 * 7, 0)
    assert book.ledger.pending_count(book.record.id) == 0


def test_a_ledger_with_receipts_does_not_go_back(tmp_path, serve):
    book = support.Book(tmp_path)
    with serve(book) as live:
        live.send(support.event("a"))
    with pytest.raises(NotImplementedError, match="restore a backup"), book.base.write() as connection:
        to_revision(connection, "0005")
    book.close()
    rows = sqlite3.connect(tmp_path / "ledger.db").execute("SELECT count(*) FROM receipt_index").fetchone()
    assert rows == (1,)
