"""One round of watching: follow the chain, look with every guard, keep and tell what changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.statements import Domain
from meterbridge.services.chain_errors import ChainError
from meterbridge.services.following.alerts import (
    Alert,
    AlertChanges,
    AlertLedger,
    Receiver,
    Sent,
    Severity,
    StoredAlert,
    send_notices,
)
from meterbridge.services.following.guards import FOLLOWING, LEDGER_GUARDS, GuardedLedger, Guards, Limits
from meterbridge.services.following.indexer import (
    Advance,
    FollowReport,
    ReorgBeyondFinality,
    ViewsDisagree,
    follow,
)
from meterbridge.services.following.ports import CursorMoved, FollowedChain

logger: Final = logging.getLogger("meterbridge.watch")
_TELL_AT_ONCE: Final = (ReorgBeyondFinality, ViewsDisagree)
_TRIES: Final = 3
GUARD_SECONDS: Final = 5
_LEVELS: Final = {Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}


class WatchedLedger(GuardedLedger, AlertLedger, Protocol):
    """All that watching needs of a ledger."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did for one contract.

    Attributes:
        followed: None where following failed, or another process was at it.
        error: why it failed; empty where it did not.
        changes: of alerts.
        open_alerts: afterwards.
        sent: what became of notices.
    """

    domain: Domain
    followed: FollowReport | None
    error: str
    changes: AlertChanges
    open_alerts: tuple[StoredAlert, ...]
    sent: Sent


class Watch:
    """Watches one contract. Several processes may do so on one ledger: each alert is told by one of them."""

    def __init__(
        self,
        chain: FollowedChain,
        ledger: WatchedLedger,
        limits: Limits,
        receivers: Sequence[Receiver],
        clock: Callable[[], int],
        *,
        from_block: int | None = None,
        tries: int = _TRIES,
        guard_seconds: int = GUARD_SECONDS,
        on_progress: Advance | None = None,
    ) -> None:
        """Keep what it works with.

        Args:
            chain: the contract.
            ledger: where everything is kept.
            limits: when guards speak up.
            receivers: who is told.
            clock: seconds since 1970.
            from_block: where to begin the first time; None finds it.
            guard_seconds: least time between two looks of the guards: they look at every account.
            tries: rounds that must fail in a row before a node that does not answer is an alert.
            on_progress: told while blocks are read.
        """
        self._chain: Final = chain
        self._ledger: Final = ledger
        self._limits: Final = limits
        self._receivers: Final = receivers
        self._clock: Final = clock
        self._from_block: Final = from_block
        self._tries: Final = tries
        self._guard_seconds: Final = guard_seconds
        self._looked_at: int | None = None
        self._on_progress: Final = on_progress
        self._failed = 0

    def round(self) -> Round:
        """Do everything once. What goes wrong with the chain is an alert, not an exception."""
        domain = self._domain()
        followed, error = self._follow()
        found, judged = self._look(domain, error)
        scope, names = scope_of(domain), [receiver.name for receiver in self._receivers]
        changes = AlertChanges((), (), ())
        if found or judged:
            changes = self._ledger.update_alerts(scope, found, judged, names, self._clock())
        _log(changes)
        sent = send_notices(self._ledger, self._receivers, self._clock)
        for failure in sent.errors:
            logger.warning("a notice was not received: %s", failure)
        open_alerts = tuple(self._ledger.open_alerts(scope))
        return Round(domain, followed, "" if error is None else str(error), changes, open_alerts, sent)

    def _domain(self) -> Domain:
        return self._chain.domain

    def _follow(self) -> tuple[FollowReport | None, MeterbridgeError | None]:
        try:
            report = follow(
                self._chain, self._ledger, from_block=self._from_block, on_progress=self._on_progress
            )
        except CursorMoved:
            return None, None  # another process has just done it
        except ChainError as error:
            self._failed += 1
            return None, error
        self._failed = 0
        return report, None

    def _trouble(self, error: MeterbridgeError | None) -> list[Alert]:
        if error is None or (self._failed < self._tries and not isinstance(error, _TELL_AT_ONCE)):
            return []
        subject = type(error).__name__
        return [Alert(FOLLOWING, subject, Severity.CRITICAL, f"the chain cannot be followed: {error}")]

    def _look(self, domain: Domain, error: MeterbridgeError | None) -> tuple[list[Alert], tuple[str, ...]]:
        """Return what is wrong, and which guards have looked."""
        trouble, cursor, now = self._trouble(error), self._ledger.cursor(domain), self._clock()
        if cursor is None:
            return trouble, (FOLLOWING,)
        if self._looked_at is not None and 0 <= now - self._looked_at < self._guard_seconds:
            return trouble, ()
        self._looked_at = now
        # A test chain's clock may be ahead of ours.
        guards = Guards(self._ledger, domain, self._limits, lambda: max(now, cursor.timestamp))
        return [*trouble, *guards.check()], (FOLLOWING, *LEDGER_GUARDS)


def scope_of(domain: Domain) -> str:
    """Return how alerts name a contract."""
    return f"{domain.chain_id}/{domain.verifying_contract}"


def _log(changes: AlertChanges) -> None:
    for what, alerts in (("opened", changes.opened), ("changed", changes.changed)):
        for stored in alerts:
            level = _LEVELS[stored.alert.severity]
            logger.log(level, "alert %s: %s: %s", what, stored.alert.guard, stored.alert.message)
    for stored in changes.resolved:
        logger.info("alert resolved: %s: %s", stored.alert.guard, stored.alert.message)
