"""Sends records from a thread of its own, so that a gateway never waits for the metering service."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from typing import Final

from meterbridge.client import Client, ClientError, Receipts
from meterbridge.client.wire import Sendable

logger: Final = logging.getLogger("meterbridge.client")
_GATHER_SECONDS: Final = 0.2
_END: Final = None


class Background:
    """A bounded queue in front of a client.

    Give the client a spool: what the service does not take in time then waits on disk, also when the process
    ends. When the queue is full, `put` waits: usage is never dropped to save time.
    """

    def __init__(self, client: Client, limit: int = 10_000) -> None:
        """Start the thread."""
        self._client = client
        self._queue: queue.Queue[Sendable | None] = queue.Queue(limit)
        self._thread = threading.Thread(target=self._run, name="meterbridge", daemon=True)
        self._thread.start()
        self.totals = Receipts()
        atexit.register(self.close)

    def put(self, record: Sendable) -> None:
        """Hand a record over."""
        self._queue.put(record)

    def offer(self, record: Sendable) -> bool:
        """Hand a record over unless the queue is full, and tell whether that was done."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Send what was handed over, or leave it in the spool, and end."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            self._queue.put(_END)
            self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            records: list[Sendable] = []
            try:
                first = self._queue.get()
                while first is not _END:
                    records.append(first)
                    if len(records) >= 500:
                        break
                    first = self._queue.get(timeout=_GATHER_SECONDS)
                ended = first is _END
            except queue.Empty:
                pass
            self._send(records)
        try:
            self._client.close()
        except ClientError as error:
            logger.error("usage was not sent: %s", error)  # noqa: TRY400  # the message says it all

    def _send(self, records: list[Sendable]) -> None:
        try:
            receipts = self._client.send(records)
        except ClientError as error:  # it stays gathered in the client, and goes with the next ones
            logger.error("usage is not sent yet: %s", error)  # noqa: TRY400  # the message says it all
            return
        for refused in receipts.refused:
            logger.error("an event was refused: %s", refused.reason)
        self.totals = self.totals + Receipts(receipts.accepted, receipts.repeated, receipts.spooled)
