"""ethers, which shares no code with us, signs what the contract accepts and checks what was signed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Domain, Line, SignedStatement, Statement
from meterbridge.domain.units import UsageVector
from meterbridge.services.exchange import statement_to_json

ROOT = Path(__file__).parents[2]
ETHERS = Path(__file__).parent / "ethers"

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        shutil.which("node") is None or not (ROOT / "node_modules" / "ethers").is_dir(),
        reason="needs Node.js and the packages of package.json: run 'npm ci'",
    ),
]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def statement_file(case: dict[str, Any]) -> dict[str, Any]:
    """A case of the vectors in the form that check-statement.mjs reads."""
    lines = [{"payer": x["payer"], "usage": x["usageWords"], "head": x["head"]} for x in case["lines"]]
    statement = {"tariffId": case["tariffId"], "sealedAt": case["sealedAt"], "lines": lines}
    kept = {key: case[key] for key in ("domain", "signer", "signature", "digest")}
    return {**kept, "statement": statement}


def test_ethers_signs_what_the_contract_accepts() -> None:
    if (
        not (ROOT / "node_modules" / "@foundry-rs" / "anvil-linux-amd64").is_dir()
        and shutil.which("anvil") is None
    ):
        pytest.skip("needs anvil: run 'npm ci', or install Foundry")
    built = run(ROOT / "scripts" / "forge", "build", "contracts")
    assert built.returncode == 0, built.stdout + built.stderr
    found = run("node", "--test", ETHERS / "settlement.test.mjs")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "# pass 5" in found.stdout or "pass 5" in found.stdout, found.stdout


def test_ethers_checks_statement_files(vectors: dict[str, Any], tmp_path: Path) -> None:
    files = []
    for number, case in enumerate(vectors["statements"]):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(statement_file(case)))
    found = run("node", ETHERS / "check-statement.mjs", *files)
    assert found.returncode == 0, found.stderr


def test_ethers_checks_a_statement_that_our_meter_signed(tmp_path: Path) -> None:
    meter, domain = LocalSigner.generate(), Domain(8453, Address(b"\x0c" * 20))
    usage = UsageVector.of([2**63 - 1, -(2**63), 0, -1, 7, 0, 2**53, 1])
    lines = tuple(Line(Address(bytes([n]) * 20), usage, bytes([n]) * 32) for n in (1, 2, 3))
    statement = Statement(b"\xab" * 32, 1_800_000_000, lines)
    signed = SignedStatement(domain, statement, meter.address, meter.sign_digest(statement.digest(domain)))
    ours = statement_to_json(signed)
    as_words = [
        {
            "payer": str(x.payer),
            "usage": [str(word) for word in x.usage.to_words()],
            "head": f"0x{x.head.hex()}",
        }
        for x in lines
    ]
    kept = {key: ours[key] for key in ("domain", "signer", "signature", "digest")}
    stated = {"tariffId": ours["tariffId"], "sealedAt": ours["sealedAt"], "lines": as_words}
    file = tmp_path / "ours.json"
    file.write_text(json.dumps({**kept, "statement": stated}))
    found = run("node", ETHERS / "check-statement.mjs", file)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(("field", "value"), [("signer", "0x" + "11" * 20), ("digest", "0x" + "22" * 32)])
def test_ethers_refuses_another(field: str, value: str, vectors: dict[str, Any], tmp_path: Path) -> None:
    wrong = {**statement_file(vectors["statements"][0]), field: value}
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(wrong))
    found = run("node", ETHERS / "check-statement.mjs", file)
    assert found.returncode == 1
    assert field in found.stderr
    assert value in found.stderr.lower()
