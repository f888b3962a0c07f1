"""What the ledger must know of receipts that were sealed at once: asked for one at a time, or a few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from sqlalchemy import Connection, select

from meterbridge.adapters.sql.registry import TARIFFS
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.usage import SealRow
from meterbridge.domain.receipts import receipt_id
from meterbridge.services.records import LogKey, LogKind, Place

if TYPE_CHECKING:
    from meterbridge.adapters.bulk.reading import SealReader

SEALS: Final = table_of(SealRow)
_KEY_BYTES: Final = 12
_LEAF_BYTES: Final = 8
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)


class SealsOfFolder:
    """The seals of a folder, as `adapters.sql.receipts.SealedElsewhere`. Without any, nothing is loaded."""

    def __init__(self, folder: Path) -> None:
        """Use the folder of the segments."""
        self._folder = folder
        self._opened: SealReader | None = None

    def contents(
        self, connection: Connection, tariff: int, keys: Sequence[bytes], contents: Sequence[bytes]
    ) -> dict[bytes, bytes]:
        """See the port. An index holds half of a content; where that differs, the other half is zero."""
        names = seal_names(connection, tariff)
        if not names:
            return {}
        given = {key[:_KEY_BYTES]: i for i, key in enumerate(keys)}
        firsts = np.unique(np.frombuffer(b"".join(keys), dtype=">u8").reshape(-1, 2)[:, 0]).astype(np.uint64)
        found: dict[bytes, bytes] = {}
        for name in names:
            entries = self.reader.events(name).around(firsts)
            for entry in entries[np.isin(entries[:, 0], firsts)]:
                i = given.get(_key_of(entry))
                if i is not None:
                    leaf = entry[2].tobytes()
                    same = contents[i][:_LEAF_BYTES] == leaf
                    found[keys[i]] = contents[i] if same else leaf.ljust(len(contents[i]), b"\0")
        return found

    def find(self, connection: Connection, log: LogKey, receipt_id: bytes) -> Place | None:
        """See the port."""
        if log.kind is not LogKind.CHARGES:
            return None
        names = seal_names_of(connection, log.account.tariff_id)
        for name in reversed(names):
            manifest = self.reader.manifest(name)
            number = manifest.number_of(log.account.payer)
            found = None if number is None else self.reader.find(manifest, number, receipt_id)
            if number is not None and found is not None:
                return Place(None, self.reader.batch_of(name, number).seq, found.index)
        return None

    def locate(
        self, connection: Connection, tariff: int, source: str, event_id: str
    ) -> tuple[LogKey, bytes] | None:
        """See the port."""
        from meterbridge.adapters.sql.receipts import event_keys

        key = event_keys([source], [event_id])[0]
        for name in reversed(seal_names(connection, tariff)):
            found = self.reader.events(name).find(key)
            if found is not None:
                manifest = self.reader.manifest(name)
                account = manifest.account(int(np.searchsorted(manifest.accounts, found[0])))
                log = LogKey(account.key, LogKind.CHARGES)
                return log, receipt_id(account.blind, source, event_id)
        return None

    @property
    def reader(self) -> SealReader:
        """What reads them, loaded when it is first needed."""
        if self._opened is None:
            from meterbridge.adapters.bulk.reading import SealReader  # brings Arrow along

            self._opened = SealReader(self._folder)
        return self._opened


def seal_names_of(connection: Connection, tariff_id: bytes) -> list[str]:
    """Return the seals of a tariff by its id; see `seal_names`."""
    query = (
        select(SEALS.c.name)
        .join(TARIFFS, TARIFFS.c.id == SEALS.c.tariff)
        .where(TARIFFS.c.tariff_id == tariff_id)
        .order_by(SEALS.c.number)
    )
    return list(connection.execute(query).scalars())


def seal_names(connection: Connection, tariff: int) -> list[str]:
    """Return the seals of a tariff that count, in the order in which they were made."""
    query = select(SEALS.c.name).where(SEALS.c.tariff == tariff).order_by(SEALS.c.number)
    return list(connection.execute(query).scalars())


def _key_of(entry: np.ndarray) -> bytes:
    high, low = int(entry[0]), int(entry[1] >> _HALF)
    return high.to_bytes(8, "big") + low.to_bytes(4, "big")
