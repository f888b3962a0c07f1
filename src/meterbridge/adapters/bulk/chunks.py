"""From blocks to chunks: by column where all is plain, row by row where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from meterbridge.adapters.bulk.blocks import Block
from meterbridge.adapters.bulk.columns import Coded, ColumnReader, PlainColumns
from meterbridge.adapters.formats.column_map import ColumnMap
from meterbridge.adapters.formats.errors import BadUsage
from meterbridge.adapters.formats.mapped import MappedRows
from meterbridge.adapters.formats.rows import BadRow as RefusedRow
from meterbridge.adapters.formats.rows import Row
from meterbridge.adapters.formats.values import text
from meterbridge.domain.addresses import Address
from meterbridge.domain.arrays import Ints
from meterbridge.domain.errors import MeterbridgeError, OutOfBounds, ProtocolError
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.receipts import LANE_MAX, VOID_SOURCE
from meterbridge.domain.units import LANES
from meterbridge.services.bulk.chunk import Origin, UsageChunk
from meterbridge.services.bulk.sealing import Scanning
from meterbridge.services.ledger_errors import UnknownAccount
from meterbridge.services.metering import details_text
from meterbridge.services.receipt_columns import REPLACEMENT_SOURCE
from meterbridge.services.records import BadRow

RESERVED_SOURCES: Final = frozenset((VOID_SOURCE, REPLACEMENT_SOURCE))


class Payers:
    """Who pays: customers and addresses to accounts."""

    def __init__(self, scanning: Scanning, everybody: str | None) -> None:
        """Know a tariff's accounts; where `everybody` is named, it pays for all rows."""
        accounts = scanning.accounts
        self._everybody = everybody
        self._by_name = {a.customer: i for i, a in enumerate(accounts) if a.customer is not None}
        self._by_address = {a.key.payer: i for i, a in enumerate(accounts)}

    def account(self, payer: str | None) -> int:
        """Return the number of an account by customer name or address.

        Raises:
            OutOfBounds: when nobody is said to pay.
            UnknownAccount: when the ledger has no such account.
        """
        who = payer if self._everybody is None else self._everybody
        if who is None:
            raise OutOfBounds("the row does not say who pays; name a payer for the whole file", None)
        if who in self._by_name:
            return self._by_name[who]
        try:
            address = Address.parse(who)
        except OutOfBounds as error:
            reason = f"{who!r} is neither a customer that the ledger knows nor an address ({error})"
            raise UnknownAccount(reason, who) from error
        if address not in self._by_address:
            raise UnknownAccount(
                f"the ledger has no account of {address} under this tariff; open it first", who
            )
        return self._by_address[address]


@dataclass(slots=True)
class _Rows:
    """Events of a block on their way into columns."""

    numbers: list[int] = field(default_factory=list)
    accounts: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    lanes: list[Sequence[int]] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)


class ChunkMaker:
    """Makes the chunks of one file."""

    def __init__(self, scanning: Scanning, file: str, payer: str | None, latest: int | None) -> None:
        """Make chunks for a scan.

        Args:
            scanning: what numbers texts, and takes bad rows.
            file: name of the file in errors.
            payer: who pays for all rows; without it, whom each names.
            latest: milliseconds since 1970; later events are refused.
        """
        self.scanning, self._file, self._latest = scanning, file, latest
        self._payers = Payers(scanning, payer)
        self._meters = scanning.record.meter_map()
        self._numbers: dict[tuple[str, object], int] = {}

    def of_rows(self, rows: Iterable[Row]) -> UsageChunk:
        """Make a chunk of events that were read one by one; bad ones are refused."""
        found = _Rows()
        for row in rows:
            if isinstance(row, RefusedRow):
                self._refuse(BadRow(row.row_number, row.value, row.reason))
                continue
            try:
                self._add(found, row.row_number, row.event)
            except MeterbridgeError as error:
                self._refuse(BadRow(row.row_number, error.value, str(error), row.event.id))
        return self._chunk_of(found)

    def of_columns(
        self, block: Block, columns: PlainColumns, mapped: MappedRows, source: str
    ) -> UsageChunk | None:
        """Make a chunk of columns, or None where a row of it is to be refused.

        Args:
            block: where they come from.
            columns: what it says.
            mapped: reads a row as its column map says.
            source: who reports rows that do not say so.
        """
        if columns.occurred_at.min() < self.scanning.horizon:
            return None
        if self._latest is not None and columns.occurred_at.max() > self._latest:
            return None
        try:
            accounts = self._numbers_of("payer", columns.payers, self._payer_number)
            sources = self._numbers_of("source", columns.sources, partial(self._source_number, source))
            details = self._details_of(block, columns, mapped)
        except MeterbridgeError:
            return None
        return UsageChunk(
            origin=Origin(self._file, block.first_row, block.numbers),
            accounts=accounts,
            sources=sources,
            details=details,
            occurred_at=columns.occurred_at,
            usage=columns.usage,
            event_bytes=columns.event_bytes,
            event_offsets=columns.event_offsets,
        )

    def _numbers_of(self, kind: str, coded: Coded, number_of: Callable[[object], int]) -> Ints:
        used = np.bincount(coded.codes, minlength=len(coded.values)) > 0
        numbers = np.full(len(coded.values), -1, dtype=np.int64)
        for code in np.flatnonzero(used).tolist():
            key = (kind, coded.values[code])
            if key not in self._numbers:
                self._numbers[key] = number_of(key[1])
            numbers[code] = self._numbers[key]
        return numbers[coded.codes]

    def _payer_number(self, value: object) -> int:
        return self._payers.account(None if value is None else text("payer", value))

    def _source_number(self, default: str, value: object) -> int:
        source = default if value is None else text("source", value)
        _require_free(source)
        return int(self.scanning.sources.numbers([source])[0])

    def _details_of(self, block: Block, columns: PlainColumns, mapped: MappedRows) -> Ints:
        examples = dict(zip(columns.details.values, columns.examples.tolist(), strict=True))

        def number(value: object) -> int:
            row = block.row(examples[value])
            if isinstance(row, RefusedRow):
                raise BadUsage(row.reason, row.value)
            said = details_text(mapped.event(row.row_number, row.fields).details)
            return int(self.scanning.details.numbers([said])[0])

        return self._numbers_of("details", columns.details, number)

    def _add(self, found: _Rows, number: int, event: UsageEvent) -> None:
        self._require_time(event.occurred_at)
        _require_free(event.source)
        lanes = self._meters.measure(event.buckets).lanes
        if max(lanes) > LANE_MAX:
            raise OutOfBounds(f"a meter counts {max(lanes)}; at most {LANE_MAX} fit one receipt", max(lanes))
        encoded = _storable("event id", event.id)
        _storable("source", event.source)
        account, details = self._payers.account(event.payer), details_text(event.details)
        found.numbers.append(number)
        found.accounts.append(account)
        found.sources.append(event.source)
        found.details.append(details)
        found.times.append(event.occurred_at)
        found.lanes.append(lanes)
        found.events.append(encoded)

    def _require_time(self, occurred_at: int) -> None:
        if occurred_at < self.scanning.horizon:
            raise OutOfBounds(
                f"the time, {occurred_at} ms since 1970, is before {self.scanning.horizon}: whether an "
                "event so old was sealed is not looked up any more; raise the retention",
                occurred_at,
            )
        if self._latest is not None and occurred_at > self._latest:
            raise OutOfBounds(f"the time, {occurred_at} ms since 1970, lies in the future", occurred_at)

    def _chunk_of(self, found: _Rows) -> UsageChunk:
        numbers = np.array(found.numbers, dtype=np.int64)
        return UsageChunk(
            origin=Origin(self._file, int(numbers[0]) if len(numbers) else 0, numbers),
            accounts=np.array(found.accounts, dtype=np.int64),
            sources=self.scanning.sources.numbers(found.sources),
            details=self.scanning.details.numbers(found.details),
            occurred_at=np.array(found.times, dtype=np.int64),
            usage=np.array(found.lanes, dtype=np.int64).reshape(-1, LANES),
            event_bytes=np.frombuffer(b"".join(found.events), dtype=np.uint8),
            event_offsets=np.cumsum([0, *map(len, found.events)], dtype=np.int64),
        )

    def _refuse(self, bad: BadRow) -> None:
        self.scanning.refuse(self._file, bad)


def column_reader(column_map: ColumnMap, scanning: Scanning, mapped: MappedRows) -> ColumnReader:
    """Return the reader of columns that reads as `mapped` does."""
    accepted: dict[tuple[str, ...], bool] = {}

    def accepts(table: Any) -> bool:
        names = tuple(table.schema.names)
        if names not in accepted:
            try:
                mapped.require_columns(names)
                accepted[names] = len(set(names)) == len(names)
            except BadUsage:
                accepted[names] = False
        return accepted[names]

    return ColumnReader(column_map, scanning.record.meter_map(), accepts)


def _require_free(source: str) -> None:
    if source in RESERVED_SOURCES:
        raise OutOfBounds(f"source {source!r} is reserved; name who reports", source)


def _storable(name: str, value: str) -> bytes:
    if "\0" in value:
        raise ProtocolError(f"{name} {value!r} holds a NUL character", value)
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ProtocolError(f"{name} {value!r} is not valid Unicode", value) from error
