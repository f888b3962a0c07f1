"""The client for code that waits: written by scripts/twins from asynchronous.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from meterbridge.client.errors import Refused, ServiceDown
from meterbridge.client.spool import Spool
from meterbridge.client.wire import (
    BATCH,
    NDJSON,
    RETRIED,
    Credit,
    Receipts,
    Retries,
    Sendable,
    answer_of,
    document_of,
    too_large,
)


class Client:
    """Sends usage and asks for credit.

        with Client("https://meter.example", key, spool=Path("/var/spool/meterbridge")) as meter:
            meter.record(UsageRecord(id=answer.id, payer=address, usage=answer.usage, time=now))
            meter.flush()

    `record` gathers, `flush` sends what was gathered; `send` does both at once. Every attempt may be repeated
    safely. With a spool, what cannot be sent is kept on disk and sent by a later `flush`. Threads may
    share a client.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tariff: str | None = None,
        spool: Path | None = None,
        spool_bytes: int = 256 * 2**20,
        retries: Retries | None = None,
        timeout: float = 10.0,
        batch: int = BATCH,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: of the service.
            key: an API key.
            tariff: the tariff's id, where the provider has several and the key names none.
            spool: a folder for what cannot be sent; without one it is an error.
            spool_bytes: most that the spool may hold.
            retries: how patiently to try.
            timeout: seconds for one attempt.
            batch: most events of one request.
            transport: for tests.
            sleep: for tests.
        """
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=timeout, transport=transport
        )
        self._params = {} if tariff is None else {"tariff": tariff}
        self._spool = None if spool is None else Spool(spool, spool_bytes)
        self._retries = retries or Retries()
        self._batch, self._sleep = batch, sleep
        self._gathered: list[bytes] = []
        self._turn = threading.Lock()

    @property
    def pending(self) -> int:
        """How many events are gathered and not sent yet."""
        return len(self._gathered)

    def record(self, event: Sendable) -> Receipts:
        """Gather one event; sends when a batch is full.

        Raises:
            ServiceDown, SpoolFull, Refused: as `flush`.
        """
        self._gathered.append(event.line())
        return self.flush() if len(self._gathered) >= self._batch else Receipts()

    def send(self, events: Iterable[Sendable]) -> Receipts:
        """Send events, with all that was gathered before, and tell what became of them."""
        self._gathered += [event.line() for event in events]
        return self.flush()

    def flush(self) -> Receipts:
        """Send what was gathered, and what waits in the spool once the service answers.

        Raises:
            ServiceDown: when the service does not take it and there is no spool; it stays gathered.
            SpoolFull: when there is no room; it stays gathered.
            Refused: when the service refuses the request as a whole (key, tariff); it stays gathered.
        """
        found = Receipts()
        with self._turn:  # two must not send, and then drop, the same events
            while self._gathered:
                lines = self._gathered[: self._batch]
                found += self._send_or_spool(lines)
                del self._gathered[: len(lines)]
            if found.spooled == 0:
                found += self._drain()
        return found

    def drain(self) -> Receipts:
        """Send what waits in the spool, oldest first, until the service stops answering."""
        with self._turn:
            return self._drain()

    def credit(self, tariff: str, payer: str, *, margin: int | None = None) -> Credit:
        """Ask how far a payer may be served.

        Raises:
            Refused, ServiceDown: when there is no answer; whether to serve on is the gateway's decision.
        """
        params = {} if margin is None else {"margin": margin}
        path = f"/v1/tariffs/{tariff}/accounts/{payer}/credit"
        answer = self._attempt(lambda: self._http.get(path, params=params))
        if answer.status_code != 200:
            raise Refused(answer.status_code, document_of(answer.content))
        return Credit.of(answer.json())

    def close(self) -> None:
        """Send what was gathered and close.

        With a spool, what is refused as a whole (a key that has ended, say) is kept there as well, since the
        next key may send it; without one it is lost, and the error tells so.
        """
        try:
            self.flush()
        except Refused:
            if self._spool is not None and self._gathered:
                self._spool.put(self._gathered)
                self._gathered.clear()
            raise
        finally:
            self._http.close()

    def _send_or_spool(self, lines: Sequence[bytes]) -> Receipts:
        if self._spool is None:
            return self._post(lines)
        try:
            return self._post(lines)
        except ServiceDown:
            self._spool.put(lines)
            return Receipts(spooled=len(lines))

    def _drain(self) -> Receipts:
        found = Receipts()
        if self._spool is None or not len(self._spool):
            return found
        with self._spool.draining() as mine:
            while mine and (waiting := self._spool.oldest()) is not None:
                path, lines = waiting
                try:
                    receipts = self._post(lines)
                except ServiceDown:
                    break
                self._spool.put_refused([event.line for event in receipts.refused])
                self._spool.remove(path)
                found += receipts
        return found

    def _post(self, lines: Sequence[bytes]) -> Receipts:
        body = b"".join(lines)
        headers = {"Content-Type": NDJSON}
        answer = self._attempt(
            lambda: self._http.post("/v1/events", content=body, headers=headers, params=self._params)
        )
        if too_large(answer.status_code, lines):
            half = len(lines) // 2
            return self._post(lines[:half]) + self._post(lines[half:])
        return answer_of(answer.status_code, answer.content, lines)

    def _attempt(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        failure = "no attempt was made"
        for attempt in range(self._retries.attempts):
            retry_after = None
            try:
                answer = request()
            except httpx.TransportError as error:
                failure = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code not in RETRIED:
                    return answer
                failure, retry_after = f"status {answer.status_code}", answer.headers.get("retry-after")
            if attempt + 1 < self._retries.attempts:
                self._sleep(self._retries.wait(attempt, retry_after))
        raise ServiceDown(
            f"{self._http.base_url} gave no success in {self._retries.attempts} attempts ({failure})"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
