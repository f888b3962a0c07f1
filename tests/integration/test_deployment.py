"""The contract stands at one address everywhere, and no byte there can differ unnoticed."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rlp
import typer
from typer.testing import CliRunner
from web3 import Web3
from web3.types import RPCEndpoint, RPCResponse

from meterbridge.adapters import deployment
from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.senders import NodeSender
from meterbridge.adapters.chain.splitter import SplitterClient
from meterbridge.adapters.deployment import CodeDiffers, CodeReport, NoFactory, NotDeployed
from meterbridge.adapters.devnet import Devnet, embedded_chain
from meterbridge.adapters.embedded import EmbeddedProvider
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.entrypoints.cli import deployment as deployment_commands
from meterbridge.entrypoints.cli.deploy import deploy as deploy_command

ROOT = Path(__file__).resolve().parents[2]
ANVIL = runpy.run_path(str(ROOT / "tests" / "bench" / "_anvil.py"))
FORGE = runpy.run_path(str(ROOT / "tests" / "bench" / "_forge.py"))
# The first key of anvil's and everybody's test mnemonic, "test test ... junk".
DEV_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"


@pytest.fixture(scope="module")
def embedded() -> Devnet:
    return embedded_chain()


@pytest.fixture(scope="module")
def anvil() -> Iterator[Web3]:
    try:
        ANVIL["find_anvil"]()
    except ANVIL["NoAnvil"] as error:
        pytest.skip(str(error))
    with ANVIL["anvil"]() as w3:
        yield w3


def gateway_to(w3: Web3) -> Gateway:
    return Gateway(w3, NodeSender(Address.parse(w3.eth.accounts[0])))


def url_of(w3: Web3) -> str:
    return str(w3.provider.endpoint_uri)  # type: ignore[attr-defined]


def put(gateway: Gateway, code: bytes) -> Address:
    """Deploy exactly this runtime code: the creation code copies what follows it."""
    creation = bytes.fromhex("61") + len(code).to_bytes(2, "big") + bytes.fromhex("80600a5f395ff3")
    assert len(creation) == 10
    return Address.parse(gateway.wait(gateway.send(None, creation + code))["contractAddress"])


def test_the_factory_is_the_well_known_one() -> None:
    sender = deployment.FACTORY_SENDER.to_bytes()
    assert keccak256(rlp.encode([sender, 0]))[12:] == deployment.FACTORY.to_bytes()
    assert deployment.FACTORY_TRANSACTION.endswith(b"\xa0" + b"\x22" * 32)
    assert deployment.FACTORY_RUNTIME in deployment.FACTORY_TRANSACTION


def test_deploys_at_the_predicted_address_and_puts_the_factory_there(embedded: Devnet) -> None:
    gateway = embedded.gateway()
    assert gateway.code(deployment.FACTORY) == b""
    record = deployment.deploy(gateway)
    assert record.address == str(deployment.predicted_address())
    assert gateway.code(deployment.FACTORY) == deployment.FACTORY_RUNTIME
    assert keccak256(gateway.code(deployment.predicted_address())).hex() == record.runtimeCodeHash[2:]
    again = deployment.deploy(gateway)
    assert (again.address, again.transaction, again.block) == (record.address, None, None)


def test_what_was_deployed_is_the_contract(embedded: Devnet) -> None:
    deployment.deploy(embedded.gateway())
    splitter = SplitterClient(embedded.gateway(), deployment.predicted_address())
    assert splitter.nonce(Address(b"\x07" * 20)) == 0


def test_every_immutable_is_explained_by_the_protocol(embedded: Devnet) -> None:
    deployment.deploy(embedded.gateway())
    report = deployment.check(embedded.gateway())
    assert report.ok
    assert [p.start for p in report.immutables] == [
        s for s, _ in load_artifact("SettlementSplitter").immutable_places
    ]
    known = deployment.meanings(report.chain_id, report.address)
    assert all(known[place.found] == place.meaning for place in report.immutables)


def test_a_copy_created_otherwise_checks_at_its_own_address(embedded: Devnet) -> None:
    splitter = SplitterClient.deploy(embedded.gateway())
    assert splitter.address != deployment.predicted_address()
    assert deployment.check(embedded.gateway(), splitter.address).ok


def report_on(gateway: Gateway, code: bytes) -> CodeReport:
    return deployment.check(gateway, put(gateway, code))


def test_code_of_another_chain_is_refused_and_named(embedded: Devnet) -> None:
    gateway = embedded.gateway()
    foreign = deployment.runtime_code(1, deployment.predicted_address())
    report = report_on(gateway, foreign)
    assert not report.ok
    assert report.only_immutables
    with pytest.raises(CodeDiffers, match="initialised for another chain or address"):
        report.require_ok()


def test_one_changed_byte_is_found_wherever_it_is(embedded: Devnet) -> None:
    gateway = embedded.gateway()
    size = len(load_artifact("SettlementSplitter").runtime)
    for at in (0, 1, size // 3, size // 2, size - 1):
        nonce = gateway.w3.eth.get_transaction_count(gateway.w3.eth.accounts[0])
        raw = rlp.encode([bytes.fromhex(gateway.w3.eth.accounts[0][2:]), nonce])
        here = Address(keccak256(raw)[12:])
        code = bytearray(deployment.runtime_code(gateway.chain_id(), here))
        code[at] ^= 1
        assert put(gateway, bytes(code)) == here
        report = deployment.check(gateway, here)
        assert report.difference == at


def test_longer_and_shorter_code_is_refused(embedded: Devnet) -> None:
    gateway = embedded.gateway()
    own = deployment.runtime_code(gateway.chain_id(), deployment.predicted_address())
    for code in (own + b"\0", own[:-1]):
        assert not report_on(gateway, code).ok


def test_another_contract_is_refused(embedded: Devnet) -> None:
    report = report_on(embedded.gateway(), load_artifact("TestUSD").runtime)
    with pytest.raises(CodeDiffers, match="another source"):
        report.require_ok()


def test_no_code_is_said_so(embedded: Devnet) -> None:
    with pytest.raises(NotDeployed, match="no code at 0x0707"):
        deployment.check(embedded.gateway(), Address(b"\x07" * 20))


class OnlyWithChainId(EmbeddedProvider):
    """A node that refuses transactions without a chain id, as go-ethereum does by default."""

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method == "eth_sendRawTransaction" and params[0] == "0x" + deployment.FACTORY_TRANSACTION.hex():
            message = "only replay-protected (EIP-155) transactions allowed over RPC"
            return {"id": 0, "jsonrpc": "2.0", "error": {"code": -32000, "message": message}}
        return super().make_request(method, params)


def test_a_chain_that_refuses_the_factory_is_told_what_to_do() -> None:
    from eth_tester import EthereumTester, PyEVMBackend

    w3 = Web3(OnlyWithChainId(EthereumTester(PyEVMBackend())))
    with pytest.raises(NoFactory, match="signed without a chain id"):
        deployment.deploy(Gateway(w3, NodeSender(Address.parse(w3.eth.accounts[0])), fixed_gas=16_000_000))


def test_a_record_keeps_what_an_earlier_one_says_of_the_creation(tmp_path: Path) -> None:
    record = deployment.deploy(embedded_chain().gateway())
    assert record.transaction is not None
    path = deployment.write_record(tmp_path / "deployments", record)
    written = json.loads(path.read_text())
    assert path.name == f"{record.chainId}.json"
    again = deployment.DeploymentRecord(**(written | {"transaction": None, "block": None}))
    deployment.write_record(tmp_path / "deployments", again)
    assert json.loads(path.read_text()) == written


@pytest.mark.node
def test_anvil_and_the_embedded_chain_have_it_at_the_same_address(anvil: Web3, embedded: Devnet) -> None:
    gateway = gateway_to(anvil)
    answer = anvil.provider.make_request(RPCEndpoint("anvil_setCode"), [str(deployment.FACTORY), "0x"])
    assert "error" not in answer
    on_anvil, on_embedded = deployment.deploy(gateway), deployment.deploy(embedded.gateway())
    assert on_anvil.chainId != on_embedded.chainId
    assert on_anvil.address == on_embedded.address
    assert on_anvil.runtimeCodeHash != on_embedded.runtimeCodeHash
    assert deployment.check(gateway).ok


@pytest.mark.node
def test_the_commands_deploy_and_check(anvil: Web3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERBRIDGE_PRIVATE_KEY", DEV_KEY)
    app = typer.Typer()
    app.command()(deploy_command)
    folder = tmp_path / "deployments"
    arguments = ["--rpc", url_of(anvil), "--deployments", str(folder), "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = json.loads((folder / "31337.json").read_text())
    answer = json.loads(done.stdout)
    assert written.items() <= answer.items()
    assert answer["codeLimit"] - answer["codeBytes"] > 2_000
    checked = CliRunner().invoke(
        deployment_commands.app, ["check", "--rpc", url_of(anvil), "--json"], catch_exceptions=False
    )
    assert json.loads(checked.stdout)["runtimeCodeHash"] == written["runtimeCodeHash"]
    wrong = CliRunner().invoke(
        deployment_commands.app,
        ["check", "--rpc", url_of(anvil), "--address", str(deployment.FACTORY), "--json"],
    )
    assert wrong.exit_code == 1
    assert json.loads(wrong.stdout)["error"] == "CodeDiffers"


@pytest.mark.node
def test_the_forge_script_gives_the_same_address(anvil: Web3, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("compiling needs Node.js 20 or later")
    with ANVIL["anvil"]() as fresh:
        command = ["script", "contracts/script/Deploy.s.sol:Deploy", "--rpc-url", url_of(fresh)]
        command += ["--broadcast", "--private-key", DEV_KEY]
        done = FORGE["run_forge"](*command, FOUNDRY_BROADCAST=str(tmp_path / "broadcast"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert deployment.check(gateway_to(fresh)).ok
