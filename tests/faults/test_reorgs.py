"""A settled statement whose block vanishes, at every depth short of finality, settles again, once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from faults.books import Books, register
from faults.checks import money_problems, nonce_problems, read_chain
from faults.riding import FINAL_DEPTH, Ride
from faults.stage import DEPOSITS, REORG_MAX, SENDERS, Stage
from meterbridge.adapters.ledger import open_ledger
from meterbridge.adapters.segments import FolderSegments

pytestmark = pytest.mark.node
DEPTHS = [
    pytest.param(depth, marks=() if depth in (1, 7, 20) else pytest.mark.long)
    for depth in range(1, REORG_MAX + 1)
]


@pytest.mark.parametrize("depth", DEPTHS)
def test_what_a_reorganisation_undoes_is_settled_again(stage: Stage, tmp_path: Path, depth: int) -> None:
    stage.reset()
    since = stage.height()
    with open_ledger(tmp_path) as ledger:
        register(ledger, stage.record)
        books = Books(ledger, FolderSegments(tmp_path / "segments"), stage.record, random.Random(depth))
        ride = Ride(ledger, [stage.url], stage.record, SENDERS[0], stage.now())
        books.use([0, 1])
        books.state(stage.now())
        ride.step()
        stage.mine(depth)
        ride.wait(5)
        ride.step()
        ride.follow()
        assert read_chain(stage, SENDERS[0].address, since).drawn[0] == books.owed(0)
        assert [each.state.value for each in ledger.deliveries()] == ["mined"]
        stage.node.rpc("anvil_reorg", depth, [])
        assert read_chain(stage, SENDERS[0].address, since).settled == (0, 0, 0)
        for _ in range(4):
            ride.wait(5)
            ride.step()
            ride.follow()
            stage.mine(FINAL_DEPTH // 2)
        chain = read_chain(stage, SENDERS[0].address, since)
        assert money_problems(books, DEPOSITS, chain) == []
        assert nonce_problems(chain, ride.nonces_given(), ride.known_transactions()) == []
        assert ride.problems() == []
        assert len(chain.sent) == 1
        assert ("mined", "sent") in ride.transitions
        assert ride.reconcile(books.segments).differences == ()
        ride.close()
