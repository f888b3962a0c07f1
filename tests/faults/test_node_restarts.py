"""A real node that ends in the middle and begins again, in order or by kill -9, with what it had on disk."""

from __future__ import annotations

import gc
import random
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.books import Books, register
from faults.checks import money_problems, nonce_problems, read_chain
from faults.nodes import RestartedNode
from faults.riding import FINAL_DEPTH, Ride
from faults.stage import DEPOSITS, SENDERS, Stage, set_up
from meterbridge.adapters.ledger import open_ledger
from meterbridge.adapters.segments import FolderSegments

pytestmark = pytest.mark.node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RestartedNode]:
    found = RestartedNode(tmp_path)
    found.start()
    yield found
    found.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # web3 never closes its connections to a dead node
        gc.collect()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("when", ["sent", "mined"])
def test_a_node_that_restarts_loses_nothing_of_ours(
    node: RestartedNode, tmp_path: Path, how: signal.Signals, when: str
) -> None:
    node.node.rpc("evm_setAutomine", True)
    stage: Stage = set_up(node.url)
    node.node.rpc("evm_setAutomine", False)
    node.stop()  # everything up to here is on its disk
    node.start()
    since = stage.height()
    with open_ledger(tmp_path / "ledger") as ledger:
        register(ledger, stage.record)
        books = Books(ledger, FolderSegments(tmp_path / "segments"), stage.record, random.Random(1))
        ride = Ride(ledger, [node.url], stage.record, SENDERS[0], stage.now())
        books.use([0, 1, 2])
        books.state(stage.now())
        ride.step()
        if when == "mined":
            node.node.rpc("anvil_mine", "0x2")
            ride.step()
        node.stop(how)
        ride.step()
        assert "answer" in ride.complaints[-1]
        node.start()
        for _ in range(5):
            ride.wait(70)
            ride.step()
            node.node.rpc("anvil_mine", hex(FINAL_DEPTH // 2))
        chain = read_chain(stage, SENDERS[0].address, since)
        assert money_problems(books, DEPOSITS, chain) == []
        assert nonce_problems(chain, ride.nonces_given(), ride.known_transactions()) == []
        assert ride.problems() == []
        assert ride.reconcile(books.segments).differences == ()
        ride.close()
    stage.node.close()
