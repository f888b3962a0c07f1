"""Corrections: what was counted wrong is put right, and nothing sealed is ever changed (protocol, section 3).

Before sealing, a receipt is replaced in place; a void leaves it with no usage, so that its event is not
counted when it is sent again. After sealing, the credit log takes its usage back, once, and a replacement is
a new charge. Either way the details say what was done and why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.receipts import (
    VOID_SOURCE,
    Receipt,
    ReceiptColumns,
    canonical_details,
    credit,
    details_hash,
    receipt_id,
)
from meterbridge.domain.units import INT64_MAX, UsageVector
from meterbridge.services.ledger_errors import Conflict, UnknownReceipt
from meterbridge.services.ports import Ledger, Segments
from meterbridge.services.receipt_columns import REPLACEMENT_SOURCE, content_keys
from meterbridge.services.records import (
    ADDED,
    CONFLICT,
    AccountKey,
    Intake,
    LogKey,
    LogKind,
    ReceiptTable,
)

RESERVED_DETAIL: Final = "meterbridge"
"""The key under which a receipt's details say what it corrects."""
_NO_HEADROOM: Final = UsageVector.of([INT64_MAX] * 8)  # a correction must not fail for what it corrects


class CorrectionKind(StrEnum):
    """What a correction did."""

    IN_PLACE = "in place"
    CREDITED = "credited"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Correction:
    """What became of a correction.

    Attributes:
        credit: id of the entry in the credit log, or None.
        replacement: id of the new charge, or None.
    """

    kind: CorrectionKind
    credit: bytes | None = None
    replacement: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What somebody asked for."""

    account: AccountKey
    receipt_id: bytes
    replacement: UsageVector | None
    occurred_at: int
    reason: str


def correct(
    ledger: Ledger,
    segments: Segments,
    account: AccountKey,
    receipt_id: bytes,
    *,
    replacement: UsageVector | None,
    occurred_at: int,
    reason: str,
) -> Correction:
    """Take a charge back, and charge `replacement` instead where there is one.

    Args:
        ledger: where it is indexed.
        segments: where it is, once sealed.
        account: whose charge it is.
        receipt_id: 32 bytes, of a charge; it may be pending or sealed.
        replacement: usage to charge instead; None voids the charge.
        occurred_at: when it is corrected, milliseconds since 1970.
        reason: for people; it becomes part of the receipt's details.

    Returns:
        REPEATED where the same was asked for before.

    Raises:
        UnknownReceipt: when the account has no such charge.
        Conflict: when it is corrected already in another way.
        OutOfBounds: when a value is out of range.
    """
    wanted = _Wanted(account, receipt_id, replacement, occurred_at, reason)
    log = LogKey(account, LogKind.CHARGES)
    with ledger.sole_writer():  # so that it is not sealed meanwhile
        place = ledger.find(log, receipt_id)
        if place is None:
            raise UnknownReceipt(f"{account.payer} has no charge 0x{receipt_id.hex()}", receipt_id)
        if place.arrival is not None:
            return _in_place(ledger, log, place.arrival, wanted)
        if place.seq is None or place.row is None:
            raise UnknownReceipt(f"charge 0x{receipt_id.hex()} is in no batch", receipt_id)
        name = ledger.batch(log, place.seq).segment
        if name is None:
            raise UnknownReceipt(f"charge 0x{receipt_id.hex()} is in a log that was lost", receipt_id)
        sealed = segments.rows(name, place.row, place.row + 1)
        receipt, details = sealed.receipts.receipt(0), sealed.details[0]
        if _was_made_in_place(wanted, receipt, details):
            return Correction(CorrectionKind.REPEATED)
        return _by_credit(ledger, wanted, receipt, details)


def _in_place(ledger: Ledger, log: LogKey, arrival: int, wanted: _Wanted) -> Correction:
    before = ledger.pending_receipt(log, arrival)
    if before is None:
        raise Conflict("the receipt was sealed meanwhile; correct it again", wanted.receipt_id)
    details = parse_details(before.details[0])
    said = details.get(RESERVED_DETAIL, {})
    heard = said.get("heard", "0x" + content_keys(before)[0].hex())
    note = {key: said[key] for key in said if key == "replaces"} | {"heard": heard, "reason": wanted.reason}
    old = before.receipts.receipt(0)
    usage = wanted.replacement or UsageVector.zero()
    text = _details_text(details | {RESERVED_DETAIL: note})
    if text == before.details[0] and usage == old.usage:
        return Correction(CorrectionKind.REPEATED)
    new = Receipt(old.id, old.occurred_at, usage, details_hash(json.loads(text)))
    table = ReceiptTable(ReceiptColumns.of([new]), before.sources, before.event_ids, [text])
    ledger.replace_pending(log, arrival, table)
    return Correction(CorrectionKind.IN_PLACE)


def _was_made_in_place(wanted: _Wanted, sealed: Receipt, details: str) -> bool:
    """Tell whether the receipt was corrected like this before it was sealed."""
    note = parse_details(details).get(RESERVED_DETAIL, {})
    same_usage = sealed.usage == (wanted.replacement or UsageVector.zero())
    return "heard" in note and note.get("reason") == wanted.reason and same_usage


def _by_credit(ledger: Ledger, wanted: _Wanted, corrected: Receipt, details: str) -> Correction:
    blind = ledger.account(wanted.account).blind
    hex_id = corrected.id.hex()
    note: dict[str, object] = {"corrects": "0x" + hex_id, "reason": wanted.reason}
    note["replaced"] = wanted.replacement is not None
    texts = [_details_text({RESERVED_DETAIL: note})]
    receipts = [credit(blind, corrected, corrected.usage, wanted.occurred_at, _hash(texts[0]))]
    sources, event_ids, kinds = [VOID_SOURCE], [hex_id], [LogKind.CREDITS]
    if wanted.replacement is not None:
        kept = {k: v for k, v in parse_details(details).items() if k != RESERVED_DETAIL}
        note = {"replaces": "0x" + hex_id, "reason": wanted.reason}
        texts.append(_details_text(kept | {RESERVED_DETAIL: note}))
        new_id = receipt_id(blind, REPLACEMENT_SOURCE, hex_id)
        receipts.append(Receipt(new_id, wanted.occurred_at, wanted.replacement, _hash(texts[1])))
        sources.append(REPLACEMENT_SOURCE)
        event_ids.append(hex_id)
        kinds.append(LogKind.CHARGES)
    table = ReceiptTable(ReceiptColumns.of(receipts), sources, event_ids, texts)
    return _store(ledger, wanted, table, kinds)


def _store(ledger: Ledger, wanted: _Wanted, table: ReceiptTable, kinds: list[LogKind]) -> Correction:
    logs = [LogKey(wanted.account, kind) for kind in kinds]
    log_of = np.arange(len(logs), dtype=np.int64)
    intake = Intake(wanted.account.tariff_id, logs, log_of, table, content_keys(table))
    outcome = ledger.add_receipts(intake, _NO_HEADROOM, whole=True).tolist()
    if CONFLICT in outcome:
        raise Conflict(
            f"charge 0x{wanted.receipt_id.hex()} is corrected already in another way; "
            "correct its replacement instead",
            wanted.receipt_id,
        )
    ids = [table.receipts.ids[i].tobytes() for i in range(len(table))]
    kind = CorrectionKind.CREDITED if ADDED in outcome else CorrectionKind.REPEATED
    return Correction(kind, ids[0], ids[1] if len(ids) > 1 else None)


def heard_content(details: str) -> bytes | None:
    """Return the content key of the event as it first came, of a receipt that was corrected in place."""
    if f'"{RESERVED_DETAIL}"' not in details:
        return None
    note = parse_details(details).get(RESERVED_DETAIL, {})
    heard = note.get("heard") if isinstance(note, Mapping) else None
    return bytes.fromhex(heard[2:]) if isinstance(heard, str) else None


def parse_details(text: str) -> dict[str, Any]:
    """Return a receipt's details from their canonical JSON; none are an empty dict."""
    found = json.loads(text) if text else {}
    if not isinstance(found, dict):
        raise OutOfBounds(f"details are a JSON object, not {text}", text)
    return found


def _details_text(details: Mapping[str, object]) -> str:
    return canonical_details(details).decode()


def _hash(text: str) -> bytes:
    return details_hash(json.loads(text))
