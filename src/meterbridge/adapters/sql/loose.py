"""An outbox without a ledger, for whoever only has signed statements: kept in a folder, or for one run.

Losing it loses nothing: a statement that was settled draws nothing when it is submitted again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import select

from meterbridge.adapters.sql.database import Database, insert_row
from meterbridge.adapters.sql.outbox import SqlOutbox
from meterbridge.adapters.sql.outbox_statements import DELIVERIES
from meterbridge.domain.statements import Domain, SignedStatement
from meterbridge.domain.tariffs import Tariff
from meterbridge.services.ledger_errors import UnknownStatement
from meterbridge.services.settling.parcels import Parcel
from meterbridge.services.settling.records import Delivery, DeliveryState


@dataclass(frozen=True, slots=True)
class Loose:
    """A signed statement with the tariff that it is under."""

    signed: SignedStatement
    tariff: Tariff


class LooseOutbox(SqlOutbox):
    """Deliveries of statements that somebody handed over."""

    def __init__(self, database: Database, statements: Sequence[Loose]) -> None:
        """Work on an open database."""
        self._database = database
        self._statements: Final = {each.signed.digest(): each for each in statements}

    def enroll(self, domain: Domain, now: int) -> int:
        """See `Outbox`; nothing supersedes what was handed over by name."""
        added = 0
        with self._database.write() as connection:
            for digest, each in self._statements.items():
                known = select(DELIVERIES.c.id).where(DELIVERIES.c.digest == digest)
                if each.signed.domain != domain or connection.execute(known).first() is not None:
                    continue
                statement = each.signed.statement
                insert_row(
                    connection,
                    DELIVERIES,
                    chain_id=domain.chain_id,
                    contract=domain.verifying_contract.raw,
                    tariff_id=statement.tariff_id,
                    digest=digest,
                    sealed_at=statement.sealed_at,
                    part=0,
                    lines=len(statement.lines),
                    state=DeliveryState.WAITING.value,
                    reason="",
                    since=min(now, statement.sealed_at),
                    failures=0,
                    next_at=0,
                    owing=False,
                    lease_until=0,
                )
                added += 1
        return added

    def signed_statement(self, delivery: Delivery) -> SignedStatement:
        """See `Outbox`."""
        return self._of(delivery).signed

    def parcel(self, delivery: Delivery) -> Parcel:
        """See `Outbox`."""
        return Parcel.of(self._of(delivery).signed)

    def tariff_of(self, delivery: Delivery) -> Tariff:
        """See `Outbox`."""
        return self._of(delivery).tariff

    def _of(self, delivery: Delivery) -> Loose:
        if delivery.digest not in self._statements:
            raise UnknownStatement(
                f"the statement 0x{delivery.digest.hex()} was not handed over", delivery.digest
            )
        return self._statements[delivery.digest]


@contextmanager
def loose_outbox(statements: Sequence[Loose]) -> Iterator[LooseOutbox]:
    """Open an outbox that is gone after the block."""
    with TemporaryDirectory(prefix="meterbridge-outbox-") as folder:
        database = Database.open_sqlite(Path(folder) / "outbox.db")
        try:
            yield LooseOutbox(database, statements)
        finally:
            database.close()
