"""docs/operations.md: every command shown is run, every name in it exists, and none is missing."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from web3 import HTTPProvider, Web3

from meterbridge.adapters.webhooks import verify_webhook

from .conftest import ANVIL, ROOT, Cli, InThisProcess

pytestmark = pytest.mark.node
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECRET = "a secret of the tests, long enough"
TERMS = {
    "meterbridge": 1,
    "name": "A model",
    "currency": {"symbol": "TUSD", "decimals": 6},
    "meters": [{"name": "input", "buckets": ["input"], "price": "1.00", "per": 1_000_000}],
    "text": "One base unit a token.",
}
MAP = "id=request_id time=ts payer=customer input=prompt"


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


class Office:
    """A provider's folder with a ledger, on a node, and everything that the page's commands name."""

    def __init__(self, folder: Path, rpc: str) -> None:
        self.w3 = Web3(HTTPProvider(rpc))
        self.accounts = list(self.w3.eth.accounts)
        self.folder, self.calls, self.rpc = folder, 0, rpc
        self.cli = InThisProcess(folder, rpc)
        self.cli.env["METERBRIDGE_WEBHOOK_SECRET"] = SECRET
        self.keys = {
            name: self.cli.json("keys", "new", f"{name}.json")["address"]
            for name in ("gas", "provider", "meter")
        }
        for name in ("gas", "provider"):
            self.w3.provider.make_request("anvil_setBalance", [self.keys[name], hex(10**20)])
        self.token, self.splitter = self.deploy("TestUSD"), self.deploy("SettlementSplitter")
        (folder / "terms.json").write_text(json.dumps(TERMS))
        parties = [{"account": self.accounts[5], "role": 1, "share": "1"}]
        (folder / "parties.json").write_text(json.dumps(parties))
        (folder / "my-chains.toml").write_text('[mine]\ntitle = "Mine"\nlike = "base"\nchain_ids = [4711]\n')
        self.payer = self.accounts[1]
        at = ["--contract", self.splitter.address, "--asset", self.token.address]
        files = ["--parties", "parties.json", "--terms", "terms.json", "--thaw-period", "3600"]
        self.cli.ok("init", *at, *files, "--keystore", "provider.json")
        self.cli.ok("signer", self.keys["meter"], "--keystore", "provider.json")
        self.cli.ok("account", "add", self.payer, "--customer", "acme")
        self.token.functions.mint(self.payer, 10**9).transact({"from": self.payer})
        self.cli.ok("deposit", "1000", "--from", self.payer)

    def deploy(self, name: str) -> Any:
        artifact = json.loads((ROOT / "src/meterbridge/contracts" / f"{name}.json").read_text())
        contract = self.w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        sent = contract.constructor().transact({"from": self.accounts[0]})
        address = self.w3.eth.wait_for_transaction_receipt(sent)["contractAddress"]
        return self.w3.eth.contract(address, abi=artifact["abi"])

    def use(self, tokens: int) -> None:
        """Count, seal and sign; statements of one account are a second apart."""
        self.calls += 1
        name = f"calls{self.calls}.csv"
        row = f"r{self.calls},2026-01-01T00:00:00Z,acme,{tokens}\n"
        (self.folder / name).write_text("request_id,ts,customer,prompt\n" + row)
        self.cli.ok("import", name, "--map", MAP)
        self.cli.ok("seal")
        time.sleep(1.1)
        self.cli.ok("statement", "--keystore", "meter.json")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, anvil_rpc: str) -> Office:
    return Office(tmp_path_factory.mktemp("office"), anvil_rpc)


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A real HTTP server that fails once, then takes what verifies."""
    messages: list[dict[str, Any]] = []
    failed: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            verify_webhook(SECRET, dict(self.headers.items()), body)
            status = 200 if failed else 500
            failed.append(status)
            if status == 200:
                messages.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", messages
    server.shutdown()
    server.server_close()


def free_port() -> int:
    port: int = runpy.run_path(str(ANVIL))["free_port"]()
    return port


def stop(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler of its own for a signal."""
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert caught is not None
    return bool(int(caught[1], 16) >> (number - 1) & 1)


def metrics(port: int) -> dict[str, Any]:
    deadline = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                text = answer.read().decode()
            return {family.name: family.samples for family in text_string_to_metric_families(text)}
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_watching_tells_of_a_thaw_by_webhook_and_metric_until_it_is_settled(
    office: Office, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    """The page's own command for watching, with a receiver that fails at first.

    An hour is the thaw; half of it is over, and the statement was signed when it began: nobody settles.
    """
    url, messages = receiver
    line = next(one for one in commands() if one.startswith("meterbridge watch --webhook"))
    port = free_port()
    line = line.replace("https://alerts.example/hook", url).replace("9109", str(port))
    office.cli.ok("settle", "--keystore", "gas.json")
    office.cli.ok("thaw", "600", "--from", office.payer)
    office.use(150)
    office.w3.provider.make_request("evm_increaseTime", [1900])
    office.w3.provider.make_request("evm_mine", [])
    outside = Cli(office.folder, office.rpc)
    outside.env = office.cli.env
    process = outside.start(*shlex.split(line)[1:], "--every", "1")
    try:
        found = metrics(port)
        alerts = {
            (s.labels["guard"], s.labels["severity"]): s.value for s in found["meterbridge_alerts_open"]
        }
        assert {key for key, count in alerts.items() if count} == {
            ("thaw", "critical"),
            ("queue", "critical"),
        }
        (due,) = found["meterbridge_unsettled_base_units"]
        assert due.value == 150
        assert found["meterbridge_followed_block"][0].value == office.w3.eth.block_number
        office.cli.ok("settle", "--keystore", "gas.json", "--minimum", "0")
        deadline = time.monotonic() + 300
        while sorted(m["type"] for m in messages) != ["alert.opened"] * 2 + ["alert.resolved"] * 2:
            assert time.monotonic() < deadline, messages
            time.sleep(0.2)
    finally:
        code, out, err = stop(process)
    assert code == 0, err
    assert "Metrics at" in out
    assert "ERROR alert opened: thaw" in err
    assert "a notice was not received" in err
    assert "INFO alert resolved: thaw" in err
    (opened,) = [m for m in messages if (m["guard"], m["type"]) == ("thaw", "alert.opened")]
    assert (opened["severity"], opened["amount"]) == ("critical", "150")
    assert url not in err


KEPT_ON = ("meterbridge settle --watch", "meterbridge watch --webhook", "meterbridge devnet", "curl ")


@pytest.mark.parametrize("line", [c for c in dict.fromkeys(commands()) if not c.startswith(KEPT_ON)])
def test_each_command_of_the_page_runs(office: Office, line: str) -> None:
    line = line.replace("METER_ADDRESS", office.keys["meter"])
    line = line.replace("LEAKED_ADDRESS", office.accounts[7])
    code, out, err = office.cli.run(*shlex.split(line)[1:])
    assert code in (0, 3 if "--strict" in line else 0), f"{line}\n{out}\n{err}"
    if "--json" in line:
        assert json.loads(out.splitlines()[-1])["ok"] is True


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith(KEPT_ON[0])])
def test_the_settler_keeps_on(office: Office, line: str) -> None:
    outside = Cli(office.folder, office.rpc)
    process = outside.start(*shlex.split(line)[1:])
    deadline = time.monotonic() + 300
    while not catches(process.pid, signal.SIGTERM):  # then it has begun
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert stop(process)[0] == 0


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith(KEPT_ON[2])])
def test_the_devnet_runs(cli: Cli, line: str) -> None:
    process = cli.start(*shlex.split(line)[1:], "--json", "--port", "0", "--node", "embedded")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["accounts"]
    assert stop(process)[0] == 0


def test_exit_codes_say_what_was_found(office: Office) -> None:
    cli = office.cli
    cli.ok("settle", "--keystore", "gas.json", "--minimum", "0")
    assert cli.run("reconcile", "--strict")[0] == 0
    office.use(20)
    assert cli.run("reconcile")[0] == 0
    code, out, _ = cli.run("reconcile", "--strict", "--json")
    assert code == 3
    assert json.loads(out)["contracts"][0]["open"][0]["amount"] == "20"
    cli.ok("signer", office.keys["meter"], "--until", "0", "--keystore", "provider.json")
    code, out, _ = cli.run("watch", "--once", "--json")
    assert code == 2
    (alert,) = [a for a in json.loads(out)["contracts"][0]["alerts"] if a["guard"] == "signer"]
    assert "revoked" in alert["message"]
    cli.ok("signer", office.keys["meter"], "--keystore", "provider.json")
    cli.ok("settle", "--keystore", "gas.json", "--minimum", "0")
    segment = next((office.folder / "meterbridge-ledger" / "segments").rglob("*.parquet"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:100])
    code, out, _ = cli.run("reconcile", "--json")
    assert code == 2
    assert [d["name"] for d in json.loads(out)["contracts"][0]["differences"]] == ["segment-damaged"]
    assert cli.run("reconcile", "--fast")[0] == 0
    segment.write_bytes(whole)
    assert cli.run("reconcile", "--strict")[0] == 0


def test_what_cannot_be_is_refused_in_one_line(office: Office) -> None:
    cli = office.cli
    assert "no limit 'stalled'" in cli.refused("watch", "--once", "--set", "stalled=5")
    assert "no profile 'bse'" in cli.refused("reconcile", "--profile", "bse")
    assert "must use https" in cli.refused("watch", "--once", "--webhook", "http://alerts.example/x")
    cli.env = {k: v for k, v in cli.env.items() if k != "METERBRIDGE_WEBHOOK_SECRET"}
    cli.env["METERBRIDGE_WEBHOOK_SECRET"] = ""
    assert "WEBHOOK_SECRET" in cli.refused("watch", "--once", "--webhook", "https://alerts.example/x")


def test_every_name_in_the_code_is_on_the_page() -> None:
    """Guards, limits, differences, open items, metrics, states: whatever is shown is explained."""
    import dataclasses

    from meterbridge.services.following import guards
    from meterbridge.services.following.reconcile_chain import NAMES
    from meterbridge.services.settling.records import DeliveryState

    source = ROOT / "src/meterbridge/services/following"
    code = "".join(file.read_text() for file in source.glob("*.py"))
    names = set(re.findall(r'Item\(\s*"([a-z-]+)"', code)) | {f"chain-{name}" for name in NAMES.values()}
    names |= {f"ledger-{name}" for name in ("balance", "settled", "pot", "claims")}
    names |= {*guards.LEDGER_GUARDS, guards.FOLLOWING, *(state.value for state in DeliveryState)}
    names |= {field.name for field in dataclasses.fields(guards.Limits)}
    names |= set(re.findall(r'"(meterbridge_[a-z_]+)"', code))
    assert len(names) > 40
    missing = {name for name in names if f"`{name}`" not in PAGE and f"`{name}{{" not in PAGE}
    assert not missing


def test_every_anchor_on_the_page_leads_somewhere() -> None:
    titles = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= titles
