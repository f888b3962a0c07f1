"""`meterbridge devnet`: a chain that is ready, stops when told, and goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from web3 import HTTPProvider, Web3

from .conftest import ROOT, Cli

TRANSFER = Web3.keccak(text="Transfer(address,address,uint256)")
ERC20 = [
    {"type": "function", "name": "balanceOf", "stateMutability": "view",
     "inputs": [{"name": "a", "type": "address"}], "outputs": [{"name": "", "type": "uint256"}]},
    {"type": "function", "name": "transfer", "stateMutability": "nonpayable",
     "inputs": [{"name": "to", "type": "address"}, {"name": "n", "type": "uint256"}],
     "outputs": [{"name": "", "type": "bool"}]},
]  # fmt: skip
MILLION = 1_000_000 * 10**6
TERMS = {
    "meterbridge": 1,
    "name": "A model",
    "currency": {"symbol": "TUSD", "decimals": 6},
    "meters": [{"name": "input", "buckets": ["input"], "price": "2.00", "per": 1000000}],
    "text": "Per million tokens.",
}


class Devnet:
    """One run of the command."""

    def __init__(self, cli: Cli, *arguments: str) -> None:
        self.process = cli.start("devnet", "--json", "--port", "0", *arguments)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("{"):
            self.stop()
            raise AssertionError(self.err)
        self.said: dict[str, Any] = json.loads(line)
        self.w3 = Web3(HTTPProvider(self.said["rpc"]))
        self.token = self.w3.eth.contract(self.said["token"], abi=ERC20)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, self.err = self.process.communicate(timeout=300)
        return self.process.returncode

    def listens(self) -> bool:
        port = int(self.said["rpc"].rsplit(":", 1)[1])
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["embedded", pytest.param("anvil", marks=pytest.mark.node)])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "anvil" and shutil.which("anvil") is None:
        package = ROOT / "node_modules"
        if not (package / "@foundry-rs" / "anvil-linux-amd64").exists():
            pytest.skip("no anvil: run 'npm ci --ignore-scripts' (Linux, amd64), or install Foundry")
        (tmp_path / "node_modules").symlink_to(package)
    return str(request.param)


@pytest.fixture
def runs(cli: Cli, kind: str) -> Iterator[Any]:
    started: list[Devnet] = []

    def start(*arguments: str) -> Devnet:
        started.append(Devnet(cli, "--node", kind, "--state", "state", *arguments))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_goes_on_with_the_same_chain(cli: Cli, kind: str, runs: Any) -> None:
    first = runs()
    assert first.said["node"] == kind
    a, b, *others = first.said["accounts"]
    assert len(others) == 8
    for account in (a, b, *others):
        assert first.token.functions.balanceOf(account).call() == MILLION
        assert first.w3.eth.get_balance(account) > 10**18
    assert first.w3.eth.chain_id == first.said["chainId"]
    sent = first.token.functions.transfer(b, 7).transact({"from": a})
    block = first.w3.eth.wait_for_transaction_receipt(sent)["blockNumber"]
    assert first.stop() == 0
    assert not first.listens()

    again = runs()
    for name in ("chainId", "splitter", "token", "fromBlock", "accounts", "node"):
        assert again.said[name] == first.said[name]
    assert again.w3.eth.block_number == block, "nothing is deployed or minted a second time"
    assert again.token.functions.balanceOf(b).call() == MILLION + 7
    logs = again.w3.eth.get_logs(
        {"address": again.said["token"], "topics": [TRANSFER], "fromBlock": block, "toBlock": block}
    )
    assert [log["transactionHash"] for log in logs] == [sent]
    again.token.functions.transfer(a, 7).transact({"from": b})
    assert again.token.functions.balanceOf(b).call() == MILLION
    assert again.stop(signal.SIGTERM) == 0
    assert not again.listens()


def test_commands_work_against_it(cli: Cli, runs: Any) -> None:
    net = runs()
    provider, payer, model, data = net.said["accounts"][:4]
    parties = [{"account": model, "role": 1, "share": "70"}, {"account": data, "role": 3, "share": "30"}]
    (cli.folder / "parties.json").write_text(json.dumps(parties))
    (cli.folder / "terms.json").write_text(json.dumps(TERMS))
    rpc, contract = ("--rpc", net.said["rpc"]), ("--contract", net.said["splitter"])
    made = cli.json(
        "init", *rpc, *contract, "--asset", net.said["token"], "--parties", "parties.json",
        "--terms", "terms.json", "--from", provider,
    )  # fmt: skip
    tariff = ("--tariff", made["tariff"])
    cli.ok("deposit", "25000000", *rpc, *contract, *tariff, "--from", payer)
    assert net.token.functions.balanceOf(net.said["splitter"]).call() == 25_000_000
    refused = cli.refused("withdraw", *rpc, *contract, *tariff, "--from", payer)
    assert "thaw" in refused.lower(), "a revert arrives over HTTP as the contract meant it"


def test_a_folder_is_for_one_devnet_and_one_kind_of_node(cli: Cli, kind: str, runs: Any) -> None:
    net = runs()
    assert "another devnet runs" in cli.refused("devnet", "--node", kind, "--port", "0", "--state", "state")
    port = net.said["rpc"].rsplit(":", 1)[1]
    assert f"port {port}" in cli.refused("devnet", "--node", kind, "--port", port, "--state", "other")
    assert net.stop() == 0
    other = {"anvil": "embedded", "embedded": "anvil"}[kind]
    refused = cli.refused("devnet", "--node", other, "--port", "0", "--state", "state")
    assert f"--node {kind}" in refused


def children_of(process: subprocess.Popen[str]) -> list[str]:
    command = ["ps", "-o", "pid=", "--ppid", str(process.pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def test_loses_nothing_and_leaves_nothing_behind_when_killed(cli: Cli, kind: str, runs: Any) -> None:
    """The embedded chain writes after each request; anvil writes when it is told that its parent died."""
    net = runs()
    a, b = net.said["accounts"][:2]
    net.token.functions.transfer(b, 5).transact({"from": a})
    children = children_of(net.process)
    assert len(children) == (1 if kind == "anvil" else 0)
    assert net.stop(signal.SIGKILL) == -signal.SIGKILL
    again = Devnet(cli, "--state", "state")  # at once: it waits until the folder is let go
    try:
        assert again.said["node"] == kind
        assert again.token.functions.balanceOf(b).call() == MILLION + 5
        deadline = time.monotonic() + 30
        while any(map(runs_still, children)) and time.monotonic() < deadline:
            time.sleep(0.05)  # it let the folder go as one of the last things it did
        assert not any(map(runs_still, children))
    finally:
        assert again.stop() == 0


def runs_still(pid: str) -> bool:
    """Say whether a process runs; one that ended may wait for whoever took it over to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_half_a_state_is_no_loss_of_the_rest(cli: Cli, kind: str, runs: Any) -> None:
    """Both killed at once, in the middle of anvil's writing: the last whole copy is taken."""
    if kind != "anvil":
        pytest.skip("the embedded chain's database is never half written")
    net = runs()
    a, b = net.said["accounts"][:2]
    net.token.functions.transfer(b, 5).transact({"from": a})
    state, copy = cli.folder / "state" / "anvil.json", cli.folder / "state" / "anvil-last-whole.json"
    deadline = time.monotonic() + 180
    while not (copy.exists() and copy.read_bytes() == state.read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    block = net.w3.eth.block_number
    children = children_of(net.process)
    net.process.send_signal(signal.SIGSTOP)  # so that it cannot end its child in order
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)
    net.stop(signal.SIGKILL)
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    again = runs()
    assert again.said["splitter"] == net.said["splitter"]
    assert again.w3.eth.block_number == block
    assert again.token.functions.balanceOf(b).call() == MILLION + 5


def test_answers_odd_requests_as_a_node_does(cli: Cli) -> None:
    net = Devnet(cli, "--node", "embedded", "--state", "state")
    url = net.said["rpc"]
    try:
        call = {"jsonrpc": "2.0", "id": 5, "method": "eth_chainId", "params": []}
        assert requests.post(url, json=call).json() == {
            "jsonrpc": "2.0", "id": 5, "result": hex(net.said["chainId"]),
        }  # fmt: skip
        both = requests.post(url, json=[call, {**call, "id": 6, "method": "eth_nonsense"}]).json()
        assert [each["id"] for each in both] == [5, 6]
        assert both[1]["error"]["code"] == -32601
        assert requests.post(url, json=[]).json()["error"]["code"] == -32600
        text = {"Content-Type": "text/plain"}
        assert requests.post(url, data=json.dumps(call), headers=text).status_code == 415
        kind = {"Content-Type": "application/json"}
        assert requests.post(url, data="{", headers=kind).json()["error"]["code"] == -32700
        bad = requests.post(
            url, json={**call, "method": "eth_getBalance", "params": ["0x12", "latest"]}
        ).json()
        assert bad["id"] == 5
        assert "error" in bad
        assert requests.get(url).status_code == 501
    finally:
        assert net.stop() == 0


def test_anvil_is_asked_for_where_there_is_none(cli: Cli) -> None:
    cli.env["PATH"] = str(cli.folder)
    assert "anvil is not installed" in cli.refused("devnet", "--node", "anvil", "--port", "0")


def test_no_process_is_left_behind(cli: Cli, kind: str, runs: Any) -> None:
    net = runs()
    children = children_of(net.process)
    assert len(children) == (1 if kind == "anvil" else 0)
    assert net.stop() == 0
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
