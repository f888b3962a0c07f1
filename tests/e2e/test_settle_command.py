"""`meterbridge settle` as an operator uses it: status, watching, endpoints, statements without a ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from .test_commands import MAP, Setting

pytestmark = pytest.mark.node
MAIN = "from meterbridge.entrypoints.cli import main; main()"


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, anvil_rpc: str) -> Setting:
    made = Setting(tmp_path_factory.mktemp("settle"), anvil_rpc)
    cli = made.cli
    cli.ok("keys", "new", "meter.json")
    options = ["--contract", made.splitter.address, "--asset", made.token.address, "--thaw-period", "60"]
    cli.ok("init", *options, "--parties", "parties.json", "--terms", "terms.json", "--from", made.provider)
    cli.ok("signer", cli.json("keys", "show", "meter.json")["address"], "--from", made.provider)
    cli.ok("account", "add", made.acme, "--customer", "acme")
    made.token.functions.mint(made.acme, 10**9).transact({"from": made.provider})
    cli.ok("deposit", "50000000", "--from", made.acme)
    return made


def state(setting: Setting, name: str, tokens: int) -> str:
    """Count an event of acme and sign a statement; return its file."""
    cli = setting.cli
    cli.ok("import", setting.calls(f"{name}.csv", [(name, "acme", tokens, 0)]), "--map", MAP)
    cli.ok("seal")
    time.sleep(1)  # statements of one account are a second apart
    (file,) = cli.json("statement", "--keystore", "meter.json")["statements"]
    return str(file)


def test_what_waits_is_shown_with_the_reason_and_covered_by_the_next(setting: Setting) -> None:
    cli = setting.cli
    state(setting, "a", 1000)  # 2,000 base units
    answer = cli.json("settle", "--from", setting.other, "--minimum", "5000")
    assert answer["settled"] == []
    [waiting] = answer["open"]
    assert (waiting["state"], waiting["lines"]) == ("waiting", 1)
    assert waiting["reason"] == "it would draw 2000, less than the minimum of 5000"
    status = cli.json("settle", "--status", "--rpc", "http://127.0.0.1:1")  # asks no node
    assert status["counts"] == {"waiting": 1}
    assert [row["reason"] for row in status["open"]] == [waiting["reason"]]
    assert "1 waiting" in cli.ok("settle", "--status")
    state(setting, "b", 4000)
    [settled] = cli.json("settle", "--from", setting.other, "--minimum", "5000")["settled"]
    assert settled["drawn"] == "10000"
    assert cli.json("settle", "--status")["counts"] == {"superseded": 1, "final": 1}


def test_statement_settles_without_a_ledger_over_the_endpoint_that_answers(setting: Setting) -> None:
    cli = setting.cli
    file = state(setting, "c", 500)
    rpc = cli.env["METERBRIDGE_RPC"]
    alone = ["--ledger", "nowhere", "--from", setting.other]
    answer = cli.json("settle", "-s", file, *alone, "--rpc", "http://127.0.0.1:1", "--rpc", rpc)
    assert [row["drawn"] for row in answer["settled"]] == ["1000"]
    assert cli.json("settle", "-s", file, *alone)["settled"][0]["drawn"] == "0"


def test_trouble_is_an_error_and_names_no_secret(setting: Setting) -> None:
    cli = setting.cli
    secret = "http://user:hidden@127.0.0.1:1/v3/hidden"
    said = cli.refused("settle", "--from", setting.other, "--rpc", secret)
    assert "http://127.0.0.1:1" in said
    assert "hidden" not in said
    assert "cannot agree" in cli.refused("settle", "--from", setting.other, "--quorum", "2")


def test_watching_settles_what_comes_and_ends_cleanly_on_ctrl_c(setting: Setting) -> None:
    command = [sys.executable, "-c", MAIN, "settle", "--watch", "--json", "--from", setting.other]
    watching = subprocess.Popen(
        command, cwd=setting.folder, env={**os.environ, **setting.cli.env}, stdout=subprocess.PIPE
    )
    try:
        final = setting.cli.json("settle", "--status")["counts"].get("final", 0)
        state(setting, "d", 700)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if setting.cli.json("settle", "--status")["counts"].get("final", 0) > final:
                break
            time.sleep(0.5)
    finally:
        watching.send_signal(signal.SIGINT)
        out, _ = watching.communicate(timeout=300)
    assert watching.returncode == 0
    answer: Any = json.loads(out)
    assert [row["drawn"] for row in answer["settled"]] == ["1400"]
    assert answer["open"] == []


def test_help_has_examples(setting: Setting) -> None:
    said = setting.cli.ok("settle", "--help")
    for words in ("--watch", "--status", "--statement", "meterbridge settle --status"):
        assert words in said
