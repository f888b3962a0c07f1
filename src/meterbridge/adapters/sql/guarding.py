"""What guards read of the usage side at once, for all accounts of a tariff."""

from __future__ import annotations

from sqlalchemy import func, select

from meterbridge.adapters.sql.outbox_statements import DELIVERIES
from meterbridge.adapters.sql.registry import ACCOUNTS, LOGS
from meterbridge.adapters.sql.statements import LINES, STATEMENTS, SqlStatements
from meterbridge.domain.addresses import Address
from meterbridge.domain.units import UsageVector
from meterbridge.services.records import LogKind
from meterbridge.services.settling.records import DeliveryState


class SqlGuarding(SqlStatements):
    """See `services.following.guards.GuardedLedger`."""

    def usage_totals(self, tariff_id: bytes) -> dict[Address, UsageVector]:
        """See the port."""
        query = (
            select(ACCOUNTS.c.payer, LOGS.c.kind, LOGS.c.total)
            .join(LOGS, LOGS.c.account == ACCOUNTS.c.id)
            .where(ACCOUNTS.c.tariff == self._tariff_row(tariff_id))
            .order_by(LOGS.c.kind)  # charges before credits
        )
        totals: dict[Address, UsageVector] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                payer, total = Address(bytes(row.payer)), row.total
                if row.kind == LogKind.CHARGES.value:
                    totals[payer] = total
                elif total:
                    totals[payer] = totals[payer] - total
        return totals

    def usage_stated_at(self, tariff_id: bytes, at: int) -> dict[Address, UsageVector]:
        """See the port."""
        times = LINES.alias("times")
        last = (
            select(func.max(times.c.sealed_at))
            .where(times.c.account == ACCOUNTS.c.id, times.c.sealed_at <= at)
            .scalar_subquery()
        )
        query = (
            select(ACCOUNTS.c.payer, LINES.c.charges_sum, LINES.c.credits_sum)
            .select_from(ACCOUNTS)
            .join(LINES, (LINES.c.account == ACCOUNTS.c.id) & (LINES.c.sealed_at == last))
            .where(ACCOUNTS.c.tariff == self._tariff_row(tariff_id))
        )
        with self._database.read() as connection:
            return {
                Address(bytes(row.payer)): row.charges_sum - row.credits_sum
                for row in connection.execute(query)
            }

    def newest_signer(self, tariff_id: bytes) -> Address | None:
        """See the port."""
        query = (
            select(STATEMENTS.c.signer)
            .where(STATEMENTS.c.tariff == self._tariff_row(tariff_id))
            .order_by(STATEMENTS.c.sealed_at.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else Address(bytes(found))

    def newest_deliveries(self, tariff_id: bytes) -> tuple[int, int]:
        """See the port."""
        newest = select(func.max(DELIVERIES.c.sealed_at)).where(DELIVERIES.c.tariff_id == tariff_id)
        settled = newest.where(DELIVERIES.c.state.in_([DeliveryState.MINED.value, DeliveryState.FINAL.value]))
        with self._database.read() as connection:
            taken_up, done = (connection.execute(query).scalar_one() for query in (newest, settled))
            return taken_up or 0, done or 0
