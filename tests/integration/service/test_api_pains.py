"""What users of neighbouring systems suffer, each shown not to happen here.

The names in the docstrings are those systems' public reports.
"""

from __future__ import annotations

import threading
import time

import _service as support
import httpx
import pytest

from meterbridge.adapters.intake.group_commit import Bounds, GroupCommit, Overloaded
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.entrypoints.api.worker import Work, Worker
from meterbridge.services.records import LogKind


def test_a_retry_after_a_failed_write_is_metered_and_not_taken_for_a_duplicate(live, monkeypatch):
    """Openmeter #5118: key and row are one transaction, so a failed write leaves no key behind."""
    from sqlalchemy.exc import OperationalError

    from meterbridge.adapters.intake import bulk_ledger

    real, failed = bulk_ledger._insert, []

    def fails_after_the_index(connection, table, columns, rows):
        if table.name == "pending_receipts" and not failed:
            failed.append(table.name)
            raise OperationalError("INSERT", None, Exception("disk full"))
        real(connection, table, columns, rows)

    monkeypatch.setattr(bulk_ledger, "_insert", fails_after_the_index)
    first = live.send(support.event("a"))
    assert (first.status_code, failed) == (
        503,
        ["pending_receipts"],
    )  # and the client is not told it was metered
    assert live.http.get("/readyz").status_code == 503
    assert live.send(support.event("a")).json() == {"accepted": 1, "repeated": 0}
    assert live.http.get("/readyz").status_code == 200


def test_duplicates_never_count_not_even_for_a_while(live):
    """Lago-api #5416, #5359, #5725: dedupe is part of the write; nothing over-counts meanwhile."""
    start = threading.Barrier(4)
    answers = []

    def send():
        with httpx.Client(base_url=live.url, headers=live.http.headers, timeout=30) as client:
            start.wait()
            for _ in range(5):
                body = [support.event(str(i)) for i in range(50)]
                kind = {"Content-Type": "application/cloudevents-batch+json"}
                answers.append(client.post("/v1/events", json=body, headers=kind).json())

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer["accepted"] for answer in answers) == 50
    assert sum(answer["repeated"] for answer in answers) == 50 * 19
    assert live.usage()[0] == 50 * 12


def test_streamed_usage_reported_by_every_chunk_counts_once(live):
    """Litellm #36168, #37923, #42663, #40100: a call has one id, so its chunks cannot add up."""
    for tokens in (5, 9, 12):  # a gateway that reports running totals under one id
        live.send(support.event("stream", tokens=tokens))
    assert live.usage()[0] == 5  # the first; the others wait for a person, and none is added
    assert len(live.http.get("/v1/quarantine").json()["items"]) == 2


def test_inflated_counts_can_be_taken_back(live):
    """D-inference #30: a charge 200 times too high is credited after sealing, and the log shows both."""
    live.send(support.event("a", tokens=2_400))
    live.deps.worker.round()
    receipt = live.http.get(live.path("/logs/charges/0/receipts")).json()["items"][0]["id"]
    body = {
        "tariff": f"0x{live.book.record.id.hex()}",
        "payer": support.PAYER,
        "receipt": receipt,
        "buckets": {"input": 12, "output": 3},
        "reason": "counted 200 times",
    }
    assert live.http.post("/v1/corrections", json=body).json()["kind"] == "credited"
    net = [a - b for a, b in zip(live.usage(), live.usage(LogKind.CREDITS), strict=True)]
    assert net[:3] == [12, 0, 3]


def test_a_signer_that_does_not_sign_is_found_at_once(live):
    """Valory mech #475, #476: not after hours, when every settlement reverts."""

    class Liar:
        address = live.book.signer.address

        def sign_digest(self, _digest):
            return bytes(65)

    live.deps.worker._work.signer = Liar()
    live.send(support.event("a"))
    assert live.deps.worker.round() is False
    assert list(live.book.ledger.statements(live.book.record.id)) == []


def test_one_poisoned_request_does_not_block_its_group():
    """Indexer-rs #214: what fails in a group is tried alone, and only the poison fails."""
    groups, gate = [], threading.Event()

    def commit(group):
        gate.wait(300)
        groups.append(list(group))
        if "poison" in group:
            raise MeterbridgeError("no")
        return [item.upper() for item in group]

    writer = GroupCommit[str, str](commit, len, Bounds(group=1_000, waiting=1_000))
    futures = [writer.submit(item) for item in ("first", "a", "poison", "b")]
    gate.set()
    assert [futures[i].result(300) for i in (0, 1, 3)] == ["FIRST", "A", "B"]
    with pytest.raises(MeterbridgeError):
        futures[2].result(300)
    assert any("poison" in group and len(group) > 1 for group in groups)  # it had company at first
    assert writer.close(300)


def test_waiting_is_bounded_and_refused_beyond():
    gate = threading.Event()
    writer = GroupCommit[str, str](
        lambda group: [gate.wait(300) and item for item in group], len, Bounds(10, 20)
    )
    taken = [writer.submit("x" * 10), writer.submit("y" * 10)]
    with pytest.raises(Overloaded):
        writer.submit("z")
    gate.set()
    assert [len(future.result(300)) for future in taken] == [10, 10]
    assert writer.close(300)


def test_a_full_service_answers_503_with_retry_after_and_recovers(book, serve, monkeypatch):
    with serve(book, waiting_events=5) as live:
        gate, real = threading.Event(), live.deps.recorder._commit_all
        monkeypatch.setattr(live.deps.recorder, "_commit_all", lambda group: (gate.wait(300), real(group))[1])
        with httpx.Client(base_url=live.url, headers=live.http.headers, timeout=30) as other:
            kind = {"Content-Type": "application/cloudevents-batch+json"}
            body = [support.event(str(i)) for i in range(5)]
            slow = threading.Thread(target=lambda: other.post("/v1/events", json=body, headers=kind))
            slow.start()
            while live.deps.recorder.waiting < 5:
                time.sleep(0.001)
            answer = live.send(support.event("b"))
            gate.set()
            slow.join()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert live.send(support.event("b")).status_code == 200


def stalled_worker(live, clock):
    work = live.deps.worker._work
    worker = Worker(
        Work(
            work.ledger,
            work.segments,
            live.deps.settings,
            work.metrics,
            lambda: 0,
            work.signer,
            clock=lambda: clock[0],
        )
    )
    live.deps.worker.stop()
    live.deps.worker = worker
    worker._thread = threading.current_thread()  # alive, as far as readiness asks
    return worker


def test_a_worker_that_fails_turns_readiness_false_and_recovers_by_itself(live):
    """Indexer-rs #1094 and #260: it says so, and the next round after the outage succeeds."""
    clock = [0.0]
    worker = stalled_worker(live, clock)
    live.send(support.event("a"))
    signer, worker._work.signer = worker._work.signer, object()  # the signer's outage
    assert worker.round() is False
    assert live.http.get("/readyz").status_code == 200  # one failed round is no alarm
    clock[0] = 3_600.0 * 5 + 1
    answer = live.http.get("/readyz")
    assert (answer.status_code, list(answer.json()["failing"])) == (503, ["sealing"])
    worker._work.signer = signer
    assert worker.round() is True
    assert live.http.get("/readyz").status_code == 200
    assert len(list(live.book.ledger.statements(live.book.record.id))) == 1
    worker._thread = threading.Thread()  # nothing to wait for at the end


def test_a_worker_that_died_turns_readiness_false(live):
    worker = stalled_worker(live, [0.0])
    worker._thread = threading.Thread()
    assert live.http.get("/readyz").json()["failing"] == {
        "sealing": "the worker has died; restart the service"
    }


def test_settling_that_stalls_turns_readiness_false_and_recovers_by_itself(live):
    """Indexer-rs #1094: money never piles up unsettled behind a service that calls itself ready."""
    clock = [0.0]
    worker = stalled_worker(live, clock)
    outage = [True]

    def settle(_record, _signed):
        if outage[0]:
            raise MeterbridgeError("the node is away")

    worker._work.settle = settle
    live.send(support.event("a"))
    assert worker.round() is False  # sealed and signed, but not settled
    clock[0] = live.deps.settings.settle_seconds + 1.0
    answer = live.http.get("/readyz")
    assert (answer.status_code, list(answer.json()["failing"])) == (503, ["settling"])
    assert "the node is away" in answer.json()["failing"]["settling"]
    outage[0] = False
    assert worker.round() is True
    assert live.http.get("/readyz").status_code == 200
    worker._thread = threading.Thread()  # nothing to wait for at the end


def test_a_batch_never_grows_past_its_limit(book, serve):
    """Indexer-rs #143, xmtpd #563: more receipts make more batches."""
    with serve(book, batch_receipts=7) as live:
        live.send(*(support.event(str(i)) for i in range(20)))
        assert live.deps.worker.round()
        sizes = [b["size"] for b in live.http.get(live.path("/logs/charges")).json()["items"]]
        assert sum(sizes) == 20
        assert max(sizes) <= 7
