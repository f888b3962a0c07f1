"""What one looks for in the past of the contract is found by topic, and only that."""

from __future__ import annotations

from typing import Any

import pytest

from meterbridge.adapters.chain import NodeRefuses
from meterbridge.adapters.chain.history import History, NotPublished
from meterbridge.domain.units import UsageVector
from meterbridge.services.chain_events import AccountOpened, Deposited, Settled, TariffPublished


def used(count: int) -> UsageVector:
    return UsageVector((count, 0, 0, 0, 0, 0, 0, 0))


@pytest.fixture
def busy(world: Any) -> Any:
    """Two tariffs, two payers, a settlement: more than what is looked for."""
    provider = world.client(world.provider)
    provider.publish_split(world.split, world.table.parties)
    provider.publish_tariff(world.tariff, world.document)
    provider.publish_tariff(world.make_tariff(scale=1), world.document)
    for payer in world.payers[:2]:
        world.deposit(payer, 100)
    world.splitter.settle(world.tariff, world.sign({world.payers[0]: used(60), world.payers[1]: used(30)}))
    return world


def test_a_tariff_is_found_by_its_id_with_split_parties_and_document(busy: Any) -> None:
    found = History(busy.splitter)
    assert found.tariff(busy.tariff.id) == busy.tariff
    terms = found.terms(f"0x{busy.tariff.id.hex()[:16]}")
    assert (terms.tariff, terms.split, terms.document) == (busy.tariff, busy.split, busy.document)
    split, table = found.parties("")
    assert (split, table.parties) == (busy.split, busy.table.parties)


def test_what_fits_several_or_none_is_refused_and_named(busy: Any) -> None:
    found = History(busy.splitter)
    with pytest.raises(NotPublished, match=r"fits 2 published tariffs.*0x" + busy.tariff.id.hex()[:12]):
        found.terms("")
    with pytest.raises(NotPublished, match="fits 0 published splits"):
        found.parties("0xffff")
    with pytest.raises(NotPublished, match="was it published"):
        found.tariff(bytes(32))


def test_a_tariff_that_nobody_published_is_found_by_its_deposit(world: Any) -> None:
    world.deposit(world.payers[0], 5)
    terms = History(world.splitter).terms(world.tariff.id.hex())
    assert (terms.tariff, terms.split, terms.document) == (world.tariff, world.split, None)


def test_an_account_is_told_by_its_own_events_as_a_full_scan_tells_it(busy: Any) -> None:
    payer = busy.payers[0].address
    everything = busy.splitter.events(0, busy.splitter.newest_block())
    expected = [e for e in everything if getattr(e, "payer", None) == payer]
    found = History(busy.splitter).account(busy.tariff.id, payer)
    assert list(found) == expected
    assert [type(e) for e in found] == [AccountOpened, Deposited, Settled]
    (settled,) = History(busy.splitter).settlements(busy.tariff.id, payer)
    assert settled.drawn.base_units == 60


def test_a_node_that_refuses_long_ranges_is_asked_in_parts(
    busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(History(busy.splitter).events(TariffPublished))
    original, asked = busy.net.w3.eth.get_logs, []

    def refusing(request: Any) -> Any:
        asked.append(request["toBlock"] - request["fromBlock"])
        if asked[-1] > 4:
            raise NodeRefuses("the node refuses: query exceeds max block range")
        return original(request)

    monkeypatch.setattr(busy.splitter.gateway.w3.eth, "get_logs", refusing)
    assert list(History(busy.splitter).events(TariffPublished)) == whole
    assert len(whole) == 2
    assert max(asked) > 4 >= min(asked)
