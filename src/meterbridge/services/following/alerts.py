"""Alerts: found by guards, kept in the ledger, told to receivers until they have confirmed.

An alert opens when a guard first finds it, changes when its severity does, and is resolved when the guard has
looked and finds it no more. Each of these makes a notice for each receiver, in the same transaction: whatever
happens then, the notice is sent until it was received at least once. Its id tells repeats apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.units import AssetAmount

RETRY_FIRST_SECONDS: Final = 5
RETRY_MAX_SECONDS: Final = 3_600
LEASE_SECONDS: Final = 60


class Severity(StrEnum):
    """Whether somebody must get up: `critical` is money or service at risk now."""

    WARNING = "warning"
    CRITICAL = "critical"


class NoticeKind(StrEnum):
    """What a notice tells of its alert."""

    OPENED = "alert.opened"
    CHANGED = "alert.changed"
    RESOLVED = "alert.resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """What a guard found.

    Attributes:
        guard: which guard; docs/operations.md says of each what to do.
        subject: whom or what it is about; with the guard's name it is the same alert when found again.
        message: what is wrong and by how much, in plain words.
        amount: the money at risk, in base units; None where it is about none.
    """

    guard: str
    subject: str
    severity: Severity
    message: str
    amount: AssetAmount | None = None


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert as the ledger keeps it; times are seconds since 1970, `resolved_at` None while it is open."""

    id: str
    scope: str
    alert: Alert
    opened_at: int
    changed_at: int
    resolved_at: int | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One message for one receiver.

    Attributes:
        id: unique; the same however often it is sent.
        receiver: for whom, as `Receiver.name` says.
        kind: see `NoticeKind`.
        body: the JSON that is sent, the same each time.
        attempts: how often it was sent without success.
        created_at: seconds since 1970.
    """

    id: str
    receiver: str
    kind: NoticeKind
    body: str
    attempts: int
    created_at: int


@dataclass(frozen=True, slots=True)
class AlertChanges:
    """What a look changed."""

    opened: tuple[StoredAlert, ...]
    changed: tuple[StoredAlert, ...]
    resolved: tuple[StoredAlert, ...]


class NotReceived(MeterbridgeError):
    """A receiver did not confirm a notice; it is sent again."""


class Receiver(Protocol):
    """Somewhere that notices go."""

    @property
    def name(self) -> str:
        """What stands in the ledger for it: no secret, and the same in each process."""

    def send(self, notice: Notice) -> None:
        """Send a notice; return when it was received.

        Raises:
            NotReceived: when that is not certain.
        """


class AlertLedger(Protocol):
    """What the ledger keeps of alerts. Each call is one transaction."""

    def update_alerts(
        self,
        scope: str,
        found: Sequence[Alert],
        judged: Collection[str],
        receivers: Collection[str],
        now: int,
    ) -> AlertChanges:
        """Open, change and resolve alerts of a scope by what was found.

        Args:
            scope: chain and contract.
            found: all that the guards found.
            judged: the guards that could look; alerts of others stay as they are.
            receivers: who is told.
            now: seconds since 1970.
        """

    def open_alerts(self, scope: str | None = None) -> list[StoredAlert]:
        """Return open alerts, the oldest first."""

    def take_notices(self, receivers: Collection[str], now: int, limit: int) -> list[Notice]:
        """Return notices that are due, the oldest first, and keep others from them for `LEASE_SECONDS`."""

    def notice_received(self, notice: Notice, now: int) -> None:
        """Never send it again."""

    def notice_failed(self, notice: Notice, error: str, next_at: int) -> None:
        """Send it again from `next_at` on."""

    def notices_waiting(self) -> int:
        """Return how many notices were not received yet, for whatever receiver."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What sending did: how many notices were received, what went wrong, how many are left."""

    received: int
    errors: tuple[str, ...]
    waiting: int


def send_notices(
    ledger: AlertLedger, receivers: Sequence[Receiver], clock: Callable[[], int], limit: int = 100
) -> Sent:
    """Send what is due, each to its receiver; one that fails holds up no other."""
    by_name: Mapping[str, Receiver] = {receiver.name: receiver for receiver in receivers}
    received, errors, down = 0, [], set[str]()
    for notice in ledger.take_notices(by_name.keys(), clock(), limit):
        try:
            if notice.receiver in down:
                raise NotReceived("the receiver did not confirm an earlier notice a moment ago")
            by_name[notice.receiver].send(notice)
        except NotReceived as error:
            down.add(notice.receiver)
            errors.append(f"{notice.receiver}: {error}")
            ledger.notice_failed(notice, str(error), clock() + retry_after(notice.attempts))
        else:
            ledger.notice_received(notice, clock())
            received += 1
    return Sent(received, tuple(dict.fromkeys(errors)), ledger.notices_waiting())


def retry_after(attempts: int) -> int:
    """Return how many seconds to wait after so many failures: 5, 10, 20 and so on, an hour at most."""
    return min(RETRY_FIRST_SECONDS << min(attempts, 20), RETRY_MAX_SECONDS)


def notice_body(kind: NoticeKind, stored: StoredAlert, at: int) -> str:
    """Return the JSON of a notice. Amounts stand as strings: numbers lose what exceeds 53 bits."""
    alert = stored.alert
    return json.dumps(
        {
            "type": kind.value,
            "at": at,
            "alert": stored.id,
            "scope": stored.scope,
            "guard": alert.guard,
            "subject": alert.subject,
            "severity": alert.severity.value,
            "message": alert.message,
            "amount": None if alert.amount is None else str(alert.amount),
            "openedAt": stored.opened_at,
            "resolvedAt": stored.resolved_at,
        },
        separators=(",", ":"),
    )
