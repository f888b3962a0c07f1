"""The service with the real contract behind it: from an event to the pot, and credit on the way."""

from __future__ import annotations

import _service as support
import pytest

from meterbridge.adapters.intake.api_keys import Scope
from meterbridge.domain.units import AssetAmount
from meterbridge.entrypoints.api.serving import _settler


@pytest.fixture
def paid(tmp_path, serve, embedded, make_world):
    """A payer with 1,000 base units in escrow under a tariff of the service."""
    world = make_world(embedded)
    record = support.tariff_record(world.provider.address, "paid", world.splitter.domain, world.token.address)
    payer, amount = world.payers[0], AssetAmount(1_000)
    gateway = world.net.gateway(payer)
    world.token.mint(payer.address, amount)
    world.token.as_sender(gateway).approve(world.splitter.address, amount)
    world.splitter.as_sender(gateway).deposit(record.tariff, record.split, payer.address, amount)
    book = support.Book(tmp_path, records=[record])
    key = book.make_key(Scope.INGEST, Scope.READ, provider=world.provider.address)
    with serve(book) as live:
        live.http.headers["Authorization"] = f"Bearer {key}"
        work = live.deps.worker._work
        live.deps.escrows = world.splitter
        live.deps.now = work.now = world.splitter.now
        work.signer, work.settle = world.meter, _settler(world.splitter, book.ledger)
        yield world, live, payer, record


def credit(live, record, payer, **params):
    path = f"/v1/tariffs/0x{record.id.hex()}/accounts/{payer.address}/credit"
    return live.http.get(path, params=params).json()


def test_events_are_sealed_signed_and_settled_and_credit_follows(paid):
    world, live, payer, record = paid
    # 12 in at 3 and 3 out at 15 dollars a million tokens: 81 base units each.
    assert (
        live.send(*(support.event(str(i), subject=str(payer.address)) for i in range(5))).status_code == 200
    )
    before = credit(live, record, payer)
    assert (before["allowed"], before["remaining"], before["unsettled"]) == (True, str(1_000 - 405), "405")
    assert live.deps.worker.round()
    assert world.splitter.escrow(record.id, payer.address).settled == AssetAmount(405)
    assert world.splitter.pot(record.split.id) == AssetAmount(405)
    after = credit(live, record, payer)
    assert (after["remaining"], after["unsettled"], after["secured"]) == (str(1_000 - 405), "0", "595")
    assert live.deps.worker.round()  # nothing new: nothing is submitted twice
    assert len(live.book.ledger.settlements(record.id)) == 1


def test_a_gateway_is_told_to_stop_when_the_escrow_is_used_up(paid):
    _, live, payer, record = paid
    live.send(*(support.event(str(i), subject=str(payer.address)) for i in range(13)))  # 1,053
    assert credit(live, record, payer)["allowed"] is False


def test_what_a_payer_is_thawing_is_no_credit_beyond_its_end(paid):
    world, live, payer, record = paid
    live.send(support.event("a", subject=str(payer.address)))
    world.client(payer).thaw(record.tariff, AssetAmount(900))
    soon = credit(live, record, payer, margin=60)
    later = credit(live, record, payer, margin=3_500)
    assert (soon["remaining"], later["remaining"]) == (str(1_000 - 81), str(1_000 - 81))
    world.net.wait_until(world.splitter.now() + 600)
    # Now the margin reaches beyond the end of thawing: only 100 are certain.
    assert credit(live, record, payer, margin=3_400)["remaining"] == str(100 - 81)
    # And beyond the thaw period nothing is: all could be withdrawn by then.
    assert credit(live, record, payer, margin=4_000)["allowed"] is False


def test_settling_recovers_after_the_nodes_outage_and_then_settles_once(paid):
    world, live, payer, record = paid
    work = live.deps.worker._work
    settle = work.settle

    def down(_record, _signed):
        raise OSError("the node does not answer")

    live.send(support.event("a", subject=str(payer.address)))
    work.settle = down
    assert live.deps.worker.round() is False
    assert world.splitter.pot(record.split.id) == AssetAmount(0)
    work.settle = settle
    assert live.deps.worker.round() is True
    assert world.splitter.pot(record.split.id) == AssetAmount(81)
