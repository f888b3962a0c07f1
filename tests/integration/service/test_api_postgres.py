"""The same service on PostgreSQL."""

from __future__ import annotations

import _service as support
import pytest
from sqlalchemy import text

from meterbridge.adapters.postgres import BadDatabaseUrl, PostgresDatabase
from meterbridge.services.ledger_errors import LedgerBusy
from meterbridge.services.proof_json import proof_from_json
from meterbridge.services.proofs import verify_proof
from meterbridge.services.records import LogKind


def test_an_event_is_counted_once_corrected_sealed_and_proven(tmp_path, database, serve):
    book = support.Book(tmp_path, database)
    with serve(book) as live:
        first = live.send(*(support.event(str(i)) for i in range(100)))
        again = live.send(*(support.event(str(i)) for i in range(50, 150)))
        assert (first.json(), again.json()) == (
            {"accepted": 100, "repeated": 0},
            {"accepted": 50, "repeated": 50},
        )
        assert live.send(support.event("3", tokens=5), support.event("new")).status_code == 409
        assert len(live.http.get("/v1/quarantine").json()["items"]) == 1
        assert live.deps.worker.round()
        assert live.http.post("/v1/quarantine/1/release", json={}).json()["state"] == "released"
        assert live.usage(LogKind.CREDITS)[:3] == (12, 0, 3)
        assert live.usage()[:3] == (151 * 12 + 5, 0, 152 * 3)
        receipt = live.http.get(live.path("/logs/charges/0/receipts")).json()["items"][0]["id"]
        proof = live.http.get(live.path(f"/receipts/{receipt}/proof")).json()
        assert verify_proof(proof_from_json(proof)).proven.receipt.usage.lanes[0] == 12
    book.close()


def test_lost_connections_cost_one_answer_at_most(tmp_path, database, serve):
    book = support.Book(tmp_path, database)
    with serve(book) as live:
        live.send(support.event("a"))
        with book.base.write() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            )
        statuses = [live.send(support.event("b")).status_code for _ in range(2)]
        assert statuses[-1] == 200
        assert set(statuses) <= {200, 503}
        assert live.usage()[0] == 24
    book.close()


def test_the_sole_writers_lock_excludes_other_sessions_and_ends(tmp_path, database):
    one, two = PostgresDatabase.open(database), PostgresDatabase.open(database)
    with one.sole_writer(1.0), pytest.raises(LedgerBusy), two.sole_writer(0.1):
        pass
    with two.sole_writer(0.1):
        pass
    one.close()
    two.close()


def test_another_kind_of_database_is_refused_without_showing_its_password():
    with pytest.raises(BadDatabaseUrl) as refused:
        PostgresDatabase.open("mysql://user:secret@host/name")
    assert "secret" not in str(refused.value)
