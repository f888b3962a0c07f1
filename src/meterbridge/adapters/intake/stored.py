"""What the ledger already holds under an event's identity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from meterbridge.adapters.intake.known import KnownTariff
from meterbridge.adapters.sql.database import Database, in_slices
from meterbridge.adapters.sql.receipts import INDEX, PENDING, event_keys
from meterbridge.adapters.sql.registry import TARIFFS
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.units import UsageVector
from meterbridge.services.ledger_errors import UnknownReceipt
from meterbridge.services.ports import Ledger, Segments
from meterbridge.services.records import BatchRecord, LogKey


class StoredEvents:
    """Looks events up by their identity, pending or sealed."""

    def __init__(self, database: Database, ledger: Ledger, segments: Segments) -> None:
        """Take the ledger, its database and its segments."""
        self._database = database
        self._ledger = ledger
        self._segments = segments

    def elsewhere(
        self,
        tariff: KnownTariff,
        tariffs: Sequence[KnownTariff],
        sources: Sequence[str],
        ids: Sequence[str],
    ) -> dict[int, bytes]:
        """Return, by row, the tariff under which the provider was sent an event before, if not this one.

        Identity is (provider, source, id), and the ledger's own constraint holds within a tariff. Two
        processes that are sent one event under two tariffs in the same instant may miss each other.
        """
        others = [
            other.id for other in tariffs if other.provider == tariff.provider and other.id != tariff.id
        ]
        if not others:
            return {}
        keys = event_keys(sources, ids)
        found: dict[bytes, bytes] = {}
        with self._database.read() as connection:
            for part in in_slices(keys):
                query = (
                    select(INDEX.c.event_key, TARIFFS.c.tariff_id)
                    .join(TARIFFS, TARIFFS.c.id == INDEX.c.tariff)
                    .where(TARIFFS.c.tariff_id.in_(others), INDEX.c.event_key.in_(part))
                )
                found.update((bytes(r.event_key), bytes(r.tariff_id)) for r in connection.execute(query))
        return {row: found[key] for row, key in enumerate(keys) if key in found}

    def describe(self, tariff_id: bytes, source: str, event_id: str) -> dict[str, Any]:
        """Return what is stored under an identity, for a person to compare."""
        found = self._ledger.locate(tariff_id, source, event_id)
        if found is None:
            return {}
        log, receipt_id = found
        return {
            "tariff": "0x" + tariff_id.hex(),
            "payer": str(log.account.payer),
            "log": log.kind.value,
            **self.receipt(log, receipt_id),
        }

    def receipt(self, log: LogKey, receipt_id: bytes) -> dict[str, Any]:
        """Return one receipt of a log as JSON values, with the batch that holds it, if any.

        Raises:
            UnknownReceipt: when the log has no such receipt.
        """
        place = self._ledger.find(log, receipt_id)
        if place is None:
            raise UnknownReceipt(f"the log has no receipt 0x{receipt_id.hex()}", receipt_id)
        if place.seq is None or place.row is None:
            with self._database.read() as connection:
                row = connection.execute(
                    select(PENDING).where(PENDING.c.arrival == place.arrival)
                ).one_or_none()
            if row is None:  # sealed between the two looks
                return self.receipt(log, receipt_id)
            told = (row.occurred_at, row.usage, row.source, row.event_id, row.details)
        else:
            batch = self._ledger.batch(log, place.seq)
            table = self._segments.rows(batch.segment or "", place.row, place.row + 1)
            held = table.receipts.receipt(0)
            told = (held.occurred_at, held.usage, table.sources[0], table.event_ids[0], table.details[0])
        return _receipt_json(receipt_id, place.seq, *told)

    def rows(self, batch: BatchRecord, after: int, limit: int) -> list[dict[str, Any]]:
        """Return some receipts of a sealed batch, in the order of its leaves."""
        table = self._segments.rows(batch.segment or "", after, after + limit)
        found = []
        for at in range(len(table)):
            held = table.receipts.receipt(at)
            told = (held.occurred_at, held.usage, table.sources[at], table.event_ids[at], table.details[at])
            found.append(_receipt_json(held.id, batch.seq, *told))
        return found


def _receipt_json(
    receipt_id: bytes,
    seq: int | None,
    occurred_at: int,
    usage: UsageVector,
    source: str,
    event_id: str,
    details: str,
) -> dict[str, Any]:
    return {
        "id": "0x" + receipt_id.hex(),
        "source": source,
        "event_id": event_id,
        "occurred_at": occurred_at,
        "usage": list(usage.lanes),
        "details": json.loads(details) if details else {},
        "batch": seq,
    }


def event_json(event: UsageEvent) -> Mapping[str, Any]:
    """Return an event as JSON values."""
    return {
        "source": event.source,
        "event_id": event.id,
        "occurred_at": event.occurred_at,
        "payer": event.payer,
        "buckets": dict(event.buckets),
        "details": dict(event.details),
    }
