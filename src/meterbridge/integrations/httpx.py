"""A hook for httpx: reads usage from what a provider answers.

    from meterbridge.integrations.httpx import MeteredTransport
    upstream = httpx.Client(transport=MeteredTransport(httpx.HTTPTransport(), client, payer_of))

A transport, since an event hook would have to read a stream before its reader does.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import httpx

from meterbridge.adapters.formats import BadUsage, NoUsage
from meterbridge.client import Client, UsageRecord
from meterbridge.integrations.answers import Sniffer, sniffer
from meterbridge.integrations.background import Background

logger: Final = logging.getLogger("meterbridge.client")


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
        self._inner, self._payer, self._source = inner, payer, source
        self._background = Background(client)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        payer = self._payer(request)
        if payer is not None:
            request.headers["Accept-Encoding"] = "identity"  # what passes by must be readable
        begun, response = datetime.now(UTC), self._inner.handle_request(request)
        found = sniffer(response.headers.get("content-type", ""))
        if payer is None or found is None or response.status_code != httpx.codes.OK:
            return response
        stream = response.stream
        assert isinstance(stream, httpx.SyncByteStream)
        response.stream = _Watched(stream, found, lambda: self._report(found, payer, begun))
        return response

    def close(self) -> None:
        """Close what really sends, and send what was reported."""
        self._inner.close()
        self._background.close()

    def _report(self, found: Sniffer, payer: str, begun: datetime) -> None:
        try:
            answer = found.answer()
        except NoUsage:
            return
        except BadUsage as error:
            logger.error("usage of an answer cannot be read: %s", error)  # noqa: TRY400  # it says it all
            return
        details = {} if answer.model is None else {"model": answer.model}
        identity = answer.id or secrets.token_hex(16)
        self._background.put(UsageRecord(identity, payer, dict(answer.buckets), begun, self._source, details))


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
