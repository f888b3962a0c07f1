"""What a provider gives a payer, and what the payer reads of it: complete logs, statements, the tariff.

<folder>/segments/…          the payer's batches, as `adapters.segments` lays them out, with the tariff
<folder>/statements/*.json   the statements with a line for the payer
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meterbridge.domain.errors import MeterbridgeError

if TYPE_CHECKING:
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.statements import SignedStatement
    from meterbridge.library.workspace import Workspace
    from meterbridge.services.ports import Segments
    from meterbridge.services.records import AccountRecord, TariffRecord


class NothingHandedOver(MeterbridgeError):
    """A folder holds no tariff, or no statement, of the kind that is looked for."""


def hand_over(opened: Workspace, record: TariffRecord, account: AccountRecord, folder: Path) -> Path:
    """Copy a payer's batches and statements into a folder; see `Provider.hand_over`."""
    from meterbridge.adapters.segments import FolderSegments
    from meterbridge.adapters.statement_files import keep_statement
    from meterbridge.services.ports import SegmentMeta
    from meterbridge.services.records import LogKey, LogKind

    given = FolderSegments(folder / "segments")
    given.put_tariff(record)
    for kind in LogKind:
        log = LogKey(account.key, kind)
        there = set(given.names(log))
        for batch in opened.ledger.batches(log):
            if batch.segment is not None and given.name_of(SegmentMeta(batch, account)) not in there:
                given.put([opened.segments.get(batch.segment)])
    for stored in opened.ledger.statements(record.id):
        if any(line.payer == account.key.payer for line in stored.signed.statement.lines):
            keep_statement(folder, stored.signed)
    return folder


def tariff_in(segments: Segments, tariff_id: bytes) -> TariffRecord:
    """Return a tariff with all behind it from what was handed over; its hashes are checked.

    Raises:
        NothingHandedOver: when it is not there.
    """
    for record in segments.tariffs():
        if record.id == tariff_id:
            return record
    raise NothingHandedOver(f"tariff 0x{tariff_id.hex()} is not in what was handed over", tariff_id)


def newest_statement(folder: Path, tariff_id: bytes, payer: Address) -> SignedStatement:
    """Return the newest statement that says something of a payer.

    Raises:
        NothingHandedOver: when there is none.
    """
    from meterbridge.adapters.statement_files import read_statement

    read = (read_statement(path) for path in sorted((folder / "statements").glob("*.json")))
    mine = [
        signed
        for signed in read
        if signed.statement.tariff_id == tariff_id
        and any(line.payer == payer for line in signed.statement.lines)
    ]
    if not mine:
        raise NothingHandedOver(f"{folder / 'statements'} holds no statement about {payer}", str(payer))
    return max(mine, key=lambda signed: signed.statement.sealed_at)
