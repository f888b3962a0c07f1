"""The committed artifacts are what the sources compile to, whoever compiles them."""

from __future__ import annotations

import ast
import json
import runpy
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "artifacts"
FORGE = ROOT / "tests" / "bench" / "_forge.py"
needs_compiler = pytest.mark.skipif(
    shutil.which("node") is None or not (ROOT / "node_modules" / "solc").is_dir(),
    reason="compiling needs Node.js and the packages of package.json ('npm ci')",
)


def artifact(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((files("meterbridge.contracts") / f"{name}.json").read_text())
    return loaded


def in_order(abi: list[dict[str, Any]]) -> list[str]:
    """The order of an ABI's entries means nothing, and the two tools differ in it."""
    return sorted(json.dumps(entry, sort_keys=True) for entry in abi)


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd="/")


def test_help_says_what_it_does() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    assert "scripts/artifacts --check" in shown.stdout


@pytest.mark.node
@needs_compiler
def test_committed_artifacts_are_not_stale() -> None:
    checked = run("--check")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.node
@needs_compiler
@pytest.mark.skipif(not (ROOT / "node_modules" / "@foundry-rs").is_dir(), reason="forge is not installed")
def test_forge_makes_the_same_bytes() -> None:
    forge = runpy.run_path(str(FORGE))
    built = forge["run_forge"]("build", "contracts/SettlementSplitter.sol", "contracts/mocks/TestUSD.sol")
    assert built.returncode == 0, built.stdout + built.stderr
    for name in ("SettlementSplitter", "TestUSD"):
        by_forge = json.loads((forge["OUT"] / f"{name}.sol" / f"{name}.json").read_text())
        committed = artifact(name)
        assert committed["bytecode"] == by_forge["bytecode"]["object"]
        assert committed["deployedBytecode"] == by_forge["deployedBytecode"]["object"]
        assert in_order(committed["abi"]) == in_order(by_forge["abi"])
        places = [
            [place["start"], place["length"]]
            for group in by_forge["deployedBytecode"].get("immutableReferences", {}).values()
            for place in group
        ]
        assert committed["immutableReferences"] == sorted(places)


def test_typed_data_are_the_strings_of_the_protocol() -> None:
    # Section 8 of the protocol, letter by letter; LINE is appended to STATEMENT by EIP-712.
    line = "Line(address payer,uint256[2] usage,bytes32 head)"
    source = (files("meterbridge.contracts") / "typed_data.py").read_text()
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert constants == {
        "DOMAIN_TYPE": "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
        "LINE_TYPE": line,
        "STATEMENT_TYPE": f"Statement(bytes32 tariffId,uint64 sealedAt,Line[] lines){line}",
        "CLAIM_AUTHORIZATION_TYPE": (
            "ClaimAuthorization(bytes32 splitId,uint256 offset,address account,address recipient,"
            "uint256 nonce,uint256 deadline)"
        ),
    }


def test_typed_data_follow_the_abi(generator: dict[str, Any]) -> None:
    abi = artifact("SettlementSplitter")["abi"]
    module = generator["typed_data_module"]
    assert module(abi) == (files("meterbridge.contracts") / "typed_data.py").read_text()
    changed = json.loads(json.dumps(abi).replace('"name": "head"', '"name": "tip"'))
    assert "uint256[2] usage,bytes32 tip)" in module(changed)
    renamed = json.loads(json.dumps(abi).replace("struct Statement", "struct Report"))
    with pytest.raises(generator["ArtifactsError"], match=r"no hashStatement\(Statement\)"):
        module(renamed)


def test_structs_of_an_eip712_type_follow_by_name(generator: dict[str, Any]) -> None:
    def struct(name: str, *fields: dict[str, Any], array: str = "") -> dict[str, Any]:
        kind = f"struct {name}{array}"
        return {
            "type": "tuple" + array,
            "internalType": kind,
            "name": name.lower(),
            "components": list(fields),
        }

    number = {"type": "uint256", "internalType": "Assets", "name": "n"}
    # the example of EIP-712: Transaction(Person from,Person to,Asset tx)Asset(...)Person(...)
    outer = struct("Outer", struct("Zebra", number, array="[]"), struct("Apple", struct("Pear", number)))
    found = generator["collect_structs"](outer)
    assert found == {
        "Outer": "Outer(Zebra[] zebra,Apple apple)",
        "Zebra": "Zebra(uint256 n)",
        "Apple": "Apple(Pear pear)",
        "Pear": "Pear(uint256 n)",
    }


def test_stale_artifacts_are_noticed(
    generator: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("SettlementSplitter.json", "TestUSD.json", "typed_data.py"):
        (tmp_path / name).write_text((files("meterbridge.contracts") / name).read_text())
    committed = {name: (tmp_path / name).read_text() for name in ("SettlementSplitter.json", "TestUSD.json")}
    main = generator["main"]
    compiled = {"SettlementSplitter": {"abi": artifact("SettlementSplitter")["abi"]}}
    monkeypatch.setitem(main.__globals__, "OUTPUT", tmp_path)
    monkeypatch.setitem(main.__globals__, "ROOT", tmp_path.parent)
    monkeypatch.setitem(main.__globals__, "compile_contracts", lambda _native: compiled)
    monkeypatch.setitem(
        main.__globals__, "artifact_json", lambda name, _source, _contract: committed[f"{name}.json"]
    )
    monkeypatch.setitem(compiled, "TestUSD", {})
    assert main(["--check"]) == 0
    (tmp_path / "TestUSD.json").write_text(committed["TestUSD.json"].replace("TestUSD", "TestEUR", 1))
    assert main(["--check"]) == 1
    assert "TestUSD.json is stale: run scripts/artifacts" in capsys.readouterr().err
    assert main([]) == 0
    assert (tmp_path / "TestUSD.json").read_text() == committed["TestUSD.json"]
    assert main(["--check"]) == 0


def test_accounts_take_one_slot() -> None:
    structs = artifact("SettlementSplitter")["storageLayout"]["structs"]
    for name in ("struct Account", "struct Stake"):
        assert {member["slot"] for member in structs[name]} == {0}


@pytest.mark.parametrize("name", ["SettlementSplitter", "TestUSD"])
def test_nothing_of_this_machine_is_in_an_artifact(name: str) -> None:
    assert str(ROOT) not in (files("meterbridge.contracts") / f"{name}.json").read_text()
