"""Several writers of one ledger: nobody waits in a circle, and no receipt stands without its log."""

from __future__ import annotations

import threading

import _service as support
import psycopg
from sqlalchemy import text

from meterbridge.adapters.intake import bulk_ledger
from meterbridge.adapters.sql.receipts import INDEX

ROUNDS = 3
EVENTS = 2_000


def test_two_that_are_sent_the_same_events_in_opposite_order_do_not_wait_in_a_circle(
    tmp_path, database, serve
):
    book = support.Book(tmp_path, database)
    together = threading.Barrier(2)
    found: list[dict[str, int]] = []

    def send(live, numbers):
        for number in range(ROUNDS):
            events = [support.event(f"{number}-{i}") for i in numbers]
            together.wait(300)
            found.append(live.send(*events).json())

    with serve(book) as one, serve(book) as two:
        senders = [
            threading.Thread(target=send, args=(one, range(EVENTS))),
            threading.Thread(target=send, args=(two, range(EVENTS - 1, -1, -1))),
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(600)
        assert one.usage()[0] == 12 * ROUNDS * EVENTS
    book.close()
    assert sum(answer["accepted"] for answer in found) == ROUNDS * EVENTS
    assert sum(answer["repeated"] for answer in found) == ROUNDS * EVENTS
    with psycopg.connect(database) as connection:  # all that count were closed: nothing is on its way
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert connection.execute(query).fetchone() == (0,)


def test_keys_go_into_the_index_in_their_order(live, monkeypatch):
    """What keeps the two above from waiting for each other, whatever the timing."""
    written = []
    monkeypatch.setattr(
        bulk_ledger, "_insert", lambda _c, table, _n, rows: written.append((table, list(rows)))
    )
    live.send(*(support.event(str(i)) for i in range(50)))
    keys = next([row[1] for row in rows] for table, rows in written if table is INDEX)
    assert len(keys) == 50
    assert keys == sorted(keys)


def test_a_receipt_whose_log_is_gone_is_refused_and_not_written(tmp_path, serve):
    """As after a backup was restored under a running service; no foreign key looks for each receipt's log."""
    book = support.Book(tmp_path)
    with serve(book) as live:
        assert live.send(support.event("a")).status_code == 200
        with book.base.write() as connection:
            for table in ("receipt_index", "pending_receipts", "logs", "accounts"):
                connection.execute(text(f"DELETE FROM {table}"))
        refused = live.send(support.event("b"))
        assert (refused.status_code, refused.json()["type"]) == (
            404,
            "urn:meterbridge:problem:unknown-account",
        )
        assert "restart" in refused.json()["detail"]
    with book.base.read() as connection:
        for table in ("receipt_index", "pending_receipts"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
    book.close()


def test_what_is_stored_is_a_repetition_also_where_the_log_is_full(tmp_path, serve):
    book = support.Book(tmp_path, records=[support.tariff_record(headroom="12")])
    with serve(book) as live:
        assert live.send(support.event("a")).json() == {"accepted": 1, "repeated": 0}
        assert live.send(support.event("a")).json() == {"accepted": 0, "repeated": 1}
        assert live.send(support.event("b")).json()["errors"][0]["problem"] == "headroom"
    book.close()
