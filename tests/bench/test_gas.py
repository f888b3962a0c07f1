"""Gas is part of what a change changes: it shows in the committed snapshot, or the test fails."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SNAPSHOT = HERE / "gas-snapshot.json"


@pytest.fixture(scope="module")
def measured() -> dict[str, int]:
    anvil = runpy.run_path(str(HERE / "_anvil.py"))
    try:
        anvil["find_anvil"]()
    except anvil["NoAnvil"] as error:
        pytest.skip(str(error))
    if shutil.which("node") is None:
        pytest.skip("compiling needs Node.js 20 or later")
    command = [sys.executable, str(HERE / "gas.py"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    figures: dict[str, int] = json.loads(done.stdout)
    return figures


@pytest.mark.node
def test_gas_is_what_the_snapshot_says(measured: dict[str, int]) -> None:
    committed = json.loads(SNAPSHOT.read_text())
    changed = {n: (committed.get(n), measured.get(n)) for n in committed | measured}
    different = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    assert not different, f"(committed, measured); run 'scripts/bench gas --update': {different}"


@pytest.mark.node
def test_settling_costs_the_same_for_three_parties_and_a_million(measured: dict[str, int]) -> None:
    changes = {name: gas for name, gas in measured.items() if name.endswith("_change_3_to_1000000")}
    assert len(changes) == 4
    assert set(changes.values()) == {0}


@pytest.mark.node
def test_a_thousand_lines_fit_one_transaction_of_mainnet(measured: dict[str, int]) -> None:
    assert measured["settle_1000_total"] < 2**24


@pytest.mark.node
def test_the_contract_is_below_the_size_limit_with_a_margin(measured: dict[str, int]) -> None:
    assert measured["contract_size_bytes"] + measured["contract_size_margin_bytes"] == 24_576
    assert measured["contract_size_margin_bytes"] > 2_000
