"""Prepared receipts as columns, until the writer joins those of many requests into one intake."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeAlias, TypeVar

import numpy as np

from meterbridge.domain.arrays import Ints, cells
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.keccak import keccak256_ragged
from meterbridge.domain.receipts import LANE_MAX, ReceiptColumns, canonical_details
from meterbridge.domain.units import LANES
from meterbridge.services.receipt_columns import content_keys, details_hashes
from meterbridge.services.records import AccountRecord, Intake, LogKey, LogKind, ReceiptTable

T = TypeVar("T")
Taken = tuple[int, UsageEvent, AccountRecord, tuple[int, ...], str]
"""One event that can be counted: its place in the request, itself, who pays, lanes, canonical details."""
Part: TypeAlias = "Columns | Sequence[Taken]"
EventOf = Callable[[int], UsageEvent]
BLIND_BYTES: Final = 32
_PLAIN: Final = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), check_circular=False
)


@dataclass(frozen=True, slots=True)
class Hashed:
    """What follows from columns by hashing.

    Attributes:
        contents: n keys that tell contents apart; see `receipt_columns.content_keys`.
        keys: n keys of the events; see `adapters.sql.receipts.event_keys`.
    """

    receipts: ReceiptColumns
    contents: list[bytes]
    keys: list[bytes]


@dataclass(slots=True)
class Columns:
    """Events that can be counted.

    Attributes:
        indexes: (n,) places in their requests.
        accounts, account_of: who pays, and (n,) which of them pays for each event.
        sources, event_ids: n texts.
        details: n canonical JSON texts, empty ones for none.
        occurred_at: (n,) milliseconds since 1970.
        usage: (n, 8) lanes.
        event_of: makes the event of a row, for the few that somebody must look at.
    """

    tariff_id: bytes
    indexes: Ints
    accounts: list[AccountRecord]
    account_of: Ints
    sources: list[str]
    event_ids: list[str]
    details: list[str]
    occurred_at: Ints
    usage: Ints
    event_of: EventOf
    hashed: Hashed | None = None

    def __len__(self) -> int:
        return len(self.event_ids)

    @classmethod
    def of_events(cls, tariff_id: bytes, taken: Sequence[Taken]) -> Columns:
        """Make columns of events."""
        indexes, events, payers, usage, details = zip(*taken, strict=True) if taken else ((),) * 5
        accounts, account_of = _numbered(payers)
        return cls(
            tariff_id=tariff_id,
            indexes=np.array(indexes, dtype=np.int64),
            accounts=accounts,
            account_of=account_of,
            sources=[event.source for event in events],
            event_ids=[event.id for event in events],
            details=list(details),
            occurred_at=np.array([event.occurred_at for event in events], dtype=np.int64),
            usage=np.array(usage, dtype=np.int64).reshape(-1, LANES),
            event_of=events.__getitem__,
        )

    @classmethod
    def joined(cls, tariff_id: bytes, parts: Sequence[Part]) -> Columns:
        """Join what several requests bring, in their order: those with few events become columns together."""
        found: list[Columns] = []
        few: list[Taken] = []
        for part in parts:
            if not isinstance(part, Columns):
                few += part
                continue
            if few:
                found.append(cls.of_events(tariff_id, few))
            few = []
            found.append(part)
        return cls.concatenate([*found, cls.of_events(tariff_id, few)] if few or not found else found)

    @classmethod
    def concatenate(cls, parts: Sequence[Columns]) -> Columns:
        """Join columns of one tariff."""
        if len(parts) == 1:
            parts[0].finish()
            return parts[0]
        starts = list(accumulate((len(part) for part in parts), initial=0))
        accounts, account_of = _renumbered([(part.accounts, part.account_of) for part in parts])
        joined = cls(
            tariff_id=parts[0].tariff_id,
            indexes=np.concatenate([part.indexes for part in parts]),
            accounts=accounts,
            account_of=account_of,
            sources=[text for part in parts for text in part.sources],
            event_ids=[text for part in parts for text in part.event_ids],
            details=[text for part in parts for text in part.details],
            occurred_at=np.concatenate([part.occurred_at for part in parts]),
            usage=np.concatenate([part.usage for part in parts]),
            event_of=_event_of([part.event_of for part in parts], starts),
        )
        if any(part.hashed is not None for part in parts):
            joined.hashed = _joined([part.finish() for part in parts])
        else:
            joined.finish()
        return joined

    def finish(self) -> Hashed:
        """Hash all ids, details, contents and keys at once, unless that is done."""
        if self.hashed is None:
            self.hashed = self._hash()
        return self.hashed

    def _hash(self) -> Hashed:
        buffer, offsets = self._messages()
        receipts = ReceiptColumns(
            ids=keccak256_ragged(buffer, offsets),
            occurred_at=self.occurred_at,
            usage=self.usage,
            details=details_hashes(self.details),
        )
        contents = content_keys(ReceiptTable(receipts, self.sources, self.event_ids, self.details))
        return Hashed(receipts, contents, hashed_keys(buffer, offsets))

    def _messages(self) -> tuple[np.ndarray, Ints]:
        """Return what the ids are hashes of: blind, uint16(length), source and event id (protocol, 3)."""
        prefixes: dict[tuple[int, str], bytes] = {}
        parts = []
        for account, source, event_id in zip(
            self.account_of.tolist(), self.sources, self.event_ids, strict=True
        ):
            prefix = prefixes.get((account, source))
            if prefix is None:
                name = source.encode()
                prefix = self.accounts[account].blind + len(name).to_bytes(2, "big") + name
                prefixes[account, source] = prefix
            parts.append(prefix + event_id.encode())
        offsets = np.fromiter(accumulate(map(len, parts), initial=0), dtype=np.int64, count=len(parts) + 1)
        return np.frombuffer(b"".join(parts), dtype=np.uint8), offsets

    def take(self, rows: Sequence[int]) -> Columns:
        """Return these rows, in this order."""
        order = np.asarray(rows, dtype=np.int64)
        hashed = None
        if self.hashed is not None:
            receipts = self.hashed.receipts.take(order)
            hashed = Hashed(receipts, _at(self.hashed.contents, rows), _at(self.hashed.keys, rows))
        event_of = self.event_of
        return Columns(
            tariff_id=self.tariff_id,
            indexes=self.indexes[order],
            accounts=self.accounts,
            account_of=self.account_of[order],
            sources=_at(self.sources, rows),
            event_ids=_at(self.event_ids, rows),
            details=_at(self.details, rows),
            occurred_at=self.occurred_at[order],
            usage=self.usage[order],
            event_of=lambda row: event_of(rows[row]),
            hashed=hashed,
        )

    def intake(self, rows: Sequence[int]) -> Intake:
        """Return these rows, or all of them, as the ledger takes them."""
        part = self if len(rows) == len(self) else self.take(rows)
        hashed = part.finish()
        logs = [LogKey(account.key, LogKind.CHARGES) for account in part.accounts]
        table = ReceiptTable(hashed.receipts, part.sources, part.event_ids, part.details)
        return Intake(part.tariff_id, logs, part.account_of, table, hashed.contents, hashed.keys)


def hashed_keys(buffer: np.ndarray, offsets: Ints) -> list[bytes]:
    """Return the 16-byte keys of events out of the messages of their ids, whose blinds are left out."""
    from meterbridge.domain.blake2b_kernel import KEY_BYTES, KEY_WORDS, hash_keys

    count = len(offsets) - 1
    words = np.empty((count, KEY_WORDS), dtype=np.uint64)
    hash_keys(buffer, offsets, BLIND_BYTES, 0, count, words)
    return cells(words.astype(">u8").tobytes(), KEY_BYTES)


def _joined(parts: Sequence[Hashed]) -> Hashed:
    receipts = [part.receipts for part in parts]
    return Hashed(
        ReceiptColumns(
            np.concatenate([r.ids for r in receipts]),
            np.concatenate([r.occurred_at for r in receipts]),
            np.concatenate([r.usage for r in receipts]),
            np.concatenate([r.details for r in receipts]),
        ),
        [content for part in parts for content in part.contents],
        [key for part in parts for key in part.keys],
    )


def _event_of(parts: Sequence[EventOf], starts: Sequence[int]) -> EventOf:
    def event_of(row: int) -> UsageEvent:
        part = bisect_right(starts, row) - 1
        return parts[part](row - starts[part])

    return event_of


def _numbered(accounts: Iterable[AccountRecord]) -> tuple[list[AccountRecord], Ints]:
    """Number accounts; there is one object an account, so its identity is enough."""
    found: dict[int, int] = {}
    distinct: list[AccountRecord] = []
    numbers = []
    for account in accounts:
        number = found.get(id(account))
        if number is None:
            number = found[id(account)] = len(distinct)
            distinct.append(account)
        numbers.append(number)
    return distinct, np.array(numbers, dtype=np.int64)


def _renumbered(parts: Sequence[tuple[Sequence[AccountRecord], Ints]]) -> tuple[list[AccountRecord], Ints]:
    distinct, new_of = _numbered(account for accounts, _ in parts for account in accounts)
    starts = accumulate((len(accounts) for accounts, _ in parts), initial=0)
    return distinct, np.concatenate(
        [new_of[numbers + start] for (_, numbers), start in zip(parts, starts, strict=False)]
    )


def _at(values: Sequence[T], rows: Sequence[int]) -> list[T]:
    return [values[row] for row in rows]


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
