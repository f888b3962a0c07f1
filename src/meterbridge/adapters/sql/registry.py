"""Tariffs and accounts in SQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, insert, select, update

from meterbridge.adapters.sql.database import Database, SqlRow, insert_row
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.registry import AccountRow, DeploymentRow, PartyRow, SplitRow, TariffRow
from meterbridge.adapters.tables.usage import LogRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, Split
from meterbridge.domain.statements import Domain
from meterbridge.domain.tariffs import Tariff, terms_hash
from meterbridge.domain.units import Rates, UsageVector
from meterbridge.services.ledger_errors import Conflict, UnknownAccount, UnknownTariff
from meterbridge.services.records import (
    AccountKey,
    AccountRecord,
    LogKey,
    LogKind,
    TariffRecord,
)

DEPLOYMENTS: Final = table_of(DeploymentRow)
SPLITS: Final = table_of(SplitRow)
PARTIES: Final = table_of(PartyRow)
TARIFFS: Final = table_of(TariffRow)
ACCOUNTS: Final = table_of(AccountRow)
LOGS: Final = table_of(LogRow)


class SqlRegistry:
    """What is agreed. Rows are named outside by their protocol ids; the numbers stay in here."""

    def __init__(self, database: Database) -> None:
        """Work on an open database."""
        self._database = database
        # Neither a tariff's contract and row nor a log's row ever changes.
        self._domains: dict[bytes, Domain] = {}
        self._tariff_rows: dict[bytes, int] = {}
        self._log_rows: dict[LogKey, int] = {}

    def add_tariff(self, record: TariffRecord) -> None:
        """See `ports.Registry`."""
        with self._database.write() as connection:
            known = _tariff_row(connection, record.id)
            if known is None:
                _insert_tariff(connection, record)
            elif self._record(connection, known) != record:
                raise Conflict(
                    f"tariff 0x{record.id.hex()} is in this ledger on another contract; "
                    "use a ledger folder for each contract",
                    record.domain,
                )

    def tariff(self, tariff_id: bytes) -> TariffRecord:
        """See `ports.Registry`."""
        with self._database.read() as connection:
            row = _tariff_row(connection, tariff_id)
            if row is None:
                raise _unknown_tariff(tariff_id)
            return self._record(connection, row)

    def tariffs(self) -> list[TariffRecord]:
        """See `ports.Registry`."""
        with self._database.read() as connection:
            rows = connection.execute(select(TARIFFS).order_by(TARIFFS.c.id)).all()
            return [self._record(connection, row) for row in rows]

    def open_account(self, key: AccountKey, blind: bytes, customer: str | None = None) -> AccountRecord:
        """See `ports.Registry`."""
        account = AccountRecord(key, blind, customer)
        tariff = self._require_tariff(key)
        with self._database.write() as connection:
            known = _account_row(connection, tariff, key.payer)
            if known is not None:
                account = _merge(account, known)
            _require_free_name(connection, tariff, account)
            if known is None:
                _insert_account(connection, tariff, account)
            elif account.customer != known.customer:
                named = update(ACCOUNTS).where(ACCOUNTS.c.id == known.id)
                connection.execute(named.values(customer=account.customer))
        return account

    def account(self, key: AccountKey) -> AccountRecord:
        """See `ports.Registry`."""
        tariff = self._require_tariff(key)
        with self._database.read() as connection:
            row = _account_row(connection, tariff, key.payer)
        if row is None:
            raise _unknown_account(key)
        return AccountRecord(key, bytes(row.blind), row.customer)

    def accounts(self, tariff_id: bytes) -> list[AccountRecord]:
        """See `ports.Registry`."""
        domain, tariff = self._domain(tariff_id), self._tariff_row(tariff_id)
        query = select(ACCOUNTS).where(ACCOUNTS.c.tariff == tariff).order_by(ACCOUNTS.c.id)
        with self._database.read() as connection:
            return [
                AccountRecord(
                    AccountKey(domain, tariff_id, Address(bytes(r.payer))), bytes(r.blind), r.customer
                )
                for r in connection.execute(query)
            ]

    def _tariff_row(self, tariff_id: bytes) -> int:
        if tariff_id not in self._tariff_rows:
            with self._database.read() as connection:
                row = _tariff_row(connection, tariff_id)
            if row is None:
                raise _unknown_tariff(tariff_id)
            self._tariff_rows[tariff_id] = row.id
        return self._tariff_rows[tariff_id]

    def _domain(self, tariff_id: bytes) -> Domain:
        if tariff_id not in self._domains:
            self._domains[tariff_id] = self.tariff(tariff_id).domain
        return self._domains[tariff_id]

    def _require_tariff(self, key: AccountKey) -> int:
        found = self._domain(key.tariff_id)
        if found != key.domain:
            raise UnknownAccount(
                f"tariff 0x{key.tariff_id.hex()} is settled by {found.verifying_contract} on chain "
                f"{found.chain_id}, not by {key.domain.verifying_contract} on chain {key.domain.chain_id}",
                key,
            )
        return self._tariff_row(key.tariff_id)

    def _log_row(self, log: LogKey) -> int:
        if log not in self._log_rows:  # then others of its tariff will soon be asked for, too
            tariff, domain = self._require_tariff(log.account), log.account.domain
            query = (
                select(LOGS.c.id, LOGS.c.kind, ACCOUNTS.c.payer)
                .join(ACCOUNTS, LOGS.c.account == ACCOUNTS.c.id)
                .where(ACCOUNTS.c.tariff == tariff)
            )
            with self._database.read() as connection:
                for row in connection.execute(query):
                    account = AccountKey(domain, log.account.tariff_id, Address(bytes(row.payer)))
                    self._log_rows[LogKey(account, LogKind(row.kind))] = row.id
        if log not in self._log_rows:
            raise _unknown_account(log.account)
        return self._log_rows[log]

    def _record(self, connection: Connection, row: SqlRow) -> TariffRecord:
        split = connection.execute(select(SPLITS).where(SPLITS.c.id == row.split)).one()
        place = connection.execute(select(DEPLOYMENTS).where(DEPLOYMENTS.c.id == row.deployment)).one()
        parties = select(PARTIES).where(PARTIES.c.split == row.split).order_by(PARTIES.c.position)
        rates, document = bytes(row.rates), bytes(row.document)
        return TariffRecord(
            domain=Domain(place.chain_id, Address(bytes(place.contract))),
            tariff=Tariff(
                provider=Address(bytes(row.provider)),
                split_id=bytes(split.split_id),
                rates=Rates.of(int.from_bytes(rates[i : i + 8], "big") for i in range(0, 64, 8)),
                scale=row.scale,
                thaw_period=row.thaw_period,
                terms=terms_hash(document),
            ),
            split=Split(Address(bytes(split.asset)), bytes(split.root), split.total_shares),
            parties=tuple(
                Party(Address(bytes(p.account)), p.role, p.share) for p in connection.execute(parties)
            ),
            document=document,
        )


def _tariff_row(connection: Connection, tariff_id: bytes) -> SqlRow | None:
    return connection.execute(select(TARIFFS).where(TARIFFS.c.tariff_id == tariff_id)).one_or_none()


def _account_row(connection: Connection, tariff: int, payer: Address) -> SqlRow | None:
    query = select(ACCOUNTS).where(ACCOUNTS.c.tariff == tariff, ACCOUNTS.c.payer == payer.raw)
    return connection.execute(query).one_or_none()


def _insert_tariff(connection: Connection, record: TariffRecord) -> None:
    tariff = record.tariff
    insert_row(
        connection,
        TARIFFS,
        tariff_id=record.id,
        deployment=_deployment(connection, record.domain),
        split=_split(connection, record),
        provider=tariff.provider.raw,
        rates=b"".join(rate.to_bytes(8, "big") for rate in tariff.rates.lanes),
        scale=tariff.scale,
        thaw_period=tariff.thaw_period,
        document=record.document,
    )


def _deployment(connection: Connection, domain: Domain) -> int:
    key = {"chain_id": domain.chain_id, "contract": domain.verifying_contract.raw}
    found = connection.execute(select(DEPLOYMENTS.c.id).filter_by(**key)).scalar_one_or_none()
    return found if found is not None else insert_row(connection, DEPLOYMENTS, **key)


def _split(connection: Connection, record: TariffRecord) -> int:
    split = record.split
    found = connection.execute(select(SPLITS.c.id).filter_by(split_id=split.id)).scalar_one_or_none()
    if found is not None:
        return int(found)
    values = {"asset": split.asset.raw, "root": split.root, "total_shares": split.total_shares}
    row = insert_row(connection, SPLITS, split_id=split.id, **values)
    connection.execute(
        insert(PARTIES),
        [
            {"split": row, "position": i, "account": p.account.raw, "role": p.role, "share": p.share}
            for i, p in enumerate(record.parties)
        ],
    )
    return row


def _insert_account(connection: Connection, tariff: int, account: AccountRecord) -> None:
    values = {"payer": account.key.payer.raw, "blind": account.blind, "customer": account.customer}
    row = insert_row(connection, ACCOUNTS, tariff=tariff, **values)
    empty = {"account": row, "size": 0, "total": UsageVector.zero()}
    connection.execute(insert(LOGS), [{"kind": kind.value, **empty} for kind in LogKind])


def _merge(account: AccountRecord, known: SqlRow) -> AccountRecord:
    if bytes(known.blind) != account.blind:
        raise Conflict(
            f"the account of {account.key.payer} has another blind; one that is in use never changes",
            account.key.payer,
        )
    if known.customer is not None and account.customer not in (None, known.customer):
        raise Conflict(
            f"the account of {account.key.payer} is known as {known.customer!r}, not {account.customer!r}",
            account.customer,
        )
    return replace(account, customer=account.customer or known.customer)


def _require_free_name(connection: Connection, tariff: int, account: AccountRecord) -> None:
    if account.customer is None:
        return
    query = select(ACCOUNTS.c.payer).filter_by(tariff=tariff, customer=account.customer)
    holder = connection.execute(query).scalar_one_or_none()
    if holder is not None and bytes(holder) != account.key.payer.raw:
        raise Conflict(
            f"customer {account.customer!r} is {Address(bytes(holder))}, not {account.key.payer}",
            account.customer,
        )


def _unknown_tariff(tariff_id: bytes) -> UnknownTariff:
    return UnknownTariff(f"the ledger knows no tariff 0x{tariff_id.hex()}; add it first", tariff_id)


def _unknown_account(key: AccountKey) -> UnknownAccount:
    return UnknownAccount(f"the ledger has no account of {key.payer} under this tariff; open it first", key)
