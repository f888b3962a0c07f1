"""An ASGI middleware that reads usage from a gateway's answers, streamed or not.

    from meterbridge.integrations.asgi import MeterbridgeMiddleware
    app.add_middleware(MeterbridgeMiddleware, client=Client(url, key, spool=folder), payer=payer_of)

The answer passes through untouched. What is read of it stays in memory only until its usage is known.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

from meterbridge.adapters.formats import BadUsage, NoUsage
from meterbridge.client import Client, UsageRecord
from meterbridge.integrations.answers import Answer, sniffer
from meterbridge.integrations.background import Background

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
logger: Final = logging.getLogger("meterbridge.client")


class MeterbridgeMiddleware:
    """Reports the usage of each answer once it is complete.

    Args:
        app: the gateway.
        client: sends, from a thread of its own.
        payer: who pays for a request: an address or a customer's name; None where it is not metered.
        source: under which name events are reported.
    """

    def __init__(
        self, app: App, *, client: Client, payer: Callable[[Scope], str | None], source: str = "gateway"
    ) -> None:
        """Wrap a gateway."""
        self._app, self._payer, self._source = app, payer, source
        self._background = Background(client)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        payer = self._payer(scope) if scope["type"] == "http" else None
        if payer is None:
            await self._app(scope, receive, send)
            return
        begun, sniffed = datetime.now(UTC), None

        async def watch(message: Message) -> None:
            nonlocal sniffed
            if message["type"] == "http.response.start" and message["status"] == 200:
                headers = {name.lower(): value for name, value in message.get("headers", ())}
                sniffed = sniffer(headers.get(b"content-type", b"").decode("latin-1"))
            elif message["type"] == "http.response.body" and sniffed is not None:
                sniffed.take(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:  # also when the caller hung up: the tokens were made
            if sniffed is not None:
                self._report(sniffed, payer, begun)

    def close(self) -> None:
        """Send what was reported, or leave it in the spool."""
        self._background.close()

    def _report(self, sniffed: Any, payer: str, begun: datetime) -> None:
        try:
            answer: Answer = sniffed.answer()
        except NoUsage:
            return
        except BadUsage as error:
            logger.error("usage of an answer cannot be read: %s", error)  # noqa: TRY400  # it says it all
            return
        identity = answer.id or secrets.token_hex(16)
        details = {} if answer.model is None else {"model": answer.model}
        record = UsageRecord(identity, payer, dict(answer.buckets), begun, self._source, details)
        self._background.put(record)
