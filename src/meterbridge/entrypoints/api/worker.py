"""The worker: seals what is pending, signs statements, settles them where a chain is given.

Every process runs one; the ledger's lock lets one at a time seal and sign. Each step is idempotent and takes
up where it was left, so after an outage of the database, the signer or the node the next round recovers by
itself, and a failure of one tariff holds up no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.statements import SignedStatement
from meterbridge.entrypoints.api.delivering import Delivering
from meterbridge.entrypoints.api.observed import Metrics, logger
from meterbridge.entrypoints.api.settings import Settings
from meterbridge.entrypoints.api.unsettled import Unsettled
from meterbridge.services.ledger_errors import LedgerBusy
from meterbridge.services.ports import Ledger, Segments, StatementSigner
from meterbridge.services.records import TariffRecord
from meterbridge.services.sealing import seal
from meterbridge.services.settling.packing import Packing
from meterbridge.services.statements import LeftOut, make_statements

_TICK_SECONDS = 0.2
Settle = Callable[[TariffRecord, SignedStatement], None]


@dataclass(slots=True)
class _Progress:
    """When a step last had nothing left to do, and why it does not get there."""

    done_at: float
    error: str = ""


@dataclass(slots=True)
class Work:
    """What the worker works with.

    Attributes:
        taken: how many events this process has stored so far; many at once are sealed early.
        now: seconds since 1970, for statements.
        settle: submits one statement; None where somebody else settles.
        deliver: submits statements by the outbox instead, in a thread of its own.
        packing: what settling one statement may cost; None for Ethereum's cap.
    """

    ledger: Ledger
    segments: Segments
    settings: Settings
    metrics: Metrics
    taken: Callable[[], int]
    signer: StatementSigner | None = None
    settle: Settle | None = None
    deliver: Delivering | None = None
    packing: Packing | None = None
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = field(default=time.monotonic)


class Worker:
    """A thread that does rounds."""

    def __init__(self, work: Work) -> None:
        """Prepare; `start` begins."""
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sealing", daemon=True)
        begun = work.clock()
        self._sealing, self._settling = _Progress(begun), _Progress(begun)
        self._unsettled = Unsettled(work.ledger)
        self._last_statement: dict[bytes, int] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        if self._work.deliver is not None:
            self._work.deliver.start()

    def stop(self) -> None:
        """Finish the running round and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._work.settings.drain_seconds)
        if self._work.deliver is not None:
            self._work.deliver.stop(self._work.settings.drain_seconds)

    def failing(self) -> Mapping[str, str]:
        """Return what has stalled, and why: for `/readyz`."""
        if not self._thread.is_alive() and not self._stop.is_set():
            return {"sealing": "the worker has died; restart the service"}
        settings, now = self._work.settings, self._work.clock()
        found: dict[str, str] = {}
        limits = {
            "sealing": (self._sealing, settings.seal_seconds * settings.stalled_rounds),
            "settling": (self._settling, settings.settle_seconds),
        }
        for name, (progress, limit) in limits.items():
            behind = now - progress.done_at
            if behind > limit and (name != "settling" or self._work.settle is not None):
                found[name] = f"behind for {behind:.0f} s: {progress.error or 'a round takes too long'}"
        if self._work.deliver is not None:
            found.update(self._work.deliver.failing())
        return found

    def _run(self) -> None:
        taken_before, next_round = self._work.taken(), self._work.clock() + self._work.settings.seal_seconds
        while not self._stop.wait(_TICK_SECONDS):
            fresh = self._work.taken() - taken_before
            if self._work.clock() < next_round and fresh < self._work.settings.seal_receipts:
                continue
            taken_before = self._work.taken()
            self.round()
            next_round = self._work.clock() + self._work.settings.seal_seconds

    def round(self) -> bool:
        """Seal, sign and settle all tariffs once; tell whether everything succeeded."""
        try:
            records = self._work.ledger.tariffs()
        except Exception as error:  # noqa: BLE001  # the thread must outlive an outage of the database
            self._note(self._sealing, "tariffs", error)
            return False
        sealed = self._every(self._sealing, "sealing", self._seal, records)
        settled = self._every(self._settling, "settling", self._settle, records)
        self._work.metrics.last_round.set(self._work.now())
        return sealed and settled

    def _every(
        self,
        progress: _Progress,
        step: str,
        action: Callable[[TariffRecord], None],
        records: list[TariffRecord],
    ) -> bool:
        failed = [record for record in records if not self._attempt(progress, step, action, record)]
        if not failed:
            progress.done_at, progress.error = self._work.clock(), ""
        return not failed

    def _attempt(
        self, progress: _Progress, step: str, action: Callable[[TariffRecord], None], record: TariffRecord
    ) -> bool:
        try:
            action(record)
        except LedgerBusy:
            return False  # another process is at it; if it never ends, readiness says so
        except Exception as error:  # noqa: BLE001  # one tariff's failure must not end the thread or the others
            self._note(progress, step, error)
            return False
        return True

    def _note(self, progress: _Progress, step: str, error: Exception) -> None:
        progress.error = str(error) if isinstance(error, MeterbridgeError) else type(error).__name__
        self._work.metrics.failures.labels(step).inc()
        logger.error("worker failed", exc_info=error, extra={"fields": {"step": step}})

    def _seal(self, record: TariffRecord) -> None:
        work, tariff_id = self._work, record.id
        batches = seal(work.ledger, work.segments, tariff_id, max_receipts=work.settings.batch_receipts)
        receipts = sum(batch.size for batch in batches)
        work.metrics.sealed.inc(receipts)
        work.metrics.pending.set(work.ledger.pending_count(tariff_id))
        if work.signer is None:
            return
        now = int(work.now())
        if now <= self._last_statement.get(tariff_id, 0):
            return  # a log's statements differ in their second; the next round states what is new
        signed = make_statements(
            work.ledger, record, now, work.signer, packing=work.packing, on_left_out=self._left_out
        )
        if signed:
            self._last_statement[tariff_id] = now
        work.metrics.statements.inc(len(signed))
        if batches or signed:
            fields = {"tariff": "0x" + tariff_id.hex(), "receipts": receipts, "statements": len(signed)}
            logger.info("sealed", extra={"fields": fields})

    def _left_out(self, left: LeftOut) -> None:
        """One account that cannot be stated holds up no other, and does not go unnoticed."""
        self._work.metrics.failures.labels("stating").inc()
        fields = {"step": "stating", "payer": str(left.payer)}
        logger.error("left out of its statement: %s", left.error, extra={"fields": fields})

    def _settle(self, record: TariffRecord) -> None:
        if self._work.settle is None:
            return
        failed: Exception | None = None
        for signed in self._unsettled.of(record.id):
            try:
                self._work.settle(record, signed)
            except Exception as error:  # noqa: BLE001  # others must still settle; the first failure is told below
                failed = failed or error
            else:
                self._unsettled.settled(record.id, signed)
        if failed is not None:
            raise failed
