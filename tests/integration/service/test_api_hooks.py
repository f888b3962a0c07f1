"""Hooks in gateways: usage of answers, streamed or not, reaches the service once."""

from __future__ import annotations

import asyncio
import json

import _service as support
import httpx
import pytest

from meterbridge.client import Client
from meterbridge.integrations.asgi import MeterbridgeMiddleware
from meterbridge.integrations.httpx import AsyncMeteredTransport, MeteredTransport

CHAT = {
    "id": "chatcmpl-9",
    "model": "example-1",
    "choices": [{"message": {"content": "an answer"}}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
}
# Anthropic's counts are cumulative; added up they would be 40 + 61.
ANTHROPIC = [
    {"type": "message_start", "message": {"id": "msg-1", "usage": {"input_tokens": 30, "output_tokens": 1}}},
    {"type": "content_block_delta", "delta": {"text": "usage"}},
    {"type": "message_delta", "usage": {"output_tokens": 40}},
    {"type": "message_delta", "usage": {"output_tokens": 60}},
]


def events(chunks):
    return b"".join(b"event: x\ndata: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def gateway(body, kind, parts=1):
    async def app(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]}
        )
        step = len(body) // parts + 1
        for start in range(0, len(body), step):
            await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def through(live, app, payer=support.PAYER):
    middleware = MeterbridgeMiddleware(
        app, client=Client(live.url, live.book.key), payer=lambda _scope: payer
    )
    sent = []

    async def go():
        async def send(message):
            sent.append(message)

        await middleware({"type": "http", "path": "/"}, None, send)

    asyncio.run(go())
    middleware.close()
    return b"".join(message.get("body", b"") for message in sent)


def test_an_answer_in_one_piece_is_counted_and_passes_unchanged(live):
    body = json.dumps(CHAT).encode()
    for _ in range(2):  # the gateway's retry brings the same answer again: another time, so a contradiction
        assert through(live, gateway(body, "application/json")) == body
    assert live.usage()[:3] == (20, 0, 5)


def test_a_stream_counts_its_last_word_and_not_the_sum(live):
    body = events(ANTHROPIC)
    assert through(live, gateway(body, "text/event-stream; charset=utf-8", parts=7)) == body
    assert live.usage()[:3] == (30, 0, 60)


def test_a_broken_stream_passes_unchanged(live):
    body = b'data: {"usage": broken}\n\n'
    assert through(live, gateway(body, "text/event-stream")) == body
    assert live.usage() == (0,) * 8


def test_requests_without_a_payer_are_not_metered(live):
    through(live, gateway(json.dumps(CHAT).encode(), "application/json"), payer=None)
    assert live.usage() == (0,) * 8


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (json.dumps(CHAT).encode(), "application/json", (20, 0, 5)),
        (events(ANTHROPIC), "text/event-stream", (30, 0, 60)),
    ],
)
def test_the_httpx_transport_reads_what_a_provider_answers(live, body, kind, expected):
    headers = {"Content-Type": kind}
    parts = [
        body[:40],
        body[40:],
    ]  # an iterator: as a real transport, it brings an answer that is not read yet
    upstream = httpx.MockTransport(lambda _request: httpx.Response(200, content=iter(parts), headers=headers))
    transport = MeteredTransport(upstream, Client(live.url, live.book.key), lambda _request: support.PAYER)
    with httpx.Client(transport=transport) as client:
        assert client.post("http://provider/v1/chat").content == body
    assert live.usage()[:3] == expected


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (json.dumps(CHAT).encode(), "application/json", (20, 0, 5)),
        (events(ANTHROPIC), "text/event-stream", (30, 0, 60)),
    ],
)
def test_the_awaited_httpx_transport_reads_what_a_provider_answers(live, body, kind, expected):
    async def parts():
        yield body[:40]
        yield body[40:]

    async def go():
        answer = lambda _request: httpx.Response(200, content=parts(), headers={"Content-Type": kind})  # noqa: E731
        upstream, meter = httpx.MockTransport(answer), Client(live.url, live.book.key)
        transport = AsyncMeteredTransport(upstream, meter, lambda _request: support.PAYER)
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.post("http://provider/v1/chat")).content == body

    asyncio.run(go())
    assert live.usage()[:3] == expected


def test_a_stream_that_its_reader_leaves_early_is_counted_as_far_as_it_was_read(live):
    body = events(ANTHROPIC)

    async def parts():
        yield body[:-60]
        await asyncio.sleep(60)  # the provider stalls, and the caller gives up
        yield body[-60:]

    async def go():
        kind = {"Content-Type": "text/event-stream"}
        upstream = httpx.MockTransport(lambda _request: httpx.Response(200, content=parts(), headers=kind))
        transport = AsyncMeteredTransport(
            upstream, Client(live.url, live.book.key), lambda _request: support.PAYER
        )
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.post("http://provider/v1/chat")

    asyncio.run(go())
    assert live.usage()[:3] == (30, 0, 40)


def test_requests_of_nobody_pass_the_awaited_transport_unmetered(live):
    async def go():
        upstream = httpx.MockTransport(lambda request: httpx.Response(200, json=dict(request.headers)))
        transport = AsyncMeteredTransport(upstream, Client(live.url, live.book.key), lambda _request: None)
        async with httpx.AsyncClient(transport=transport) as client:
            assert "gzip" in (await client.get("http://provider/")).json()["accept-encoding"]

    asyncio.run(go())
    assert live.usage() == (0,) * 8
