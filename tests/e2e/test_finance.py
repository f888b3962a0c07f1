"""Money, time and names as finance people write and read them; machines get base units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters.devnet_nodes import ANVIL, EMBEDDED, find_anvil, local_node, prepare

from .conftest import ROOT, InThisProcess

LAB_NAME = "Model lab Ltd."


class Books:
    """A ledger on a devnet, with a named party and a payer."""

    def __init__(self, folder: Path, rpc: str, devnet: Any) -> None:
        self.cli, self.devnet, self.rpc = InThisProcess(folder, rpc), devnet, rpc
        self.provider, self.payer, self.lab, self.host = devnet.accounts[:4]
        parties = [
            {"account": self.lab, "role": 1, "share": "2"},
            {"account": self.host, "role": 2, "share": "1"},
        ]
        terms = {
            "meterbridge": 1,
            "name": "A model",
            "currency": {"symbol": "TUSD", "decimals": 6},
            "meters": [{"name": "input", "buckets": ["input"], "price": "2.00", "per": 1000000}],
            "text": "Two in.",
            "parties": [{"account": self.lab, "name": LAB_NAME}],
        }
        (folder / "parties.json").write_text(json.dumps(parties))
        (folder / "terms.json").write_text(json.dumps(terms))
        self.cli.ok("keys", "new", "meter.json")
        where = ["--contract", devnet.splitter, "--asset", devnet.token, "--from", self.provider]
        self.cli.ok("init", *where, "--parties", "parties.json", "--terms", "terms.json")
        self.cli.ok("account", "add", self.payer, "--customer", "acme")


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("finance")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # where npm has put anvil
        kind = ANVIL if find_anvil() else EMBEDDED
        with local_node(kind, 0, folder / "devnet") as node:
            yield Books(folder, node.url, prepare(node, kind, folder / "devnet"))


def test_amounts_are_read_and_shown_in_the_tokens_own_decimals(books: Books) -> None:
    cli = books.cli
    said = cli.ok("deposit", "12.50", "--from", books.payer)
    assert "12.500000 TUSD" in said
    assert "12500000 base units" in said
    done = cli.json("deposit", "1,000.25 TUSD", "--from", books.payer)
    assert (done["deposited"], done["balance"]) == ("1000250000", "1012750000")
    assert done["asset"] == {"address": books.devnet.token, "symbol": "TUSD", "decimals": 6}
    assert cli.json("deposit", "5000000", "--from", books.payer)["deposited"] == "5000000"
    assert cli.json("deposit", "5", "--base-units", "--from", books.payer)["deposited"] == "5"
    shown = cli.ok("escrow", "acme")
    assert "1,017.750005 TUSD" in shown
    assert "1017750005" in shown


def test_an_amount_that_could_be_meant_otherwise_is_not_guessed(books: Books) -> None:
    cli = books.cli
    _, _, warned = cli.run("deposit", "25", "--from", books.payer)
    assert "0.000025 TUSD" in warned.replace("\n", " ")
    assert "25.0" in warned
    for amount, why in (
        ("12.5000001", "7 digits behind the point"),
        ("1,5", "is no amount"),
        ("12.50 USDC", "amounts here are in"),
        ("1e6", "is no amount"),
    ):
        assert why in cli.refused("deposit", amount, "--from", books.payer)
    assert "no whole number" in cli.refused("deposit", "12.50", "--base-units", "--from", books.payer)


def test_times_are_read_and_shown_as_dates(books: Books) -> None:
    cli = books.cli
    meter = cli.json("keys", "show", "meter.json")["address"]
    done = cli.json("signer", meter, "--until", "2030-01-01", "--from", books.provider)
    assert done["until"] == "1893456000"  # date -u -d 2030-01-01 +%s
    said = cli.ok("signer", meter, "--until", "2030-01-01T01:00:00+01:00", "--from", books.provider)
    assert "until 2030-01-01T00:00:00Z (1893456000)" in said
    assert "for ever" in cli.ok("signer", meter, "--from", books.provider)
    assert "time zone" in cli.refused(
        "signer", meter, "--until", "2030-01-01T00:00:00", "--from", books.provider
    )
    said = cli.ok("thaw", "1.00", "--from", books.payer)
    assert "1.000000 TUSD (1000000 base units)" in said
    assert "Z (" in said
    assert "Nothing is thawing" in cli.ok("thaw", "0", "--from", books.payer)


def test_parties_have_names_and_shares_have_per_cents(books: Books) -> None:
    said = books.cli.ok("claimable")
    assert f"{LAB_NAME} {books.lab[:6]}…{books.lab[-4:]}" in said
    assert books.host in said  # nobody has named it
    assert "~66.66 %" in said
    parties = books.cli.json("claimable")["parties"]
    assert [(p["name"], p["share"]) for p in parties] == [(LAB_NAME, "2"), (None, "1")]
    # Without a ledger, only a tariff that is named gives names: anyone may publish one for any split.
    alone = ["--contract", books.devnet.splitter, "--ledger", "nowhere"]
    assert LAB_NAME not in books.cli.ok("claimable", *alone)
    tariff = books.cli.json("init", *_init(books))["tariff"]
    assert LAB_NAME in books.cli.ok("claimable", *alone, "--tariff", tariff)


def _init(books: Books) -> list[str]:
    where = ["--contract", books.devnet.splitter, "--asset", books.devnet.token, "--from", books.provider]
    return [*where, "--parties", "parties.json", "--terms", "terms.json"]


def test_a_statement_shows_its_price_and_its_time(books: Books) -> None:
    cli = books.cli
    log = cli.folder / "calls.csv"
    log.write_text("id,time,payer,input\na,2026-01-01T00:00:00Z,acme,1250000\n")
    cli.ok("import", "calls.csv", "--map", "id=id time=time payer=payer input=input")
    cli.ok("seal")
    assert "future" in cli.refused("statement", "--keystore", "meter.json", "--sealed-at", "2099-01-01")
    said = cli.ok("statement", "--keystore", "meter.json", "--sealed-at", "2026-01-02T00:00:00Z")
    assert "2.500000" in said
    assert "2026-01-02T00:00:00Z (1767312000)" in " ".join(said.split())
    drawn = " ".join(cli.ok("settle", "--from", books.host).split())
    assert "drawn, TUSD" in drawn
    assert "acme 2.500000 0.000000" in drawn
    proof = cli.json("prove", "a", "--out", "proof.json")["file"]
    shown = " ".join(cli.ok("verify", proof).split())
    assert "2.500000 TUSD (2500000 base units)" in shown
    assert LAB_NAME in shown
    (found,) = cli.json("verify", proof)["proofs"]
    assert (found["price"], found["part"]) == ("2500000", str(2_500_000 * 2 // 3))


def test_a_payer_proves_its_bill_from_what_was_handed_over(books: Books) -> None:
    cli = books.cli
    assert f"--payer {books.payer}" in cli.ok("hand-over", "acme", "for-acme")
    arguments = ["bill", "for-acme", "--payer", books.payer]
    shown = " ".join(cli.ok(*arguments).split())
    for row in (
        "calls proven 1",
        "input 1,250,000",
        "price of all of it 2.500000 TUSD",
        "still due 0.000000",
    ):
        assert row in shown
    assert "calls made 2026-01-01 to 2026-01-01" in shown
    found = cli.json(*arguments)
    assert (found["price"], found["drawn"], found["due"]) == ("2500000", "2500000", "0")
    assert int(found["deposited"]) == int(found["balance"]) + 2_500_000
    (segment,) = (cli.folder / "for-acme").rglob("*.parquet")
    segment.unlink()
    assert "never to what was signed" in cli.refused(*arguments)
    assert "holds no statement about" in cli.refused("bill", "for-acme", "--payer", books.host)


def test_terms_with_a_name_that_looks_like_an_address_are_refused(books: Books) -> None:
    file = books.cli.folder / "terms.json"
    terms = json.loads(file.read_text())
    terms["parties"][0]["name"] = books.host
    (books.cli.folder / "bad.json").write_text(json.dumps(terms))
    arguments = [*_init(books)[:-1], "bad.json"]
    assert "looks like an address" in books.cli.refused("init", *arguments)
    terms["parties"] = []
    terms["currency"]["decimals"] = 18
    (books.cli.folder / "bad.json").write_text(json.dumps(terms))
    assert "18 decimals" in books.cli.refused("init", *arguments, "--scale", "0")


def test_a_lost_database_is_rebuilt_and_takes_nobody_elses_statements(books: Books) -> None:
    cli = books.cli
    folder = cli.folder / "meterbridge-ledger"
    before = sorted(file.name for file in (folder / "statements").iterdir())
    assert before, "an earlier test of this module has stated something"
    for file in folder.glob("ledger.db*"):
        file.unlink()
    del cli.env["METERBRIDGE_RPC"]
    try:
        assert "nobody says that" in cli.refused("rebuild")
        meter = cli.json("keys", "show", "meter.json")["address"]
        assert meter in cli.refused("rebuild", "--signer", "0x" + "11" * 20)
        report = cli.json("rebuild", "--signer", meter)
        assert (report["receipts"], report["statements"]) == (1, len(before))
        assert cli.json("rebuild", "--signer", meter)["statements"] == 0
    finally:
        cli.env["METERBRIDGE_RPC"] = books.rpc
    assert cli.json("rebuild")["receipts"] == 0  # the contract says who may sign
    (again,) = cli.json("import", "calls.csv", "--map", "id=id time=time payer=payer input=input")["files"]
    assert (again["added"], again["repeated"]) == (0, 1)
