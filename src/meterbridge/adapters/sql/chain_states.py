"""States of a followed contract in SQL: a row for each block that changed one, until the change is final."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, bindparam, delete, func, insert, or_, select, update

from meterbridge.adapters.sql.database import SqlRow, in_slices
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.following import ChainSignerRow
from meterbridge.adapters.tables.following_assets import ChainEscrowRow, ChainPotRow, ChainStakeRow
from meterbridge.domain.addresses import Address
from meterbridge.services.chain_ports import StakeKey
from meterbridge.services.following.ports import Version
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

_KEYS_AT_ONCE: Final = 200  # three values each, and SQLite nests one comparison in another


@dataclass(frozen=True)
class Kind:
    """One kind of state and its table.

    Attributes:
        key_columns: what tells one state of the kind from another.
        key_of, state_of: read a row; `values_of` writes one.
    """

    table: Table
    key_type: type
    key_columns: tuple[str, ...]
    columns_of: Callable[[Any], dict[str, Any]]
    key_of: Callable[[SqlRow], StateKey]
    values_of: Callable[[Any], dict[str, Any]]
    state_of: Callable[[SqlRow], State]

    def newest(
        self, connection: Connection, deployment: int, keys: Sequence[StateKey]
    ) -> dict[StateKey, State]:
        """Return the newest state of each of these keys."""
        found: dict[StateKey, State] = {}
        for part in in_slices(keys, _KEYS_AT_ONCE):
            wanted = or_(*(self._is(key) for key in part))
            query = select(self.table).where(self.table.c.deployment == deployment, wanted)
            for row in connection.execute(query.order_by(self.table.c.block)):
                found[self.key_of(row)] = self.state_of(row)
        return found

    def every(
        self, connection: Connection, deployment: int, where: Mapping[str, object]
    ) -> dict[StateKey, State]:
        """Return the newest state of each key whose columns have these values."""
        query = select(self.table).where(self.table.c.deployment == deployment)
        for name, value in where.items():
            query = query.where(self.table.c[name] == value)
        rows = connection.execute(query.order_by(self.table.c.block))
        return {self.key_of(row): self.state_of(row) for row in rows}

    def unchecked(self, connection: Connection, deployment: int, limit: int) -> list[StateKey]:
        """Return keys whose newest state was not compared with the contract's."""
        if limit <= 0:
            return []
        newer = self.table.alias("newer")
        superseded = (
            select(newer.c.block)
            .where(newer.c.deployment == deployment, self._same(newer), newer.c.block > self.table.c.block)
            .exists()
        )
        query = select(self.table).where(
            self.table.c.deployment == deployment, self.table.c.checked.is_(False), ~superseded
        )
        return [self.key_of(row) for row in connection.execute(query.limit(limit))]

    def insert(self, connection: Connection, deployment: int, version: Version, *, checked: bool) -> None:
        """Add a state as of the end of a block."""
        values = self.columns_of(version.key) | self.values_of(version.state)
        place = {"deployment": deployment, "block": version.block, "checked": checked}
        connection.execute(insert(self.table).values(**values, **place))

    def check(self, connection: Connection, deployment: int, key: StateKey) -> None:
        """Mark a state as compared."""
        mine = and_(self.table.c.deployment == deployment, self._is(key))
        connection.execute(update(self.table).where(mine).values(checked=True))

    def unwind(self, connection: Connection, deployment: int, block: int) -> None:
        """Drop states of later blocks: the one before each is what holds again."""
        later = and_(self.table.c.deployment == deployment, self.table.c.block > block)
        connection.execute(delete(self.table).where(later))

    def forget(self, connection: Connection, deployment: int, since: int, bound: int) -> None:
        """Drop states that have a newer one at or before `bound`; those up to `since` were looked at."""
        c = self.table.c
        keys = [c[name] for name in self.key_columns]
        changed = (
            select(*keys, func.max(c.block).label("last"))
            .where(c.deployment == deployment, c.block > since, c.block <= bound)
            .group_by(*keys)
        )
        rows = [
            {f"{name}_": value for name, value in row._mapping.items()} for row in connection.execute(changed)
        ]
        if rows:
            mine = (c[name] == bindparam(f"{name}_", type_=c[name].type) for name in self.key_columns)
            old = and_(c.deployment == deployment, c.block < bindparam("last_"), *mine)
            connection.execute(delete(self.table).where(old), rows)

    def _is(self, key: StateKey) -> Any:
        return and_(*(self.table.c[name] == value for name, value in self.columns_of(key).items()))

    def _same(self, other: Any) -> Any:
        return and_(*(other.c[name] == self.table.c[name] for name in self.key_columns))


KINDS: Final = (
    Kind(
        table_of(ChainEscrowRow),
        EscrowKey,
        ("tariff_id", "payer"),
        lambda key: {"tariff_id": key.tariff_id, "payer": key.payer.raw},
        lambda row: EscrowKey(bytes(row.tariff_id), Address(bytes(row.payer))),
        lambda state: {
            "arrived_amount": state.arrived,
            "withdrawn_amount": state.withdrawn,
            "settled_amount": state.settled,
            "sealed_at": state.sealed_at,
            "thawing_amount": state.thawing,
            "thaw_end": state.thaw_end,
        },
        lambda row: EscrowState(
            row.arrived_amount,
            row.withdrawn_amount,
            row.settled_amount,
            row.sealed_at,
            row.thawing_amount,
            row.thaw_end,
        ),
    ),
    Kind(
        table_of(ChainPotRow),
        PotKey,
        ("split_id",),
        lambda key: {"split_id": key.split_id},
        lambda row: PotKey(bytes(row.split_id)),
        lambda state: {
            "drawn_amount": state.drawn,
            "funded_amount": state.funded,
            "claimed_amount": state.claimed,
        },
        lambda row: PotState(row.drawn_amount, row.funded_amount, row.claimed_amount),
    ),
    Kind(
        table_of(ChainStakeRow),
        StakeKey,
        ("split_id", "offset", "account"),
        lambda key: {"split_id": key.split_id, "offset": key.offset, "account": key.account.raw},
        lambda row: StakeKey(bytes(row.split_id), row.offset, Address(bytes(row.account))),
        lambda state: {"role": state.role, "share": state.share, "claimed_amount": state.claimed},
        lambda row: StakeState(row.role, row.share, row.claimed_amount),
    ),
    Kind(
        table_of(ChainSignerRow),
        SignerKey,
        ("provider", "signer"),
        lambda key: {"provider": key.provider.raw, "signer": key.signer.raw},
        lambda row: SignerKey(Address(bytes(row.provider)), Address(bytes(row.signer))),
        lambda state: {"until": state.until},
        lambda row: SignerState(row.until),
    ),
)


def kind_of(key: StateKey) -> Kind:
    """Return the kind of a key."""
    return next(kind for kind in KINDS if isinstance(key, kind.key_type))
