"""From usage events to receipts that await sealing, each counted once (protocol, section 3).

A receipt's identity is its id: the same event again is success and stored once, the same id with another
content is a conflict, within one import, between imports, and against what is sealed. What a call has
reported as added is durable. An import that was interrupted is simply run again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import OutOfBounds, ProtocolError
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.receipts import LANE_MAX, SOURCE_BYTES_MAX, ReceiptColumns, canonical_details
from meterbridge.domain.units import LANES, UsageVector
from meterbridge.services.corrections import RESERVED_DETAIL, Correction, correct
from meterbridge.services.ledger_errors import (
    BadUsage,
    HeadroomExceeded,
    UnknownAccount,
    UsageConflict,
)
from meterbridge.services.ports import Ledger
from meterbridge.services.receipt_columns import content_keys, details_hashes, receipt_ids
from meterbridge.services.records import (
    ADDED,
    CONFLICT,
    AccountKey,
    AccountRecord,
    BadRow,
    Intake,
    LogKey,
    LogKind,
    ReceiptTable,
    RefusedRow,
    TariffRecord,
    UsageRow,
)

__all__ = ["Correction", "ImportReport", "correct", "details_text", "ensure_account", "import_usage"]

CHUNK_ROWS: Final = 5_000
"""Rows in one transaction: enough that the disk's sync costs little, few enough to hold in memory."""
DETAILS_DEPTH: Final = 16
PayerOf = Callable[[UsageEvent], Address]


@dataclass(slots=True)
class ImportReport:
    """What became of a usage log.

    Attributes:
        added: receipts that are new.
        repeated: events that were there already, with the same content.
        bad: rows that were left out.
        totals: usage of the added receipts.
    """

    added: int = 0
    repeated: int = 0
    bad: list[BadRow] = field(default_factory=list)
    totals: UsageVector = field(default_factory=UsageVector.zero)


class _Charge(NamedTuple):
    """One event, measured, on its way into columns."""

    row: int
    account: int
    source: str
    event_id: str
    occurred_at: int
    lanes: tuple[int, ...]
    details: str


def ensure_account(
    ledger: Ledger, key: AccountKey, customer: str | None = None, *, blind: bytes | None = None
) -> AccountRecord:
    """Return an account, opening it with a fresh secret blind where it is missing.

    Raises:
        Conflict: when it has another blind or another customer name, or the name is another payer's.
    """
    try:
        known = ledger.account(key).blind
    except UnknownAccount:
        known = secrets.token_bytes(32)
    return ledger.open_account(key, blind or known, customer)


def import_usage(
    ledger: Ledger,
    record: TariffRecord,
    rows: Iterable[UsageRow | RefusedRow],
    *,
    payer_of: PayerOf | None = None,
    skip_bad: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Turn the rows of a usage log into receipts that await sealing.

    Args:
        ledger: where they go; the tariff and its accounts must be known to it.
        record: the tariff under which the usage is charged.
        rows: what a reader of `adapters.formats` yields.
        payer_of: who pays for an event; without it, the event's own payer does (address or customer name).
        skip_bad: leave bad rows out and list them, instead of stopping at the first.
        on_progress: told the number of rows that are done, now and then.

    Raises:
        BadUsage: at the first bad row, unless `skip_bad`. Rows before it may be stored; run again once it is
            mended, and they are found to be there.
        UsageConflict: likewise, when a row has the id of another receipt and another content.
    """
    importer = _Importer(ledger, record, payer_of, skip_bad)
    source, done = iter(rows), 0
    while chunk := list(islice(source, CHUNK_ROWS)):
        importer.take(chunk)
        done += len(chunk)
        if on_progress is not None:
            on_progress(done)
    return importer.report


class _Importer:
    """One import: who pays, what counts where, and what was found so far."""

    def __init__(
        self, ledger: Ledger, record: TariffRecord, payer_of: PayerOf | None, skip_bad: bool
    ) -> None:
        terms = record.terms()
        self.report = ImportReport()
        self._ledger, self._record = ledger, record
        self._measure, self._headroom = terms.meter_map().measure, terms.headroom()
        self._payer_of, self._skip_bad = payer_of, skip_bad
        self._accounts = ledger.accounts(record.id)
        self._logs = [LogKey(account.key, LogKind.CHARGES) for account in self._accounts]
        self._by_payer = {account.key.payer: i for i, account in enumerate(self._accounts)}
        self._by_name = {a.customer: i for i, a in enumerate(self._accounts) if a.customer is not None}

    def take(self, rows: Sequence[UsageRow | RefusedRow]) -> None:
        """Store a chunk of rows in one transaction."""
        charges = list(self._charges(rows))
        while charges:
            intake = self._intake(charges)
            try:
                outcome = self._ledger.add_receipts(intake, self._headroom, whole=not self._skip_bad)
            except HeadroomExceeded as error:
                for index, reason in error.beyond:
                    charge = charges[index]
                    self._refuse(BadRow(charge.row, error.value, reason, charge.event_id))
                left_out = {index for index, _ in error.beyond}
                charges = [charge for i, charge in enumerate(charges) if i not in left_out]
                continue
            for i in np.flatnonzero(outcome == CONFLICT).tolist():
                self._conflict(charges[i])
            self._count(intake.table.receipts, outcome == ADDED, outcome)
            return

    def _charges(self, rows: Sequence[UsageRow | RefusedRow]) -> Iterator[_Charge]:
        for row in rows:
            event: UsageEvent | None = getattr(row, "event", None)
            if event is None:
                self._refuse(BadRow(row.row_number, getattr(row, "value", None), getattr(row, "reason", "")))
                continue
            try:
                yield self._charge(row.row_number, event)
            except (ProtocolError, UnknownAccount) as error:
                self._refuse(BadRow(row.row_number, error.value, str(error), event.id))

    def _charge(self, row: int, event: UsageEvent) -> _Charge:
        lanes = self._measure(event.buckets).lanes
        if max(lanes) > LANE_MAX:
            raise OutOfBounds(f"a meter counts {max(lanes)}; at most {LANE_MAX} fit one receipt", max(lanes))
        for name, text in (("source", event.source), ("event id", event.id)):
            _require_storable(name, text)
        details = details_text(event.details)
        return _Charge(
            row, self._account_of(event), event.source, event.id, event.occurred_at, lanes, details
        )

    def _account_of(self, event: UsageEvent) -> int:
        if self._payer_of is not None:
            payer = self._payer_of(event)
        elif event.payer is None:
            raise OutOfBounds("the row does not say who pays; name a payer for the whole file", None)
        elif event.payer in self._by_name:
            return self._by_name[event.payer]
        else:
            payer = _address(event.payer)
        if payer not in self._by_payer:
            raise UnknownAccount(
                f"the ledger has no account of {payer} under this tariff; open it first", payer
            )
        return self._by_payer[payer]

    def _intake(self, charges: Sequence[_Charge]) -> Intake:
        _, accounts, sources, event_ids, times, lanes, details = zip(*charges, strict=True)
        blinds = [self._accounts[account].blind for account in accounts]
        receipts = ReceiptColumns(
            ids=receipt_ids(blinds, sources, event_ids),
            occurred_at=np.array(times, dtype=np.int64),
            usage=np.array(lanes, dtype=np.int64).reshape(-1, LANES),
            details=details_hashes(details),
        )
        table = ReceiptTable(receipts, sources, event_ids, details)
        log_of = np.array(accounts, dtype=np.int64)
        return Intake(self._record.id, self._logs, log_of, table, content_keys(table))

    def _count(self, receipts: ReceiptColumns, added: np.ndarray, outcome: np.ndarray) -> None:
        report = self.report
        report.added += int(added.sum())
        report.repeated += int((~added & (outcome != CONFLICT)).sum())
        lanes = [sum(column) for column in receipts.usage[added].T.tolist()]
        report.totals = report.totals + UsageVector.of(lanes)

    def _conflict(self, charge: _Charge) -> None:
        found = self._ledger.locate(self._record.id, charge.source, charge.event_id)
        payer = self._accounts[charge.account].key.payer
        other = (
            ""
            if found is None or found[0].account.payer == payer
            else f", charged to {found[0].account.payer}"
        )
        reason = (
            f"event {charge.event_id!r} of {charge.source!r} is there already with another content{other}; "
            "correct that receipt, or give this one its own id"
        )
        self._refuse(BadRow(charge.row, charge.event_id, reason, charge.event_id), UsageConflict)

    def _refuse(self, bad: BadRow, error: type[BadUsage] = BadUsage) -> None:
        if not self._skip_bad:
            raise error(bad.row_number, bad.reason, bad.value)
        self.report.bad.append(bad)


def details_text(details: Mapping[str, object]) -> str:
    """Return a receipt's details as canonical JSON, empty for none; refuse what a proof could not show.

    Raises:
        OutOfBounds: when a key is reserved, a number has a fraction, or the nesting is deeper than 16.
        ProtocolError: when there is no canonical form.
    """
    if RESERVED_DETAIL in details:
        raise OutOfBounds(f"the detail {RESERVED_DETAIL!r} is reserved for corrections", details)
    fraction = next(_fractions(details.values(), DETAILS_DEPTH), None)
    if fraction is not None:
        raise OutOfBounds(f"the details hold the number {fraction!r}; write fractions as texts", fraction)
    return canonical_details(details).decode() if details else ""


def _fractions(values: Iterable[object], depth: int) -> Iterator[float]:
    if depth == 0:
        raise OutOfBounds(f"the details are nested deeper than {DETAILS_DEPTH}", DETAILS_DEPTH)
    for value in values:
        if isinstance(value, float):
            yield value
        elif isinstance(value, dict | list | tuple):
            yield from _fractions(value.values() if isinstance(value, dict) else value, depth - 1)


def _require_storable(name: str, text: str) -> None:
    """Refuse what no database keeps, no UTF-8 spells, and no id can hold."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ProtocolError(f"{name} {text!r} is not valid Unicode", text) from error
    if "\0" in text:
        raise ProtocolError(f"{name} {text!r} holds a NUL character", text)
    if size > SOURCE_BYTES_MAX:
        raise OutOfBounds(f"{name} is {size} bytes long; at most {SOURCE_BYTES_MAX} are allowed", text[:80])


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except OutOfBounds as error:
        raise UnknownAccount(
            f"{text!r} is neither a customer that the ledger knows nor an address ({error})", text
        ) from error
