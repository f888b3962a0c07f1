"""The service's thread that settles: what it waits out, and when it says that it fails."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from books import METER
from chains import Town
from sqlalchemy.exc import OperationalError

from meterbridge.adapters.signers import KeystoreSigner
from meterbridge.entrypoints.api.delivering import Delivering
from meterbridge.entrypoints.api.observed import Metrics
from meterbridge.entrypoints.api.serving import ServeConfig, build

pytestmark = pytest.mark.node


def test_pass_settles_what_is_signed_and_recovers_from_every_outage(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    now, down = [0.0], [True]

    def domains() -> list[object]:
        if down[0]:
            raise OperationalError("SELECT", None, Exception("the database is away"))
        return [town.books.record.domain]

    delivering = Delivering(domains, lambda _: [town.settler()], Metrics(), 60, clock=lambda: now[0])
    delivering.start()
    try:
        wait_for(lambda: "delivering" in metrics_of(delivering))
        assert delivering.failing() == {}
        now[0] = 61.0
        assert delivering.failing() == {"delivering": "behind for 61 s: OperationalError"}
        down[0] = False
        wait_for(lambda: town.states() == ["final"])
        wait_for(lambda: delivering.failing() == {})
    finally:
        delivering.stop(300)


def metrics_of(delivering: Delivering) -> str:
    return delivering._metrics.render().decode()


def wait_for(happened: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_thread_that_died_is_said_to_have_died(town: Town) -> None:
    delivering = Delivering(list, lambda _: [], Metrics(), 60)
    assert "has died" in delivering.failing()["delivering"]
    delivering.start()
    assert delivering.failing() == {}
    delivering.stop(300)
    assert delivering.failing() == {}


def test_service_seals_signs_and_settles_by_itself(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERBRIDGE_PRIVATE_KEY", "07" * 32)
    town.net.fund([METER.address], gas=10_000_000)
    town.deposit(town.payer, 1000)
    town.books.use({town.payer.address: 70})
    dead = "http://127.0.0.1:1"
    config = ServeConfig(
        str(town.folder), rpc=f"{town.url} {dead}", settle=True, settings={"seal_seconds": 1}
    )
    deps = build(config)
    deps.worker.start()
    try:
        wait_for(lambda: town.pot() == 70)
        wait_for(lambda: town.states() == ["final"])
        assert deps.worker.failing() == {}
    finally:
        deps.worker.stop()
        deps.close()


def test_service_pays_gas_from_a_keystore_of_its_own(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERBRIDGE_PRIVATE_KEY", "07" * 32)  # signs statements, and has no money
    monkeypatch.setenv("METERBRIDGE_PASSWORD", "of the gas")
    payer_of_gas = KeystoreSigner.create(town.folder / "gas.json", "of the gas", work=2)
    town.net.fund([payer_of_gas.address], gas=10_000_000)
    town.deposit(town.payer, 1000)
    town.books.use({town.payer.address: 30})
    config = ServeConfig(
        str(town.folder),
        rpc=town.url,
        settle=True,
        gas_keystore=str(town.folder / "gas.json"),
        settings={"seal_seconds": 1},
    )
    meters_transactions = town.nonce(METER.address)
    deps = build(config)
    deps.worker.start()
    try:
        wait_for(lambda: town.states() == ["final"])
    finally:
        deps.worker.stop()
        deps.close()
    assert town.pot() == 30
    assert town.nonce(payer_of_gas.address) == 1
    assert town.nonce(METER.address) == meters_transactions
