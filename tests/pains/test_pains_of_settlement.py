"""Pains of settlement that users of neighbouring systems reported, each shown not to happen here.

The names in the docstrings are those systems' public reports; README.md lists all of them with their tests.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.books import Books, register
from faults.checks import read_chain
from faults.kinds import Fault
from faults.proxy import FaultProxy, Script
from faults.riding import Ride
from faults.stage import DEPOSITS, SENDERS, Stage, key_of, staged
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.senders import KeySender
from meterbridge.adapters.ledger import open_ledger
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.splits import PartyTable
from meterbridge.domain.units import AssetAmount
from meterbridge.services.settling.policy import Policy

pytestmark = pytest.mark.node
SEND = "eth_sendRawTransaction"


class Shop:
    """A provider with usage to settle, through a proxy that has faults when a test says so."""

    def __init__(self, stage: Stage, proxy: FaultProxy, books: Books) -> None:
        self.stage, self.proxy, self.books, self.since = stage, proxy, books, stage.height()

    def ride(self, **policy: object) -> Ride:
        chosen = Policy(confirmations=2, **policy)  # type: ignore[arg-type]
        return Ride(
            self.books.ledger, [self.proxy.url], self.stage.record, SENDERS[0], self.stage.now(), chosen
        )

    def turn(self, ride: Ride, times: int = 1) -> None:
        for _ in range(times):
            ride.step()
            ride.wait(10)
            self.stage.mine(2)

    def drawn(self) -> tuple[int, ...]:
        return read_chain(self.stage, SENDERS[0].address, self.since).drawn


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    from _anvil import NoAnvil, find_anvil

    try:
        find_anvil()
    except NoAnvil as error:
        pytest.skip(str(error))
    with staged() as found:
        yield found


@pytest.fixture
def shop(stage: Stage, tmp_path: Path) -> Iterator[Shop]:
    stage.reset()
    with open_ledger(tmp_path) as ledger, FaultProxy(stage.url) as proxy:
        register(ledger, stage.record)
        books = Books(ledger, FolderSegments(tmp_path / "segments"), stage.record, random.Random(1))
        yield Shop(stage, proxy, books)


def test_a_timeout_is_not_taken_for_a_failed_payment(shop: Shop) -> None:
    """Key0 #115, payments-py #218: the node took it, the answer was lost; it is found, and not sent anew."""
    shop.books.use([0])
    shop.books.state(shop.stage.now())
    ride = shop.ride()
    shop.proxy.schedule = Script((SEND, Fault.LOST_ANSWER))
    shop.turn(ride, 4)
    assert shop.proxy.done == {Fault.LOST_ANSWER: 1}
    assert ride.problems() == []
    sent = read_chain(shop.stage, SENDERS[0].address, shop.since).sent
    assert len(sent) == len(ride.known_transactions()) == 1
    assert shop.drawn() == (shop.books.owed(0), 0, 0)
    ride.close()


def test_after_an_outage_everything_goes_on_by_itself(shop: Shop) -> None:
    """Indexer-rs #260: nobody restarts or resets anything; what piled up is settled, and reconciles."""
    ride = shop.ride()
    shop.proxy.take_down(10**6)
    for _ in range(3):
        shop.books.use([0, 1])
        shop.books.state(shop.stage.now())
        shop.turn(ride)
    assert shop.drawn() == (0, 0, 0)
    assert "answer" in ride.complaints[-1]
    shop.proxy.calm()
    shop.turn(ride, 6)
    assert shop.drawn() == (shop.books.owed(0), shop.books.owed(1), 0)
    assert ride.problems() == []
    assert ride.reconcile(shop.books.segments).differences == ()
    ride.close()


def test_a_payer_who_cannot_pay_blocks_no_other_and_pays_the_rest_later(shop: Shop) -> None:
    """Indexer-rs #214: one line without money draws what there is; the others of its statement draw all."""
    shop.books.use([0, 1, 2], calls=30)
    shop.books.state(shop.stage.now())
    assert shop.books.owed(2) > DEPOSITS[2], "the third payer must run dry"
    ride = shop.ride()
    shop.turn(ride, 4)
    assert shop.drawn() == (shop.books.owed(0), shop.books.owed(1), DEPOSITS[2])
    ride.close()


def test_what_is_worth_less_than_its_gas_waits_and_one_claim_takes_all(shop: Shop) -> None:
    """Livepeer #1603: small draws wait for the next ones, and a party claims whatever has come together."""
    shop.books.use([0], calls=1)
    shop.books.state(shop.stage.now())
    dear = AssetAmount(10**12)  # base units for 10**18 wei: a transaction costs more than the first call
    ride = shop.ride(coin_price=dear)
    shop.turn(ride, 2)
    (waiting,) = shop.books.ledger.deliveries()
    assert waiting.state.value == "waiting"
    assert "less than" in waiting.reason
    shop.books.use([0, 1], calls=400)
    shop.books.state(shop.stage.now())
    shop.turn(ride, 5)
    settled = shop.books.owed(0) + shop.books.owed(1)
    assert sum(shop.drawn()) == settled
    assert len(read_chain(shop.stage, SENDERS[0].address, shop.since).sent) == 1
    assert _claimed_by_first_party(shop) == settled * 60 // 120
    ride.close()


def _claimed_by_first_party(shop: Shop) -> int:
    """Claim once, sent by a stranger; return what the party has afterwards."""
    shop.stage.node.rpc("evm_setAutomine", True)
    gateway = Gateway(shop.stage.splitter.gateway.w3, KeySender(SENDERS[1]))
    record = shop.stage.record
    shop.stage.splitter.as_sender(gateway).claim_first(record.split, PartyTable(record.parties).proof(0))
    shop.stage.node.rpc("evm_setAutomine", False)
    return shop.stage.token.balance_of(key_of("party 0").address).base_units
