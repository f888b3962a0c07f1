"""A transaction that is replaced by a cancellation, and that by a settlement again, can still be mined."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from faults.books import Books, register
from faults.checks import money_problems, nonce_problems, read_chain
from faults.riding import FINAL_DEPTH, Ride
from faults.stage import DEPOSITS, METER, PROVIDER, SENDERS, Stage
from meterbridge.adapters.chain import calls
from meterbridge.adapters.ledger import open_ledger
from meterbridge.adapters.segments import FolderSegments

pytestmark = pytest.mark.node
GWEI = 10**9


def authorise(stage: Stage, until: int, next_fee: int) -> None:
    """Lose the mempool, let the meter sign until a time, and make gas dearer than any transaction pays."""
    stage.node.rpc("anvil_dropAllTransactions")
    stage.client(stage.url, PROVIDER).send(calls.set_signer(METER.address, until))
    stage.mine()
    stage.node.rpc("anvil_setNextBlockBaseFeePerGas", hex(next_fee))
    stage.mine()


def test_a_settlement_that_replaces_its_cancellation_has_gas_enough(stage: Stage, tmp_path: Path) -> None:
    stage.reset()
    since = stage.height()
    with open_ledger(tmp_path) as ledger:
        register(ledger, stage.record)
        books = Books(ledger, FolderSegments(tmp_path / "segments"), stage.record, random.Random(1))
        ride = Ride(ledger, [stage.url], stage.record, SENDERS[0], stage.now())
        books.use([0, 1])
        books.state(stage.now())
        for until, fee in ((0, 30 * GWEI), (2**32 - 1, 120 * GWEI)):
            ride.step()
            ride.wait(5)
            authorise(stage, until, fee)
        for _ in range(5):
            ride.step()
            ride.wait(70)
            stage.mine(FINAL_DEPTH // 2)
        (delivery,) = ledger.deliveries()
        kinds = [attempt.kind.value for attempt in ledger.attempts(delivery)]
        assert kinds == ["settle", "cancel", "settle"]
        chain = read_chain(stage, SENDERS[0].address, since)
        assert ride.problems() == []
        assert money_problems(books, DEPOSITS, chain) == []
        assert nonce_problems(chain, ride.nonces_given(), ride.known_transactions()) == []
        assert len(chain.sent) == 1
        ride.close()
