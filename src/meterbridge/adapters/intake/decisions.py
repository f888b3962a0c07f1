"""What follows from a person's decision on a quarantined event."""

from __future__ import annotations

from typing import Any

from meterbridge.adapters.intake.quarantine import (
    HELD,
    REJECTED,
    RELEASED,
    AlreadyDecided,
    Quarantine,
    QuarantinedEvent,
)
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.corrections import correct
from meterbridge.services.ports import Ledger, Segments


class CannotRelease(MeterbridgeError):
    """The incoming version cannot take the stored one's place by a correction."""


def release(
    ledger: Ledger,
    segments: Segments,
    quarantine: Quarantine,
    event: QuarantinedEvent,
    note: str | None,
    now: int,
) -> None:
    """Correct the stored charge to what came in, then record the decision; `now` is in milliseconds.

    The correction comes first and is idempotent: after a crash in between, releasing again ends it.

    Raises:
        AlreadyDecided: when it is not held.
        CannotRelease: when the two versions name different payers or tariffs.
    """
    if event.state != HELD:
        raise AlreadyDecided(f"quarantined event {event.number} is {event.state} already", event.state)
    held = event.held
    found = ledger.locate(held.tariff_id, held.source, held.event_id)
    payer = held.incoming.get("payer")
    if found is None:
        raise CannotRelease(
            "the stored version is under another tariff: void it there, then send the event again",
            held.tariff_id,
        )
    log, receipt_id = found
    customer = ledger.account(log.account).customer
    if payer is None or payer.lower() not in {str(log.account.payer).lower(), (customer or "").lower()}:
        raise CannotRelease(
            f"the versions name different payers, {payer!r} and {log.account.payer}: void the stored charge, "
            "then send the event again under a new id",
            payer,
        )
    usage = ledger.tariff(held.tariff_id).meter_map().measure(held.incoming["buckets"])
    reason = f"quarantine {event.number} released" + (f": {note}" if note else "")
    correct(ledger, segments, log.account, receipt_id, replacement=usage, occurred_at=now, reason=reason)
    quarantine.decide(event.number, RELEASED, note, now)


def reject(quarantine: Quarantine, event: QuarantinedEvent, note: str | None, now: int) -> None:
    """Record that what came in is wrong.

    Raises:
        AlreadyDecided: when it is not held.
    """
    quarantine.decide(event.number, REJECTED, note, now)


def decision_json(event: QuarantinedEvent) -> dict[str, Any]:
    """Return a quarantined event with both versions."""
    return {
        "number": event.number,
        "state": event.state,
        "tariff": "0x" + event.held.tariff_id.hex(),
        "source": event.held.source,
        "event_id": event.held.event_id,
        "received_at": event.received_at,
        "decided_at": event.decided_at,
        "note": event.note,
        "incoming": dict(event.held.incoming),
        "stored": dict(event.held.stored),
    }
