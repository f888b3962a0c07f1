"""The schema: migrated on opening, never guessed at, and with usage and assets apart."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from metered_world import World, address
from sqlalchemy import Connection, Float, Numeric, create_engine, text

from meterbridge.adapters import migrations
from meterbridge.adapters.ledger import DATABASE_NAME, open_ledger
from meterbridge.adapters.tables import (
    assets,
    following,
    following_assets,
    following_usage,
    outbox,
    proving,
    registry,
    service,
    usage,
)
from meterbridge.adapters.tables.base import AssetColumn, LedgerTable, UsageColumn
from meterbridge.domain.statements import Domain
from meterbridge.domain.units import UINT256_MAX, AssetAmount
from meterbridge.services.ledger_errors import Conflict, SchemaTooNew
from meterbridge.services.records import Draw, SubmissionRecord, SubmissionState

TABLES = LedgerTable.metadata.sorted_tables


USAGE_MODULES = (usage, following_usage)
ASSET_MODULES = (assets, following_assets)
OTHER_MODULES = (registry, service, outbox, following, proving)


def models_of(*modules: Any) -> set[str]:
    found = [value for module in modules for value in vars(module).values()]
    tables = [m for m in found if isinstance(m, type) and issubclass(m, LedgerTable) and m is not LedgerTable]
    return {str(model.__tablename__) for model in tables}


def columns_of(kind: type) -> set[tuple[str, str]]:
    return {(t.name, c.name) for t in TABLES for c in t.columns if isinstance(c.type, kind)}


def test_no_table_holds_usage_and_assets_both() -> None:
    with_usage = {table for table, _ in columns_of(UsageColumn)}
    with_assets = {table for table, _ in columns_of(AssetColumn)}
    assert with_usage
    assert with_assets
    assert not with_usage & with_assets
    assert with_usage <= models_of(*USAGE_MODULES)
    assert with_assets <= models_of(*ASSET_MODULES)
    assert not models_of(*USAGE_MODULES) & models_of(*ASSET_MODULES)
    assert not models_of(*OTHER_MODULES) & (with_usage | with_assets)


def test_whatever_sounds_like_usage_or_money_has_its_type() -> None:
    usage_names = ("usage", "sum", "total", "tokens", "lane")
    asset_names = ("drawn", "amount", "balance", "deposited", "claimed", "settled", "price", "fee", "value")
    for table in TABLES:
        for column in table.columns:
            words = set(column.name.split("_"))
            if words & set(usage_names):
                said = isinstance(column.type, UsageColumn) or column.name == "total_shares"
                assert said, f"{table.name}.{column.name} is usage without its type"
            if words & set(asset_names):
                assert isinstance(column.type, AssetColumn), (
                    f"{table.name}.{column.name} is money without its type"
                )


def test_no_column_is_a_float() -> None:
    for table in TABLES:
        for column in table.columns:
            assert not isinstance(column.type, Float | Numeric), f"{table.name}.{column.name}"


def test_models_and_migrations_agree(world: World) -> None:
    with world.ledger._database.read() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, LedgerTable.metadata) == []


def sqlite_schema(connection: Connection) -> dict[str, tuple[str, set[str]]]:
    """Return what SQLite holds of each table and index, as a set of clauses and what stands behind them."""
    found = {}
    for name, sql in connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")):
        if name not in ("alembic_version", "sqlite_sequence"):
            start, end = sql.index("("), sql.rindex(")")
            clauses = re.split(r",\s*(?![^()]*\))", sql[start + 1 : end])
            found[name] = (sql[end + 1 :].strip(), {" ".join(clause.split()) for clause in clauses})
    return found


def test_what_a_comparison_does_not_see_agrees_too(world: World) -> None:
    """Alembic compares neither checks nor WITHOUT ROWID nor AUTOINCREMENT."""
    engine = create_engine("sqlite://")
    LedgerTable.metadata.create_all(engine)
    with engine.connect() as made, world.ledger._database.read() as migrated:
        assert sqlite_schema(migrated) == sqlite_schema(made)
    engine.dispose()


def test_the_head_revision_is_that_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [migrations.HEAD]


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(SchemaTooNew, match=r"'9999'.*later version") as caught:
        open_ledger(tmp_path)
    assert caught.value.value == "9999"
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    connection.close()


def test_migrations_go_down_and_up_again(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with ledger._database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
        assert set(left) <= {"alembic_version", "sqlite_sequence"}
    ledger.close()
    reopened = open_ledger(tmp_path)
    assert reopened.tariffs() == []
    reopened.close()


def test_the_database_is_set_to_lose_nothing(world: World) -> None:
    with world.ledger._database.read() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def _open(folder: Path) -> None:
    open_ledger(folder).close()


def test_many_processes_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    openers = [context.Process(target=_open, args=(tmp_path / "new",)) for _ in range(6)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(60)
    assert [opener.exitcode for opener in openers] == [0] * 6


def test_a_tariff_is_kept_with_all_behind_it(world: World) -> None:
    assert world.ledger.tariff(world.record.id) == world.record
    world.ledger.add_tariff(world.record)
    assert world.ledger.tariffs() == [world.record]


def test_a_ledger_serves_a_tariff_on_one_contract(world: World) -> None:
    with pytest.raises(Conflict, match="on another contract"):
        world.ledger.add_tariff(replace(world.record, domain=Domain(1, address(1))))


SUBMISSION = SubmissionRecord(
    bytes(32), bytes([1]) * 32, 1_790_000_000, bytes([2]) * 32, SubmissionState.SENT
)


def test_submissions_go_forward_only(world: World) -> None:
    draws = (Draw(address(1), AssetAmount(UINT256_MAX)), Draw(address(2), AssetAmount(0), skipped=True))
    world.ledger.record_submission(SUBMISSION)
    world.ledger.record_submission(SUBMISSION)
    assert world.ledger.settlements(bytes(32)) == []
    settled = replace(SUBMISSION, state=SubmissionState.SETTLED, block=7, draws=draws)
    world.ledger.record_submission(settled)
    world.ledger.record_submission(settled)
    assert world.ledger.submissions(bytes(32)) == world.ledger.settlements(bytes(32)) == [settled]
    world.ledger.record_submission(SUBMISSION)
    assert world.ledger.settlements(bytes(32)) == [settled], "sent, said late, takes nothing back"
    with pytest.raises(Conflict, match="is settled; it cannot become failed"):
        world.ledger.record_submission(replace(SUBMISSION, state=SubmissionState.FAILED))
    with pytest.raises(Conflict, match="another statement"):
        world.ledger.record_submission(replace(settled, digest=bytes(32)))
    assert world.ledger.settlements(bytes(32)) == [settled]
