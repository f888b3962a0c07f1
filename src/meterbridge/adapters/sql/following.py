"""What was followed on a chain, in SQL: a step is one transaction, and so is taking blocks back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, delete, func, insert, select, update

from meterbridge.adapters.sql.chain_states import KINDS, Kind, kind_of
from meterbridge.adapters.sql.database import Database, SqlRow, SqlSelect, in_slices
from meterbridge.adapters.sql.registry import DEPLOYMENTS, _deployment
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.following import ChainBlockRow, ChainCursorRow, ChainEventRow, ChainTariffRow
from meterbridge.adapters.tables.following_assets import ChainAmountRow
from meterbridge.adapters.tables.following_usage import ChainUsageRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Domain
from meterbridge.services.chain_events import ChainEvent, LogPlace
from meterbridge.services.chain_ports import StakeKey
from meterbridge.services.following.codec import EventParts, put_together, take_apart
from meterbridge.services.following.ports import BlockRef, Cursor, CursorMoved, Step, Version
from meterbridge.services.following.states import (
    EscrowKey,
    EscrowState,
    PotKey,
    PotState,
    SignerKey,
    SignerState,
    StakeState,
    State,
    StateKey,
)

CURSORS: Final = table_of(ChainCursorRow)
BLOCKS: Final = table_of(ChainBlockRow)
EVENTS: Final = table_of(ChainEventRow)
AMOUNTS: Final = table_of(ChainAmountRow)
USAGE: Final = table_of(ChainUsageRow)
TARIFFS_SEEN: Final = table_of(ChainTariffRow)
_PAGE: Final = 5_000


class SqlFollowing:
    """See `services.following.ports.FollowingLedger`."""

    _database: Database

    def cursor(self, domain: Domain) -> Cursor | None:
        """See the port."""
        with self._database.read() as connection:
            row = connection.execute(select(CURSORS).where(_of(CURSORS, domain))).one_or_none()
        return None if row is None else _cursor(row)

    def begin_following(self, domain: Domain, cursor: Cursor) -> None:
        """See the port."""
        with self._database.write() as connection:
            deployment = _deployment(connection, domain)
            added = self._database.insert_or_skip(CURSORS)
            if not connection.execute(added.values(deployment=deployment, **_values(cursor))).rowcount:
                raise _moved()
            block = {"number": cursor.block.number, "hash": cursor.block.hash}
            connection.execute(insert(BLOCKS).values(deployment=deployment, **block))

    def kept_blocks(self, domain: Domain) -> list[BlockRef]:
        """See the port."""
        query = select(BLOCKS).where(_of(BLOCKS, domain)).order_by(BLOCKS.c.number.desc())
        with self._database.read() as connection:
            return [BlockRef(row.number, bytes(row.hash)) for row in connection.execute(query)]

    def states(self, domain: Domain, keys: Iterable[StateKey]) -> dict[StateKey, State]:
        """See the port."""
        wanted: dict[Kind, list[StateKey]] = {}
        for key in keys:
            wanted.setdefault(kind_of(key), []).append(key)
        found: dict[StateKey, State] = {}
        with self._database.read() as connection:
            deployment = _known(connection, domain)
            for kind, of_kind in wanted.items():
                found.update(kind.newest(connection, deployment, of_kind))
        return found

    def pots_of(self, domain: Domain, tariff_ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """See the port."""
        found = {}
        with self._database.read() as connection:
            for part in in_slices(sorted(tariff_ids)):
                query = select(TARIFFS_SEEN).where(
                    _of(TARIFFS_SEEN, domain), TARIFFS_SEEN.c.tariff_id.in_(part)
                )
                found.update({bytes(r.tariff_id): bytes(r.split_id) for r in connection.execute(query)})
        return found

    def unchecked(self, domain: Domain, limit: int) -> list[StateKey]:
        """See the port."""
        found: list[StateKey] = []
        with self._database.read() as connection:
            deployment = _known(connection, domain)
            for kind in KINDS:
                found += kind.unchecked(connection, deployment, limit - len(found))
        return found

    def extend(self, domain: Domain, before: Cursor, step: Step) -> None:
        """See the port."""
        with self._database.write() as connection:
            deployment = _move(connection, domain, before, step.after)
            _insert_blocks(connection, deployment, step)
            _insert_events(connection, deployment, [take_apart(event) for event in step.events])
            self._know_tariffs(connection, deployment, step)
            _insert_versions(connection, deployment, step)
            if step.after.final > before.final or step.after.verified != before.verified:
                _forget(connection, deployment, before, step.after)

    def unwind(self, domain: Domain, before: Cursor, to: BlockRef) -> int:
        """See the port."""
        verified = to if to.number < before.verified.number else before.verified
        after = Cursor(before.first, to, before.timestamp, min(before.final, to.number), verified)
        with self._database.write() as connection:
            deployment = _move(connection, domain, before, after)
            for table in (AMOUNTS, USAGE):
                connection.execute(
                    delete(table).where(table.c.deployment == deployment, table.c.block > to.number)
                )
            for kind in KINDS:
                kind.unwind(connection, deployment, to.number)
            connection.execute(
                delete(BLOCKS).where(BLOCKS.c.deployment == deployment, BLOCKS.c.number > to.number)
            )
            gone = delete(EVENTS).where(EVENTS.c.deployment == deployment, EVENTS.c.block > to.number)
            return connection.execute(gone).rowcount

    def forget_followed(self, domain: Domain) -> None:
        """See the port."""
        tables = (AMOUNTS, USAGE, EVENTS, BLOCKS, TARIFFS_SEEN, *(kind.table for kind in KINDS), CURSORS)
        with self._database.write() as connection:
            for table in tables:
                connection.execute(delete(table).where(_of(table, domain)))

    def chain_events(
        self,
        domain: Domain,
        *,
        names: Sequence[str] | None = None,
        subject: bytes | None = None,
        up_to: int | None = None,
    ) -> Iterator[ChainEvent]:
        """See the port. Read in pages: a reader may take long, and others write meanwhile."""
        query = _events_query(domain, names, subject, up_to)
        place = (-1, -1)
        while True:
            after = (EVENTS.c.block > place[0]) | (
                (EVENTS.c.block == place[0]) & (EVENTS.c.log_index > place[1])
            )
            with self._database.read() as connection:
                rows = connection.execute(query.where(after).limit(_PAGE)).all()
            for row in rows:
                yield put_together(_parts(row))
            if len(rows) < _PAGE:
                return
            place = rows[-1].block, rows[-1].log_index

    def followed_escrows(self, domain: Domain, tariff_id: bytes) -> dict[Address, EscrowState]:
        """See the port."""
        found = self._all(domain, EscrowKey, EscrowState, tariff_id=tariff_id)
        return {key.payer: state for key, state in found.items()}

    def followed_pots(self, domain: Domain) -> dict[bytes, PotState]:
        """See the port."""
        return {key.split_id: state for key, state in self._all(domain, PotKey, PotState).items()}

    def followed_stakes(self, domain: Domain, split_id: bytes) -> dict[StakeKey, StakeState]:
        """See the port."""
        return self._all(domain, StakeKey, StakeState, split_id=split_id)

    def followed_signers(self, domain: Domain, provider: Address) -> dict[Address, SignerState]:
        """See the port."""
        found = self._all(domain, SignerKey, SignerState, provider=provider.raw)
        return {key.signer: state for key, state in found.items()}

    def _all(self, domain: Domain, keys: Any, states: Any, **where: bytes) -> dict[Any, Any]:
        kind = next(kind for kind in KINDS if kind.key_type is keys)
        with self._database.read() as connection:
            found = kind.every(connection, _known(connection, domain), where)
        return {key: state for key, state in found.items() if isinstance(state, states)}

    def _know_tariffs(self, connection: Connection, deployment: int, step: Step) -> None:
        rows = [
            {"deployment": deployment, "tariff_id": tariff, "split_id": split}
            for tariff, split in step.pots_of.items()
        ]
        if rows:
            connection.execute(self._database.insert_or_skip(TARIFFS_SEEN), rows)


def _of(table: Table, domain: Domain) -> Any:
    wanted = select(DEPLOYMENTS.c.id).where(
        DEPLOYMENTS.c.chain_id == domain.chain_id, DEPLOYMENTS.c.contract == domain.verifying_contract.raw
    )
    return table.c.deployment == wanted.scalar_subquery()


def _known(connection: Connection, domain: Domain) -> int:
    """Return the contract's row; -1, which no row has, where there is none."""
    query = select(DEPLOYMENTS.c.id).where(
        DEPLOYMENTS.c.chain_id == domain.chain_id, DEPLOYMENTS.c.contract == domain.verifying_contract.raw
    )
    found = connection.execute(query).scalar_one_or_none()
    return -1 if found is None else int(found)


def _move(connection: Connection, domain: Domain, before: Cursor, after: Cursor) -> int:
    """Move the cursor, provided that it is where it was: of two processes that follow, one does."""
    deployment = _known(connection, domain)
    c = CURSORS.c
    moved = update(CURSORS).where(
        c.deployment == deployment, c.block == before.block.number, c.block_hash == before.block.hash
    )
    if not connection.execute(moved.values(**_values(after))).rowcount:
        raise _moved()
    return deployment


def _moved() -> CursorMoved:
    return CursorMoved("another process follows this contract in the same ledger, and was faster")


def _values(cursor: Cursor) -> dict[str, Any]:
    return {
        "first_block": cursor.first,
        "block": cursor.block.number,
        "block_hash": cursor.block.hash,
        "timestamp": cursor.timestamp,
        "final": cursor.final,
        "verified": cursor.verified.number,
        "verified_hash": cursor.verified.hash,
    }


def _cursor(row: SqlRow) -> Cursor:
    return Cursor(
        first=row.first_block,
        block=BlockRef(row.block, bytes(row.block_hash)),
        timestamp=row.timestamp,
        final=row.final,
        verified=BlockRef(row.verified, bytes(row.verified_hash)),
    )


def _insert_blocks(connection: Connection, deployment: int, step: Step) -> None:
    rows = [{"deployment": deployment, "number": block.number, "hash": block.hash} for block in step.blocks]
    if rows:
        connection.execute(insert(BLOCKS), rows)


def _insert_events(connection: Connection, deployment: int, events: Sequence[EventParts]) -> None:
    rows, amounts, usage = [], [], []
    for event in events:
        place = {"deployment": deployment, "block": event.at.block, "log_index": event.at.log_index}
        rows.append(
            place
            | {"block_hash": event.at.block_hash, "tx_hash": event.at.tx_hash, "name": event.name}
            | {"subject": event.subject, "account": event.account, "rest": event.rest}
        )
        if event.amount is not None:
            amounts.append(place | {"amount": event.amount})
        if event.usage is not None:
            usage.append(place | {"usage": event.usage})
    for table, values in ((EVENTS, rows), (AMOUNTS, amounts), (USAGE, usage)):
        if values:
            connection.execute(insert(table), values)


def _insert_versions(connection: Connection, deployment: int, step: Step) -> None:
    newest: dict[StateKey, Version] = {version.key: version for version in step.versions}
    for version in step.versions:
        checked = version.key in step.checked and newest[version.key] is version
        kind_of(version.key).insert(connection, deployment, version, checked=checked)
    for key in step.checked - newest.keys():
        kind_of(key).check(connection, deployment, key)


def _forget(connection: Connection, deployment: int, before: Cursor, after: Cursor) -> None:
    """Drop blocks and states that no reorganisation and no second look can need any more."""
    bound = min(after.final, after.verified.number)
    if bound < 0:
        return
    c = BLOCKS.c
    last = select(func.max(c.number)).where(c.deployment == deployment, c.number <= bound).scalar_subquery()
    old = and_(c.deployment == deployment, c.number < last, c.number != after.verified.number)
    connection.execute(delete(BLOCKS).where(old))
    since = min(before.final, before.verified.number)
    for kind in KINDS:
        kind.forget(connection, deployment, since, bound)


def _events_query(
    domain: Domain, names: Sequence[str] | None, subject: bytes | None, up_to: int | None
) -> SqlSelect:
    c = EVENTS.c

    def same(table: Table) -> Any:
        return and_(
            table.c.deployment == c.deployment, table.c.block == c.block, table.c.log_index == c.log_index
        )

    query = (
        select(EVENTS, AMOUNTS.c.amount, USAGE.c.usage)
        .outerjoin(AMOUNTS, same(AMOUNTS))
        .outerjoin(USAGE, same(USAGE))
        .where(_of(EVENTS, domain))
        .order_by(c.block, c.log_index)
    )
    if names is not None:
        query = query.where(c.name.in_(names))
    if subject is not None:
        query = query.where(c.subject == subject)
    return query if up_to is None else query.where(c.block <= up_to)


def _parts(row: SqlRow) -> EventParts:
    return EventParts(
        at=LogPlace(row.block, row.log_index, bytes(row.tx_hash), bytes(row.block_hash)),
        name=row.name,
        subject=bytes(row.subject),
        account=None if row.account is None else bytes(row.account),
        rest=row.rest,
        amount=row.amount,
        usage=row.usage,
    )
