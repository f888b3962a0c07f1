"""The client against a real service, and against one that fails in every way."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime

import _service as support
import httpx
import pytest

import meterbridge
from meterbridge.client import AsyncClient, Client, Refused, Retries, ServiceDown, SpoolFull, UsageRecord

WHEN = datetime(2026, 11, 1, 12, tzinfo=UTC)
TWICE = Retries(attempts=2, first_seconds=0.0)


def record(identity, tokens=12):
    usage = {"prompt_tokens": tokens, "completion_tokens": 3}
    return UsageRecord(identity, support.PAYER, usage, WHEN, details={"model": "example-1"})


def failing(*answers):
    """A transport that gives these answers (status, exception or response) and then fails for good."""
    left = list(answers)

    def handle(request):
        answer = left.pop(0) if left else httpx.ConnectError("down")
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(answer)

    return httpx.MockTransport(handle)


def accepted(count):
    return httpx.Response(200, json={"accepted": count, "repeated": 0})


def test_events_are_batched_and_counted_once(live):
    assert meterbridge.Client is Client
    with Client(live.url, live.book.key, batch=10) as client:
        first = client.send(record(str(i)) for i in range(25))
        again = client.send(record(str(i)) for i in range(25))
    assert (first.accepted, again.accepted, again.repeated) == (25, 0, 25)
    assert live.usage()[0] == 25 * 12


def test_the_async_client_does_the_same(live):
    async def go():
        async with AsyncClient(live.url, live.book.key, batch=10) as client:
            await asyncio.gather(*(client.record(record(str(i))) for i in range(25)))
            return await client.flush()

    asyncio.run(go())
    assert live.usage()[0] == 25 * 12


def test_threads_may_share_a_client(live):
    found = []
    with Client(live.url, live.book.key, batch=7) as client:

        def work(name):
            found.extend(client.record(record(f"{name}-{number}")) for number in range(50))
            found.append(client.flush())

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.pending == 0
    assert (sum(one.accepted for one in found), sum(one.repeated for one in found)) == (200, 0)
    assert live.usage()[0] == 12 * 200


def test_the_async_client_drains_its_spool_when_asked(live, tmp_path):
    async def talk():
        async with AsyncClient("http://127.0.0.1:9", "none", spool=tmp_path, retries=TWICE) as client:
            assert (await client.send([record("a"), record("b")])).spooled == 2
        async with AsyncClient(live.url, live.book.key, spool=tmp_path) as client:
            return await client.drain(), await client.drain()

    first, second = asyncio.run(talk())
    assert (first.accepted, second.accepted) == (2, 0)


def test_refused_events_are_returned_and_the_rest_is_stored(live):
    with Client(live.url, live.book.key) as client:
        found = client.send([record("a"), record("b", tokens=-1), record("c")])
    assert (found.accepted, len(found.refused)) == (2, 1)
    assert json.loads(found.refused[0].line)["id"] == "b"


def test_what_failed_is_sent_again_with_patience(tmp_path):
    waits = []
    transport = failing(
        httpx.ReadTimeout("slow"), 503, httpx.Response(429, headers={"Retry-After": "3"}), accepted(1)
    )
    client = Client("http://service", "key", transport=transport, sleep=waits.append)
    assert client.send([record("a")]).accepted == 1
    assert waits[2] == 3.0  # what the service asked for
    assert all(wait <= 10 for wait in waits)


def test_without_a_spool_nothing_is_claimed_and_nothing_is_lost():
    client = Client(
        "http://service", "key", transport=failing(503, 503, accepted(1)), retries=TWICE, sleep=float
    )
    with pytest.raises(ServiceDown):
        client.send([record("a")])
    assert client.flush().accepted == 1  # it stayed gathered


def test_a_bad_key_is_an_error_and_not_a_retry():
    client = Client("http://service", "key", transport=failing(401), sleep=float)
    with pytest.raises(Refused, match="401"):
        client.send([record("a")])


def test_a_spool_survives_the_process_and_is_sent_when_the_service_is_back(live, tmp_path):
    down = Client("http://service", "key", transport=failing(), spool=tmp_path, retries=TWICE, sleep=float)
    assert down.send([record("a"), record("b")]).spooled == 2
    with Client(live.url, live.book.key, spool=tmp_path) as later:
        assert later.send([record("c")]).accepted == 3
    assert live.usage()[0] == 36
    assert [path.name for path in tmp_path.glob("*.ndjson")] == []


def test_the_spool_is_bounded_and_says_so(tmp_path):
    client = Client(
        "http://service",
        "key",
        transport=failing(),
        spool=tmp_path,
        spool_bytes=300,
        retries=TWICE,
        sleep=float,
    )
    assert client.send([record("a")]).spooled == 1
    with pytest.raises(SpoolFull):
        client.send([record(str(i)) for i in range(10)])
    assert sum(path.stat().st_size for path in tmp_path.glob("*.ndjson")) <= 300


def test_a_spooled_event_that_is_refused_is_set_aside_and_does_not_block_the_rest(live, tmp_path):
    down = Client("http://service", "key", transport=failing(), spool=tmp_path, retries=TWICE, sleep=float)
    down.send([record("bad", tokens=-1)])
    down = Client("http://service", "key", transport=failing(), spool=tmp_path, retries=TWICE, sleep=float)
    down.send([record("good")])
    with Client(live.url, live.book.key, spool=tmp_path) as client:
        found = client.drain()
    assert (found.accepted, len(found.refused)) == (1, 1)
    assert b'"bad"' in (tmp_path / "events.refused").read_bytes()


def test_an_acknowledgement_that_was_lost_on_the_way_counts_nothing_twice(live):
    real = httpx.HTTPTransport()
    lost = []

    def handle(request):
        answer = real.handle_request(request)
        answer.read()
        if not lost:
            lost.append(answer.status_code)
            raise httpx.ReadError("the answer was lost")
        return answer

    client = Client(live.url, live.book.key, transport=httpx.MockTransport(handle), sleep=float)
    found = client.send([record("a")])
    real.close()
    assert (lost, found.accepted, found.repeated) == ([200], 0, 1)
    assert live.usage()[0] == 12


def test_a_batch_beyond_the_services_limit_is_sent_in_parts(serve, book):
    with serve(book, body_bytes=2_000) as live, Client(live.url, live.book.key, batch=100) as client:
        found = client.send(record(str(i)) for i in range(100))
        assert (found.accepted, found.refused) == (100, ())
        huge = UsageRecord("huge", support.PAYER, {"prompt_tokens": 1}, WHEN, details={"model": "m" * 3_000})
        found = client.send([record("before"), huge, record("after")])
        assert (found.accepted, [event.problem for event in found.refused]) == (2, ["too large"])
        assert client.pending == 0
        assert live.usage()[0] == 102 * 12


def test_the_async_client_sends_large_batches_in_parts_too(serve, book):
    async def go(live):
        async with AsyncClient(live.url, live.book.key, batch=100) as client:
            return await client.send(record(str(i)) for i in range(100))

    with serve(book, body_bytes=2_000) as live:
        assert asyncio.run(go(live)).accepted == 100


def test_what_a_key_may_not_send_any_more_is_kept_for_the_next_key(live, tmp_path):
    client = Client(live.url, "mb_wrong_key", spool=tmp_path)
    client.record(record("a"))
    with pytest.raises(Refused, match="401"):
        client.close()
    with Client(live.url, live.book.key, spool=tmp_path) as later:
        assert later.flush().accepted == 1
