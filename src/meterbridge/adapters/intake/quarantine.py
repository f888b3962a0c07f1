"""Quarantine: events that contradict what is stored under their identity wait for a person to decide."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, select, update

from meterbridge.adapters.sql.database import Database
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.service import QuarantineRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError

_QUARANTINE: Final = table_of(QuarantineRow)
HELD: Final = "held"
RELEASED: Final = "released"
REJECTED: Final = "rejected"


class UnknownQuarantine(MeterbridgeError):
    """The provider has no quarantined event with this number."""


class AlreadyDecided(MeterbridgeError):
    """Somebody decided already; a decision is not taken twice."""


@dataclass(frozen=True, slots=True)
class Held:
    """A contradiction, as it is found.

    Attributes:
        content: 16 bytes that tell contents apart.
        incoming, stored: what came and what is stored, as JSON values without floats.
    """

    provider: Address
    tariff_id: bytes
    source: str
    event_id: str
    content: bytes
    incoming: Mapping[str, Any]
    stored: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QuarantinedEvent:
    """A contradiction, as it is kept; times in milliseconds since 1970."""

    number: int
    held: Held
    received_at: int
    state: str
    decided_at: int | None
    note: str | None


class Quarantine:
    """The quarantined events in a ledger's database."""

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database

    def hold(self, events: Sequence[Held], received_at: int) -> None:
        """Keep contradictions durably; one that is known already changes nothing."""
        rows = [
            {
                "provider": event.provider.raw,
                "tariff_id": event.tariff_id,
                "source": event.source,
                "event_id": event.event_id,
                "content": event.content,
                "incoming": _json(event.incoming),
                "stored": _json(event.stored),
                "received_at": received_at,
                "state": HELD,
            }
            for event in events
        ]
        with self._database.write() as connection:
            connection.execute(self._database.insert_or_skip(_QUARANTINE), rows)

    def page(
        self, provider: Address | None, state: str | None, after: int, limit: int
    ) -> list[QuarantinedEvent]:
        """Return events of one provider (or all) in one state (or any), numbers above `after`, ascending."""
        query = select(_QUARANTINE).where(_QUARANTINE.c.id > after).order_by(_QUARANTINE.c.id).limit(limit)
        if provider is not None:
            query = query.where(_QUARANTINE.c.provider == provider.raw)
        if state is not None:
            query = query.where(_QUARANTINE.c.state == state)
        with self._database.read() as connection:
            return [_event(row) for row in connection.execute(query)]

    def get(self, number: int, provider: Address | None = None) -> QuarantinedEvent:
        """Return one event.

        Raises:
            UnknownQuarantine: also where it is another provider's.
        """
        query = select(_QUARANTINE).where(_QUARANTINE.c.id == number)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or (provider is not None and bytes(row.provider) != provider.raw):
            raise UnknownQuarantine(f"there is no quarantined event {number}", number)
        return _event(row)

    def decide(self, number: int, state: str, note: str | None, now: int) -> None:
        """Record a decision on a held event.

        Raises:
            AlreadyDecided: when it is not held any more.
        """
        decision = (
            update(_QUARANTINE)
            .where(_QUARANTINE.c.id == number, _QUARANTINE.c.state == HELD)
            .values(state=state, decided_at=now, note=note)
        )
        with self._database.write() as connection:
            if not connection.execute(decision).rowcount:
                raise AlreadyDecided(f"quarantined event {number} is decided already", number)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _event(row: Row[Any]) -> QuarantinedEvent:
    held = Held(
        provider=Address(bytes(row.provider)),
        tariff_id=bytes(row.tariff_id),
        source=row.source,
        event_id=row.event_id,
        content=bytes(row.content),
        incoming=json.loads(row.incoming),
        stored=json.loads(row.stored),
    )
    return QuarantinedEvent(row.id, held, row.received_at, row.state, row.decided_at, row.note)
