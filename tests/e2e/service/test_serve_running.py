"""The service as processes: it ends without losing an answer, counts over its workers."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from pathlib import Path

import _service as support
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
                    socket.create_connection(("127.0.0.1", self.port), 5).close()
                except OSError:
                    return  # nobody listens
            finally:
                connection.close()


def stored(book: support.Book) -> set[str]:
    with book.base.read() as connection:
        return set(connection.execute(select(PENDING.c.event_id)).scalars())


def end_under_load(book: support.Book, service: support.Service, workers: int) -> set[str]:
    """Tell a service to end while senders are at it; return the events that were acknowledged to them."""
    senders = [Sender(int(service.url.rsplit(":", 1)[1]), book.key, f"s{n}") for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    deadline = time.monotonic() + 300
    while sum(len(sender.acknowledged) for sender in senders) < 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    status = service.stop()
    for sender in senders:
        sender.join(60)
    log = service.log.read_text()
    assert log.count('"event":"stopped","drained":true') == workers, log[-2_000:]
    assert status in (0, -15, 143)
    assert set().union(*(sender.statuses for sender in senders)) <= {200, 503}
    return set().union(*(sender.acknowledged for sender in senders))


def test_sigterm_under_load_answers_all_that_was_taken(tmp_path: Path) -> None:
    book = support.Book(tmp_path)
    with support.running(book, settings={"seal_seconds": 3_600}) as service:
        acknowledged = end_under_load(book, service, workers=1)
    assert len(acknowledged) >= 200
    # Nothing lost, and nothing stored of which nobody heard: each request that was taken was answered.
    assert stored(book) == acknowledged
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


def test_workers_count_together_and_end_together(tmp_path: Path) -> None:
    book = support.Book(tmp_path)
    with support.running(book, "--workers", "2", settings={"seal_seconds": 3_600}) as service:
        deadline = time.monotonic() + 300
        while service.log.read_text().count("ready to serve") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        for number in range(40):
            status, _ = support.post(service.url + "/v1/events", book.key, [support.event(str(number % 30))])
            assert status == 200
        for _ in range(8):  # whichever worker answers
            assert counted(get(service, "/metrics")) == {"accepted": 30.0, "repeated": 10.0}
        pattern = r'request_seconds_count\{[^}]*"/v1/events"[^}]*\} (\S+)'
        assert sum(map(float, re.findall(pattern, get(service, "/metrics")))) == 40
        acknowledged = end_under_load(book, service, workers=2)
    assert stored(book) == acknowledged | {str(number) for number in range(30)}
    book.close()
