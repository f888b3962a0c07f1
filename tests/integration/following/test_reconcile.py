"""Reconciling ends with nothing where all is in order, and names whatever was spoilt, with its amount."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from meterbridge.domain.units import AssetAmount
from meterbridge.services.following.indexer import follow
from meterbridge.services.following.ports import NotFollowed
from meterbridge.services.following.reconcile import reconcile


def names(items: Any) -> list[str]:
    return [item.name for item in items]


def amounts(items: Any) -> dict[str, int]:
    return {item.name: item.amount.base_units for item in items if item.amount is not None}


def test_a_business_in_order_reconciles_to_nothing(business: Any) -> None:
    business.deposit(business.payer("p0"), 1000)
    business.deposit(business.payer("p1"), 1000)
    business.use(p0=300, p1=200)
    business.settle()
    business.use(p0=11)
    business.settle()
    business.world.splitter.claim_first(business.record.split, _proof(business, 0))
    found = business.reconcile()
    assert (found.differences, found.open_items, found.ok) == ((), (), True)
    compared = {row.check: row.compared for row in found.rows}
    assert compared["logs: total = batches + pending"] == 4
    assert compared["segments: rows give the batch"] == 3
    assert compared["settled lines = signed lines"] == 3
    assert compared["transactions = events"] == 2
    assert compared["accounts: signed = settled"] == 2
    assert all(compared.values())
    told: list[str] = []
    business.reconcile(segments=None, on_progress=lambda check, _: told.append(check))
    assert "segments: rows give the batch" not in told
    assert "ledger = contract's views" in told


def _proof(business: Any, index: int) -> Any:
    from meterbridge.domain.splits import PartyTable

    return PartyTable(business.record.parties).proof(index)


def test_what_is_on_its_way_is_open_and_no_difference(business: Any) -> None:
    """By hand: one base unit a token; 1,000 and 50 there, 300 and 80 used."""
    business.deposit(business.payer("p0"), 1000)
    business.deposit(business.payer("p1"), 50)
    business.use(p0=300, p1=80)
    assert amounts(business.reconcile().open_items) == {"not-stated": 80}
    assert [i.amount.base_units for i in business.reconcile().open_items] == [300, 80]
    signed = business.state()
    assert [(i.name, i.amount.base_units) for i in business.reconcile().open_items] == [
        ("not-settled", 300),
        ("not-settled", 80),
    ]
    business.settle(signed)
    found = business.reconcile()
    assert (found.differences, [(i.name, i.amount.base_units) for i in found.open_items]) == (
        (),
        [("ran-dry", 30)],
    )
    business.deposit(business.payer("p1"), 30)
    business.settle(signed)
    found = business.reconcile()
    assert (found.differences, found.open_items) == ((), ())


def test_a_ledger_that_was_set_back_is_found_out(business: Any, tmp_path: Path) -> None:
    """What was settled after the backup is on the chain and in the segments; the ledger knows of neither."""
    if business.books.database is not None:
        pytest.skip("a file is copied")
    business.deposit(business.payer("p0"), 1000)
    business.use(p0=300)
    business.settle()
    file, backup = business.books.folder / "ledger.db", tmp_path / "backup.db"
    with sqlite3.connect(file) as live, sqlite3.connect(backup) as copy:
        live.backup(copy)
    business.use(p0=45)
    business.settle()
    with sqlite3.connect(backup) as copy, sqlite3.connect(file) as live:
        copy.backup(live)
    found = business.reconcile()
    assert set(names(found.differences)) == {"segment-unknown", "settled-unknown"}
    assert amounts(found.differences) == {"settled-unknown": 45}
    unknown = next(i for i in found.differences if i.name == "settled-unknown")
    assert unknown.usage.lanes[0] == 345


def spoil(business: Any, sql: str, **values: Any) -> None:
    with business.ledger._database.write() as connection:
        assert connection.execute(text(sql), values).rowcount >= 1


@pytest.mark.parametrize(
    ("sql", "name", "amount"),
    [
        ("UPDATE chain_escrows SET settled_amount = '299'", "chain-settled", 1),
        ("UPDATE chain_escrows SET arrived_amount = '1007'", "chain-balance", 7),
        ("UPDATE chain_pots SET drawn_amount = '310'", "chain-pot", 10),
        ("UPDATE chain_stakes SET claimed_amount = '0'", "chain-claims", 180),
        ("UPDATE chain_amounts SET amount = '900' WHERE amount = '1000'", "ledger-balance", 100),
        ("UPDATE chain_amounts SET amount = '301' WHERE amount = '300'", "law", None),
        ("UPDATE draws SET drawn = '250'", "draws-differ", 50),
        ("DELETE FROM chain_amounts WHERE amount = '180'", "ledger-claims", 180),
    ],
)
def test_whatever_the_ledger_says_wrong_of_money_is_named_with_its_amount(
    embedded: Any, open_business: Any, sql: str, name: str, amount: int | None
) -> None:
    business = open_business(embedded)
    business.deposit(business.payer("p0"), 1000)
    business.use(p0=300)
    business.settle()
    business.world.splitter.claim_first(business.record.split, _proof(business, 0))  # 60 % of 300
    assert business.reconcile().ok
    if sql.startswith("DELETE"):
        sql = "UPDATE chain_amounts SET amount = '0' WHERE amount = '180'"
    spoil(business, sql)
    found = business.reconcile()
    assert name in names(found.differences), found.differences
    assert not found.ok
    if amount is not None:
        assert amounts(found.differences)[name] == amount


def test_whatever_the_ledger_says_wrong_of_usage_is_named_with_its_amount(
    embedded: Any, open_business: Any
) -> None:
    business = open_business(embedded)
    business.deposit(business.payer("p0"), 1000)
    business.use(p0=300)
    business.settle()
    wrong = bytes(7) + b"\x05" + bytes(56)
    spoil(business, "UPDATE logs SET total = :wrong WHERE kind = 'charges'", wrong=wrong)
    found = business.reconcile()
    assert names(found.differences) == ["log-total"]
    assert found.differences[0].usage.lanes[0] == 5 - 300
    spoil(business, "UPDATE batches SET sum = :wrong", wrong=wrong)
    found = business.reconcile()
    assert names(found.differences) == ["segment-differs"]
    assert found.differences[0].usage.lanes[0] == 5 - 300
    spoil(business, "UPDATE tree_nodes SET sum = :wrong", wrong=wrong)
    found = business.reconcile()
    assert names(found.differences) == ["segment-differs", "head-differs"]
    spoil(business, "UPDATE statement_lines SET charges_sum = :wrong", wrong=wrong)
    found = business.reconcile()
    assert names(found.differences) == ["segment-differs", "settled-differs"], (
        "the log and its head agree now"
    )
    assert amounts(found.differences)["settled-differs"] == 295


def test_a_damaged_or_missing_segment_is_named(embedded: Any, open_business: Any) -> None:
    business = open_business(embedded)
    business.use(p0=300)
    business.use(p0=20)
    first, second = sorted((business.books.folder / "segments").rglob("*.parquet"))
    first.write_bytes(first.read_bytes()[:500])
    second.unlink()
    found = business.reconcile()
    assert names(found.differences) == ["segment-damaged", "segment-damaged"]
    assert [item.usage.lanes[0] for item in found.differences] == [300, 20]


def test_what_was_never_followed_is_not_reconciled(embedded: Any, open_business: Any) -> None:
    business = open_business(embedded)
    with pytest.raises(NotFollowed):
        reconcile(business.ledger, None, business.chain)


def test_another_s_tariff_on_the_same_split_is_in_the_pot_as_well(embedded: Any, open_business: Any) -> None:
    """A pot belongs to a split: what others draw into it must not look like a difference."""
    business = open_business(embedded)
    business.deposit(business.payer("p0"), 1000)
    business.use(p0=300)
    business.settle()
    world = business.world
    world.split, world.tariff = business.record.split, world.make_tariff(split_id=business.record.split.id)
    world.deposit(world.payers[1], 500)
    from meterbridge.domain.units import UsageVector

    used = UsageVector.of((10, 0, 0, 0, 0, 0, 0, 0))
    world.splitter.settle(world.tariff, world.sign({world.payers[1]: used}))
    found = business.reconcile()
    assert (found.differences, found.open_items) == ((), ())
    follow(business.chain, business.ledger)
    pot = business.ledger.followed_pots(business.chain.domain)[business.record.split.id]
    assert pot.allocated > AssetAmount(300)
