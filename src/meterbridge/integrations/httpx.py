"""A hook for httpx: reads usage from what a provider answers.

    from meterbridge.integrations.httpx import MeteredTransport
    upstream = httpx.Client(transport=MeteredTransport(httpx.HTTPTransport(), client, payer_of))

or, for code that awaits,

    inner = httpx.AsyncHTTPTransport()
    upstream = httpx.AsyncClient(transport=AsyncMeteredTransport(inner, client, payer_of))

A transport, since an event hook would have to read a stream before its reader does.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import anyio
import anyio.to_thread
import httpx

from meterbridge.adapters.formats import BadUsage, NoUsage
from meterbridge.client import Client, UsageRecord
from meterbridge.integrations.answers import Sniffer, sniffer
from meterbridge.integrations.background import Background

logger: Final = logging.getLogger("meterbridge.client")


class _Metering:
    """What both transports have in common: whom to ask, what to look at, what to report."""

    def __init__(self, client: Client, payer: Callable[[httpx.Request], str | None], source: str) -> None:
        self._payer, self._source = payer, source
        self.background = Background(client)

    def payer_of(self, request: httpx.Request) -> str | None:
        """Return who pays, and see to it that the answer can be read as it passes by."""
        payer = self._payer(request)
        if payer is not None:
            request.headers["Accept-Encoding"] = "identity"
        return payer

    def sniffer_of(self, response: httpx.Response, payer: str | None) -> Sniffer | None:
        """Return what reads an answer, None where there is nothing to read."""
        if payer is None or response.status_code != httpx.codes.OK:
            return None
        return sniffer(response.headers.get("content-type", ""))

    def record(self, found: Sniffer, payer: str, begun: datetime) -> UsageRecord | None:
        """Return what an answer that has ended says of usage, if it says any."""
        try:
            answer = found.answer()
        except NoUsage:
            return None
        except BadUsage as error:
            logger.error("usage of an answer cannot be read: %s", error)  # noqa: TRY400  # it says it all
            return None
        details = {} if answer.model is None else {"model": answer.model}
        identity = answer.id or secrets.token_hex(16)
        return UsageRecord(identity, payer, dict(answer.buckets), begun, self._source, details)


class MeteredTransport(httpx.BaseTransport):
    """Passes requests on and reports the usage of each answer once it was read.

    Args:
        inner: what really sends.
        client: reports, from a thread of its own.
        payer: who pays for a request: an address or a customer's name; None where it is not metered.
        source: under which name events are reported.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        client: Client,
        payer: Callable[[httpx.Request], str | None],
        source: str = "httpx",
    ) -> None:
        """Wrap a transport."""
        self._inner, self._metering = inner, _Metering(client, payer, source)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        payer = self._metering.payer_of(request)
        begun, response = datetime.now(UTC), self._inner.handle_request(request)
        found = self._metering.sniffer_of(response, payer)
        if payer is None or found is None:
            return response
        stream = response.stream
        assert isinstance(stream, httpx.SyncByteStream)
        response.stream = _Watched(stream, found, lambda: self._report(found, payer, begun))
        return response

    def close(self) -> None:
        """Close what really sends, and send what was reported."""
        self._inner.close()
        self._metering.background.close()

    def _report(self, found: Sniffer, payer: str, begun: datetime) -> None:
        record = self._metering.record(found, payer, begun)
        if record is not None:
            self._metering.background.put(record)


class AsyncMeteredTransport(httpx.AsyncBaseTransport):
    """`MeteredTransport` for code that awaits: the event loop never waits for the metering service.

    Args:
        inner: what really sends.
        client: reports, from a thread of its own; the client that does not await, so that what was reported
            is sent also when the event loop has ended.
        payer: who pays for a request: an address or a customer's name; None where it is not metered.
        source: under which name events are reported.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        client: Client,
        payer: Callable[[httpx.Request], str | None],
        source: str = "httpx",
    ) -> None:
        """Wrap a transport."""
        self._inner, self._metering = inner, _Metering(client, payer, source)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        payer = self._metering.payer_of(request)
        begun, response = datetime.now(UTC), await self._inner.handle_async_request(request)
        found = self._metering.sniffer_of(response, payer)
        if payer is None or found is None:
            return response
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        response.stream = _AsyncWatched(stream, found, lambda: self._report(found, payer, begun))
        return response

    async def aclose(self) -> None:
        """Close what really sends, and send what was reported."""
        await self._inner.aclose()
        await anyio.to_thread.run_sync(self._metering.background.close)

    async def _report(self, found: Sniffer, payer: str, begun: datetime) -> None:
        record = self._metering.record(found, payer, begun)
        if record is None or self._metering.background.offer(record):
            return
        with anyio.CancelScope(shield=True):  # the queue is full: whoever hung up, the tokens were made
            await anyio.to_thread.run_sync(self._metering.background.put, record)


class _Watched(httpx.SyncByteStream):
    """A stream that somebody looks at as it passes by."""

    def __init__(self, inner: httpx.SyncByteStream, found: Sniffer, ended: Callable[[], None]) -> None:
        self._inner, self._found, self._ended = inner, found, ended

    def __iter__(self) -> Iterator[bytes]:
        for part in self._inner:
            self._found.take(part)
            yield part

    def close(self) -> None:
        """Report and close; httpx closes a stream once, also one that was left early."""
        try:
            self._inner.close()
        finally:
            self._ended()


class _AsyncWatched(httpx.AsyncByteStream):
    """The same for a stream that is awaited."""

    def __init__(
        self, inner: httpx.AsyncByteStream, found: Sniffer, ended: Callable[[], Awaitable[None]]
    ) -> None:
        self._inner, self._found, self._ended = inner, found, ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._inner:
            self._found.take(part)
            yield part

    async def aclose(self) -> None:
        """Report and close, also when the caller was cancelled."""
        try:
            await self._inner.aclose()
        finally:
            await self._ended()
