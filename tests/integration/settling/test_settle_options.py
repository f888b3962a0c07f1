"""`meterbridge settle` on PostgreSQL, and how long the endpoints of a profile may take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from books import fresh_database
from chains import Town

from meterbridge.adapters.chain.endpoints import EndpointsProvider
from meterbridge.adapters.signers import KeystoreSigner
from meterbridge.entrypoints.watching import ChainOptions, followed_contracts
from meterbridge.library.settlers import SettleConfig, make_settlers

pytestmark = pytest.mark.node
MAIN = "from meterbridge.entrypoints.cli import main; main()"


@pytest.fixture
def town_on_postgresql(anvil_url: str, postgres_url: str, tmp_path: Path) -> Iterator[Town]:
    made = Town(anvil_url, tmp_path, fresh_database(postgres_url))
    yield made
    made.books.ledger.close()


def test_statements_of_a_postgresql_ledger_are_settled_from_a_keystore(town_on_postgresql: Town) -> None:
    town = town_on_postgresql
    assert town.database is not None
    town.deposit(town.payer, 1000)
    town.state({town.payer: 40})
    gas = KeystoreSigner.create(town.folder / "gas.json", "of the gas", work=2)
    town.net.fund([gas.address], gas=10_000_000)
    common = ["settle", "--database", town.database, "--json"]
    paying = ["--keystore", str(town.folder / "gas.json"), "--rpc", town.url]
    answer = run(town, *common, *paying)
    assert [row["drawn"] for row in answer["settled"]] == ["40"]
    assert (town.pot(), town.nonce(gas.address)) == (40, 1)
    assert town.states() == ["final"]
    assert run(town, *common, "--status")["counts"] == {"final": 1}
    assert not (town.folder / "ledger.db").exists()  # nothing was kept anywhere else


def run(town: Town, *arguments: str) -> dict[str, list[dict[str, str]]]:
    made = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=town.folder,
        env={**os.environ, "METERBRIDGE_PASSWORD": "of the gas"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    answer: dict[str, list[dict[str, str]]] = json.loads(made.stdout)
    return answer


def test_endpoints_have_the_time_that_the_profile_gives_them(town: Town) -> None:
    own = town.folder / "own.toml"
    own.write_text("[local]\nrpc_timeout_seconds = 7\n")
    domain = town.books.record.domain
    config = SettleConfig([town.url], profiles=own)
    [settler] = make_settlers(config, town.books.ledger, [domain], town.node_account())
    assert settler.chain.endpoints.timeout == 7  # type: ignore[attr-defined]  # of the client on a real chain
    [followed], profile = followed_contracts(ChainOptions([town.url], None, own), [town.books.record])
    assert profile.rpc_timeout_seconds == 7
    provider = followed.gateway.w3.provider
    assert isinstance(provider, EndpointsProvider)
    assert provider.endpoints.timeout == 7
