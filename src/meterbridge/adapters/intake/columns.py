"""Prepared receipts as columns, until the writer joins those of many requests into one intake."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from meterbridge.domain.events import UsageEvent
from meterbridge.domain.receipts import LANE_MAX, ReceiptColumns, canonical_details
from meterbridge.domain.units import LANES
from meterbridge.services.receipt_columns import content_keys, details_hashes, receipt_ids
from meterbridge.services.records import AccountRecord, Intake, LogKey, LogKind, ReceiptTable

T = TypeVar("T")
_PLAIN: Final = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), check_circular=False
)


class Columns:
    """Events that can be counted, with their ids and contents hashed.

    Attributes:
        events: n events.
        indexes: n places in their requests.
        contents: n keys that tell contents apart; see `receipt_columns.content_keys`.
    """

    def __init__(self, tariff_id: bytes) -> None:
        """Start empty."""
        self.tariff_id = tariff_id
        self.events: list[UsageEvent] = []
        self.indexes: list[int] = []
        self.contents: list[bytes] = []
        self._accounts: list[AccountRecord] = []
        self._usage: list[tuple[int, ...]] = []
        self._details: list[str] = []
        self._receipts: ReceiptColumns | None = None

    def __len__(self) -> int:
        return len(self.events)

    def append(
        self, index: int, event: UsageEvent, account: AccountRecord, usage: tuple[int, ...], details: str
    ) -> None:
        """Add one event.

        Args:
            index: its place in the request.
            event: what was reported.
            account: who pays.
            usage: eight lanes.
            details: canonical JSON, or an empty text.
        """
        self.events.append(event)
        self.indexes.append(index)
        self._accounts.append(account)
        self._usage.append(usage)
        self._details.append(details)

    def finish(self) -> None:
        """Hash all ids, details and contents at once, unless that is done."""
        if self._receipts is not None:
            return
        self._receipts = ReceiptColumns(
            ids=receipt_ids([account.blind for account in self._accounts], self.sources, self.event_ids),
            occurred_at=np.array([event.occurred_at for event in self.events], dtype=np.int64),
            usage=np.array(self._usage, dtype=np.int64).reshape(-1, LANES),
            details=details_hashes(self._details),
        )
        table = ReceiptTable(self._receipts, self.sources, self.event_ids, self._details)
        self.contents = content_keys(table)

    @property
    def sources(self) -> list[str]:
        """Who reported each event."""
        return [event.source for event in self.events]

    @property
    def event_ids(self) -> list[str]:
        """The events' ids."""
        return [event.id for event in self.events]

    @classmethod
    def concatenate(cls, parts: Sequence[Columns]) -> Columns:
        """Join columns of one tariff, hashing those of small requests together."""
        if len(parts) == 1:
            parts[0].finish()
            return parts[0]
        if all(part._receipts is None for part in parts):
            joined = cls._listed(parts)
            joined.finish()
            return joined
        for part in parts:
            part.finish()
        joined = cls._listed(parts)
        joined.contents = [content for part in parts for content in part.contents]
        receipts = [part._receipts for part in parts if part._receipts is not None]
        joined._receipts = ReceiptColumns(
            np.concatenate([r.ids for r in receipts]),
            np.concatenate([r.occurred_at for r in receipts]),
            np.concatenate([r.usage for r in receipts]),
            np.concatenate([r.details for r in receipts]),
        )
        return joined

    @classmethod
    def _listed(cls, parts: Sequence[Columns]) -> Columns:
        joined = cls(parts[0].tariff_id)
        for part in parts:
            joined.events += part.events
            joined.indexes += part.indexes
            joined._accounts += part._accounts
            joined._usage += part._usage
            joined._details += part._details
        return joined

    def same_account(self, row: int) -> list[int]:
        """Return a row and all later ones of the same account."""
        account = self._accounts[row]
        return [later for later in range(row, len(self)) if self._accounts[later] is account]

    def intake(self, rows: Sequence[int]) -> Intake:
        """Return these rows, or all of them, as the ledger takes them."""
        assert self._receipts is not None, "finish() comes first"
        whole = len(rows) == len(self)
        receipts = self._receipts if whole else self._receipts.take(np.asarray(rows, dtype=np.int64))
        accounts = _taken(self._accounts, rows, whole)
        logs: dict[int, int] = {}
        keys: list[LogKey] = []
        log_of = np.empty(len(rows), dtype=np.int64)
        for place, account in enumerate(accounts):  # one object an account: its identity is enough
            found = logs.get(id(account))
            if found is None:
                found = logs[id(account)] = len(keys)
                keys.append(LogKey(account.key, LogKind.CHARGES))
            log_of[place] = found
        events = _taken(self.events, rows, whole)
        table = ReceiptTable(
            receipts, [e.source for e in events], [e.id for e in events], _taken(self._details, rows, whole)
        )
        return Intake(self.tariff_id, keys, log_of, table, _taken(self.contents, rows, whole))


def _taken(values: list[T], rows: Sequence[int], whole: bool) -> list[T]:
    return values if whole else [values[row] for row in rows]


def canonical(details: Mapping[str, object]) -> str:
    """Return details as RFC 8785 canonical JSON, or an empty text for none.

    Flat objects of ASCII names with texts, small whole numbers and flags, as nearly all are, look the same
    from the standard library's encoder, which is twenty times faster.
    """
    if not details:
        return ""
    for name, value in details.items():
        if not name.isascii() or not _is_plain(value):
            return canonical_details(details).decode()
    return _PLAIN.encode(details)


def _is_plain(value: object) -> bool:
    kind = type(value)
    if kind is str:
        return bool(value.isascii())  # type: ignore[attr-defined]  # its type was just compared
    return kind is bool or value is None or (kind is int and -LANE_MAX <= value <= LANE_MAX)  # type: ignore[operator]
