"""The service as processes: it ends without losing an answer, counts over its workers, seals by count."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from pathlib import Path

import _service as support
import pytest
from sqlalchemy import select

from meterbridge.adapters.sql.receipts import PENDING

BATCH = "application/cloudevents-batch+json"
SENDERS = 4


class Sender(threading.Thread):
    """Posts over one connection after the other until nobody listens any more."""

    def __init__(self, port: int, key: str, name: str) -> None:
        super().__init__(daemon=True)
        self.port, self.key, self.label = port, key, name
        self.acknowledged: set[str] = set()
        self.statuses: set[int] = set()

    def run(self) -> None:
        number = 0
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                for _ in range(20):
                    number += 1
                    names = [f"{self.label}-{number}-{i}" for i in range(5)]
                    body = json.dumps([support.event(name) for name in names])
                    headers = {"Authorization": f"Bearer {self.key}", "Content-Type": BATCH}
                    connection.request("POST", "/v1/events", body, headers)
                    answer = connection.getresponse()
                    answer.read()
                    self.statuses.add(answer.status)
                    if answer.status == 200:
                        self.acknowledged.update(names)
            except (http.client.HTTPException, OSError):
                try:
                    http.client.HTTPConnection("127.0.0.1", self.port, timeout=5).connect()
                except OSError:
                    return  # nobody listens
            finally:
                connection.close()


def stored(book: support.Book) -> set[str]:
    with book.base.read() as connection:
        return set(connection.execute(select(PENDING.c.event_id)).scalars())


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_answers_all_that_was_taken(tmp_path: Path, workers: int) -> None:
    book = support.Book(tmp_path)
    arguments = ("--workers", str(workers))
    with support.running(book, *arguments, settings={"seal_seconds": 3_600}) as service:
        port = int(service.url.rsplit(":", 1)[1])
        senders = [Sender(port, book.key, f"s{n}") for n in range(SENDERS)]
        for sender in senders:
            sender.start()
        time.sleep(1.0)
        status = service.stop()
        for sender in senders:
            sender.join(60)
        log = service.log.read_text()
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    assert len(acknowledged) > 100, log[-2_000:]
    # Nothing lost, and nothing stored of which nobody heard: each request that was taken was answered.
    assert stored(book) == acknowledged
    assert set().union(*(sender.statuses for sender in senders)) <= {200, 503}
    assert log.count('"event":"stopped","drained":true') == workers, log[-2_000:]
    assert status in (0, -15, 143)
    book.close()


def counted(text: str) -> dict[str, float]:
    found = re.findall(r'^meterbridge_events_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {outcome: float(value) for outcome, value in found}


def get(service: support.Service, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", int(service.url.rsplit(":", 1)[1]), timeout=30)
    connection.request("GET", path)  # a connection of its own, so that any worker may get it
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_metrics_are_those_of_all_workers_whichever_answers(tmp_path: Path) -> None:
    book = support.Book(tmp_path)
    with support.running(book, "--workers", "2", settings={"seal_seconds": 3_600}) as service:
        time.sleep(2.0)  # until every worker listens
        for number in range(60):
            status, _ = support.post(service.url + "/v1/events", book.key, [support.event(str(number % 50))])
            assert status == 200
        for _ in range(8):
            assert counted(get(service, "/metrics")) == {"accepted": 50.0, "repeated": 10.0}
        pattern = r'request_seconds_count\{[^}]*"/v1/events"[^}]*\} (\S+)'
        assert sum(map(float, re.findall(pattern, get(service, "/metrics")))) == 60
    book.close()


def test_sealing_begins_early_once_so_many_receipts_are_pending(tmp_path: Path) -> None:
    book = support.Book(tmp_path)
    with support.running(book, settings={"seal_seconds": 3_600, "seal_receipts": 10}) as service:
        support.post(service.url + "/v1/events", book.key, [support.event(str(n)) for n in range(9)])
        time.sleep(1.0)
        assert book.ledger.pending_count(book.record.id) == 9  # neither the hour nor the count is there yet
        support.post(service.url + "/v1/events", book.key, [support.event("one more")])
        deadline = time.monotonic() + 30
        while not list(book.ledger.statements(book.record.id)) and time.monotonic() < deadline:
            time.sleep(0.05)
        (record,) = book.ledger.statements(book.record.id)
        assert record.signed.statement.lines[0].usage.lanes[:3] == (120, 0, 30)
    book.close()
