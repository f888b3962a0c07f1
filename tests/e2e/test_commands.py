"""Every command on its own, against a real node and a ledger folder, as the guide in the docs shows it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from web3 import HTTPProvider, Web3

from .conftest import Cli, InThisProcess

pytestmark = pytest.mark.node

TERMS = {
    "meterbridge": 1,
    "name": "A model",
    "currency": {"symbol": "TUSD", "decimals": 6},
    "meters": [
        {"name": "input", "buckets": ["input"], "price": "2.00", "per": 1_000_000},
        {"name": "output", "buckets": ["output"], "price": "8.00", "per": 1_000_000},
    ],
    "text": "Two in, eight out.",
}
CALLS = "request_id,ts,customer,prompt,answer\n"


class Setting:
    """A node, contracts, a provider with a ledger, and two payers that have deposited."""

    def __init__(self, folder: Path, rpc: str) -> None:
        self.w3 = Web3(HTTPProvider(rpc))
        self.people = list(self.w3.eth.accounts)
        self.provider, self.acme, self.globex, self.lab, self.host, self.other = self.people[:6]
        self.cli = InThisProcess(folder, rpc)
        self.folder = folder
        self.token = self.deploy("TestUSD")
        self.splitter = self.deploy("SettlementSplitter")
        (folder / "terms.json").write_text(json.dumps(TERMS))
        parties = [
            {"account": self.lab, "role": 1, "share": "70"},
            {"account": self.host, "role": 2, "share": "30"},
        ]
        (folder / "parties.json").write_text(json.dumps(parties))

    def deploy(self, name: str) -> Any:
        file = Path(__file__).parents[2] / "src" / "meterbridge" / "contracts" / f"{name}.json"
        artifact = json.loads(file.read_text())
        bytecode = artifact.get("bytecode") or artifact["creation"]
        contract = self.w3.eth.contract(abi=artifact["abi"], bytecode=bytecode)
        sent = contract.constructor().transact({"from": self.provider})
        return self.w3.eth.contract(
            self.w3.eth.wait_for_transaction_receipt(sent)["contractAddress"], abi=artifact["abi"]
        )

    def calls(self, name: str, rows: list[tuple[str, str, int, int]]) -> str:
        lines = [f"{i},2026-01-01T00:00:00Z,{who},{p},{a}\n" for i, who, p, a in rows]
        (self.folder / name).write_text(CALLS + "".join(lines))
        return name


MAP = "id=request_id time=ts payer=customer input=prompt output=answer"


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, anvil_rpc: str) -> Setting:
    made = Setting(tmp_path_factory.mktemp("ledger"), anvil_rpc)
    cli = made.cli
    cli.ok("keys", "new", "meter.json")
    meter = cli.json("keys", "show", "meter.json")["address"]
    options = ["--contract", made.splitter.address, "--asset", made.token.address]
    files = ["--parties", "parties.json", "--terms", "terms.json", "--thaw-period", "60"]
    cli.ok("init", *options, *files, "--from", made.provider)
    cli.ok("init", *options, *files, "--from", made.provider)  # again: nothing changes
    cli.ok("signer", meter, "--from", made.provider)
    for payer, customer in ((made.acme, "acme"), (made.globex, "globex")):
        cli.ok("account", "add", payer, "--customer", customer)
        made.token.functions.mint(payer, 10**9).transact({"from": made.provider})
    cli.ok("deposit", "50000000", "--from", made.acme)
    # A payer needs no ledger: the contract's events tell it the terms.
    cli.ok("deposit", "1000000", "--from", made.globex, "--contract", made.splitter.address)
    return made


def test_the_whole_way_by_single_commands(setting: Setting) -> None:
    cli = setting.cli
    rows = [("a", "acme", 1_000_000, 100_000), ("b", "globex", 500_000, 50_000), ("c", "acme", 7, 1)]
    name = setting.calls("day1.csv", rows)
    (imported,) = cli.json("import", name, "--map", MAP)["files"]
    assert (imported["added"], imported["repeated"]) == (3, 0)
    (again,) = cli.json("import", name, "--map", MAP)["files"]
    assert (again["added"], again["repeated"]) == (0, 3)
    assert len(cli.json("seal")["batches"]) == 2
    assert cli.json("seal")["batches"] == []

    (statement,) = cli.json("statement", "--keystore", "meter.json")["statements"]
    assert cli.json("statement", "--keystore", "meter.json")["statements"] == []
    drawn = cli.json("settle", "--from", setting.other)["settled"]
    # By hand: acme 1,000,007 * 2 + 100,001 * 8; globex 500,000 * 2 + 50,000 * 8 of a balance of 1,000,000.
    by_payer = {line["payer"]: line for line in drawn[0]["lines"]}
    assert by_payer[setting.acme]["drawn"] == str(1_000_007 * 2 + 100_001 * 8)
    assert by_payer[setting.globex]["drawn"] == "1000000"
    assert by_payer[setting.globex]["unpaid"] == "400000"
    assert cli.json("settle", "--from", setting.other)["settled"] == []
    again = cli.json("settle", "--statement", statement, "--from", setting.other)["settled"]
    assert again[0]["drawn"] == "0"

    cli.ok("deposit", "500000", "--payer", setting.globex, "--from", setting.acme)
    rest = cli.json("settle", "--from", setting.other)["settled"]
    assert rest[0]["drawn"] == "400000"

    pot = 1_000_007 * 2 + 100_001 * 8 + 1_400_000
    parties = cli.json("claimable")["parties"]
    assert [p["claimable"] for p in parties] == [str(pot * 70 // 100), str(pot * 30 // 100)]
    claims = cli.json("claim", "--account", setting.lab, "--from", setting.other)["claims"]
    assert [(c["paid"], c["recipient"], c["first"]) for c in claims] == [
        (str(pot * 70 // 100), setting.lab, True)
    ]
    assert setting.token.functions.balanceOf(setting.lab).call() == pot * 70 // 100
    without_a_ledger = ["--contract", setting.splitter.address, "--ledger", "nowhere"]
    claims = cli.json("claim", *without_a_ledger, "--from", setting.other)["claims"]
    assert [c["paid"] for c in claims] == [str(pot * 30 // 100)]

    proof = cli.json("prove", "b")["file"]
    assert cli.json("verify", proof)["on_chain"] is True


def test_a_party_names_another_recipient_and_nobody_else_may(setting: Setting) -> None:
    cli = setting.cli
    cli.ok("import", setting.calls("day2.csv", [("d", "acme", 1000, 1000)]), "--map", MAP)
    cli.ok("seal")
    time.sleep(1)  # statements of one account are a second apart
    cli.ok("statement", "--keystore", "meter.json")
    cli.ok("settle", "--from", setting.other)
    line = cli.refused("claim", "--account", setting.lab, "--to", setting.other, "--from", setting.other)
    assert setting.other in line
    claims = cli.json("claim", "--to", setting.other, "--from", setting.lab)["claims"]
    assert claims[0]["recipient"] == setting.other


def test_a_payer_thaws_and_withdraws_without_any_ledger(setting: Setting) -> None:
    cli = setting.cli
    alone = ["--contract", setting.splitter.address, "--from", setting.acme]
    left = int(cli.json("escrow", setting.acme, "--contract", setting.splitter.address)["balance"])
    assert int(cli.json("thaw", str(left), *alone)["thawing"]) == left
    assert "the thaw ends at" in cli.refused("withdraw", *alone)
    setting.w3.provider.make_request("evm_increaseTime", [61])  # type: ignore[arg-type]
    setting.w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
    before = setting.token.functions.balanceOf(setting.acme).call()
    assert cli.json("withdraw", *alone)["withdrawn"] == str(left)
    assert setting.token.functions.balanceOf(setting.acme).call() == before + left


def test_a_process_of_its_own_does_the_same(setting: Setting) -> None:
    own = Cli(setting.folder, setting.cli.env["METERBRIDGE_RPC"])
    assert own.json("claimable") == setting.cli.json("claimable")
    assert own.refused("seal", "--ledger", "nowhere") == setting.cli.refused("seal", "--ledger", "nowhere")


def test_what_is_wrong_is_said_in_one_line(setting: Setting, tmp_path: Path) -> None:
    cli = setting.cli
    assert "no ledger in nowhere" in cli.refused("seal", "--ledger", "nowhere")
    assert "fits 0 tariffs" in cli.refused("seal", "--tariff", "0xffff")
    assert "does not answer" in cli.refused("claimable", "--rpc", "http://127.0.0.1:1")
    assert "no account 'hooli'" in cli.refused("import", "day1.csv", "--map", MAP, "--payer", "hooli")
    assert "No such file" in cli.refused("verify", "nothing.json")
    wrong = InThisProcess(setting.folder)
    wrong.env["METERBRIDGE_PASSWORD"] = "wrong"
    assert "password" in wrong.refused("statement", "--keystore", "meter.json")
    assert "is no party" in cli.refused("claim", "--account", setting.provider, "--from", setting.other)


def test_a_statement_that_was_changed_is_refused_and_draws_nothing(setting: Setting) -> None:
    cli = setting.cli
    file = sorted((setting.folder / "meterbridge-ledger" / "statements").glob("*.json"))[0]
    statement = json.loads(file.read_text())
    statement["lines"][0]["usage"][0] = str(int(statement["lines"][0]["usage"][0]) + 1)
    forged = setting.folder / "forged.json"
    forged.write_text(json.dumps(statement))
    cli.refused("settle", "--statement", str(forged), "--from", setting.other)
    del statement["digest"]
    forged.write_text(json.dumps(statement))
    cli.refused("settle", "--statement", str(forged), "--from", setting.other)


def test_a_revoked_signer_settles_nothing(setting: Setting) -> None:
    cli = setting.cli
    meter = cli.json("keys", "show", "meter.json")["address"]
    cli.ok("import", setting.calls("day3.csv", [("e", "globex", 10, 10)]), "--map", MAP)
    cli.ok("seal")
    time.sleep(1)
    cli.ok("statement", "--keystore", "meter.json")
    cli.ok("signer", meter, "--until", "0", "--from", setting.provider)
    assert meter in cli.refused("settle", "--from", setting.other)
    cli.ok("signer", meter, "--from", setting.provider)
    cli.ok("settle", "--from", setting.other)


def test_a_statement_that_never_reached_the_chain_is_not_called_settled(setting: Setting) -> None:
    cli = setting.cli
    cli.ok("import", setting.calls("day4.csv", [("f", "globex", 10, 10)]), "--map", MAP)
    cli.ok("seal")
    time.sleep(1)
    cli.ok("statement", "--keystore", "meter.json")  # kept back
    proof = cli.json("prove", "f", "--out", "kept-back.json")["file"]
    assert "never settled" in cli.refused("verify", proof)
    cli.ok("import", setting.calls("day5.csv", [("g", "globex", 10, 10)]), "--map", MAP)
    cli.ok("seal")
    time.sleep(1)
    (later,) = cli.json("statement", "--keystore", "meter.json")["statements"]
    cli.ok("settle", "--statement", later, "--from", setting.other)
    # The account stands at a later time now; the earlier statement is still not what was settled.
    assert "never settled" in cli.refused("verify", proof)
    assert cli.json("verify", cli.json("prove", "g")["file"])["on_chain"] is True


def test_the_same_calls_in_a_renamed_file_are_not_counted_again(setting: Setting) -> None:
    rows = [("h", "acme", 5, 5)]
    (first,) = setting.cli.json("import", setting.calls("may.csv", rows), "--map", MAP)["files"]
    (second,) = setting.cli.json("import", setting.calls("may-2.csv", rows), "--map", MAP)["files"]
    assert (first["added"], second["added"], second["repeated"]) == (1, 0, 1)
    changed = setting.calls("may-3.csv", [("h", "acme", 5, 6)])
    assert "row 2" in setting.cli.refused("import", changed, "--map", MAP)


def test_a_time_to_come_is_not_stated(setting: Setting) -> None:
    line = setting.cli.refused("statement", "--keystore", "meter.json", "--sealed-at", "4294967295")
    assert "future" in line


def test_a_call_of_the_day_after_tomorrow_is_a_bad_row(setting: Setting) -> None:
    name = setting.calls("future.csv", [("i", "acme", 1, 1)])
    file = setting.folder / name
    file.write_text(file.read_text().replace("2026-01-01", "2199-01-01"))
    line = setting.cli.refused("import", name, "--map", MAP)
    assert "row 2" in line
    assert "future" in line
