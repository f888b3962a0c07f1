"""Delivering: a thread of the service that sees signed statements through until they are final.

Every process of the service may run one; leases in the ledger keep them apart, and each takes over from one
that died. An outage of the node, the database or the key is waited out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.statements import Domain
from meterbridge.entrypoints.api.observed import Metrics, logger
from meterbridge.services.settling.settler import Settler, StepReport

_TROUBLE_PAUSE: Final = 2.0


class Delivering:
    """A thread that makes one pass over the outbox after the other."""

    def __init__(
        self,
        domains: Callable[[], Sequence[Domain]],
        settlers: Callable[[Sequence[Domain]], Sequence[Settler]],
        metrics: Metrics,
        behind_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            domains: the contracts of the ledger's tariffs; asked again before each pass.
            settlers: makes a settler for each of them.
            metrics: counts failures.
            behind_seconds: without a clean pass for this long, `failing` says so.
            clock: seconds from any moment on.
        """
        self._domains: Final = domains
        self._make: Final = settlers
        self._metrics: Final = metrics
        self._behind_seconds: Final = behind_seconds
        self._clock: Final = clock
        self._stop: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="delivering", daemon=True)
        self._known: tuple[Sequence[Domain], Sequence[Settler]] = ((), ())
        self._clean_at, self._error = clock(), ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Finish the running pass and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def failing(self) -> Mapping[str, str]:
        """Return what has stalled, and why: for `/readyz`."""
        if not self._thread.is_alive() and not self._stop.is_set():
            return {"delivering": "the thread that submits statements has died; restart the service"}
        behind = self._clock() - self._clean_at
        if behind > self._behind_seconds:
            return {"delivering": f"behind for {behind:.0f} s: {self._error or 'a pass takes too long'}"}
        return {}

    def step(self) -> float:
        """Make one pass; return after how many seconds to make the next."""
        try:
            reports = [settler.step() for settler in self._settlers()]
        except Exception as error:  # noqa: BLE001  # the thread must outlive an outage of the database
            self._note(str(error) if isinstance(error, MeterbridgeError) else type(error).__name__)
            return _TROUBLE_PAUSE
        errors = [error for report in reports for error in report.errors]
        if errors:
            self._note("; ".join(errors))
            return _TROUBLE_PAUSE
        self._clean_at, self._error = self._clock(), ""
        return self._pause(reports)

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self.step()

    def _settlers(self) -> Sequence[Settler]:
        domains = self._domains()
        if domains != self._known[0]:
            self._known = (domains, self._make(domains))
        return self._known[1]

    def _pause(self, reports: Sequence[StepReport]) -> float:
        if any(report.moved for report in reports):
            return 0.0
        return max([1.0, *(float(settler.policy.poll_seconds) for settler in self._known[1])])

    def _note(self, error: str) -> None:
        if error != self._error:
            logger.error("delivering failed: %s", error, extra={"fields": {"step": "delivering"}})
        self._error = error
        self._metrics.failures.labels("delivering").inc()
