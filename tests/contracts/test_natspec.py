"""The interface says what each function, event and error is, and what its parameters and results mean."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INTERFACE = "contracts/interfaces/ISettlementSplitter.sol"
NAME = "ISettlementSplitter"
IMPORT = re.compile(r'^(?:import|\}).*?"([^"]+)";', re.MULTILINE)
# What the interface takes over from ERC-5267 is documented there.
INHERITED = {"eip712Domain", "EIP712DomainChanged"}

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        shutil.which("node") is None or not (ROOT / "node_modules" / "solc").is_dir(),
        reason="needs Node.js and the packages of package.json: run 'npm ci'",
    ),
]


def sources_of(path: str, found: dict[str, str]) -> dict[str, str]:
    """Return a source and all that it imports, by the names that the compiler looks for."""
    if path not in found:
        found[path] = (ROOT / re.sub(r"^@", "node_modules/@", path)).read_text(encoding="utf-8")
        for target in IMPORT.findall(found[path]):
            near = (Path("/") / path).parent / target
            sources_of(str(near.resolve()).lstrip("/") if target.startswith(".") else target, found)
    return found


def documented(text: str) -> dict[str, Any]:
    """Compile the interface, its source being `text`, to its ABI and documentation."""
    sources = sources_of(INTERFACE, {}) | {INTERFACE: text}
    request = {
        "language": "Solidity",
        "sources": {path: {"content": content} for path, content in sources.items()},
        "settings": {"outputSelection": {INTERFACE: {NAME: ["abi", "devdoc", "userdoc"]}}},
    }
    done = subprocess.run(
        [ROOT / "scripts" / "solc", "--standard-json"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    output = json.loads(done.stdout)
    assert "contracts" in output, output["errors"]
    found: dict[str, Any] = output["contracts"][INTERFACE][NAME]
    return found


def type_of(parameter: dict[str, Any]) -> str:
    """Return a parameter's type as it stands in signatures."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(type_of, parameter['components']))}){kind.removeprefix('tuple')}"


def one_of(kinds: dict[str, Any], signature: str) -> dict[str, Any]:
    """Return the documentation of a signature; that of errors is a list."""
    found = kinds.get(signature, {})
    return dict(found[0] if isinstance(found, list) else found)


def missing(contract: dict[str, Any]) -> tuple[list[str], int]:
    """Return what is not documented, and how many things were looked at."""
    lacking, looked_at = [], 0
    for item in contract["abi"]:
        if item["name"] in INHERITED:
            continue
        kind = {"function": "methods", "event": "events", "error": "errors"}[item["type"]]
        signature = f"{item['name']}({','.join(map(type_of, item['inputs']))})"
        user = one_of(contract["userdoc"].get(kind, {}), signature)
        dev = one_of(contract["devdoc"].get(kind, {}), signature)
        results = [result["name"] or f"_{place}" for place, result in enumerate(item.get("outputs", []))]
        wanted = [("notice", user.get("notice"))]
        wanted += [(entry["name"], dev.get("params", {}).get(entry["name"])) for entry in item["inputs"]]
        wanted += [(f"returns {name}", dev.get("returns", {}).get(name)) for name in results]
        lacking += [f"{signature}: {what}" for what, said in wanted if not said]
        looked_at += len(wanted)
    return lacking, looked_at


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / INTERFACE).read_text(encoding="utf-8")


def test_everything_on_the_interface_is_documented(text: str) -> None:
    lacking, looked_at = missing(documented(text))
    assert looked_at > 250
    assert not lacking


def test_what_is_left_out_is_noticed(text: str) -> None:
    left_out = {
        "@param v Of the permit's signature.": "depositWithPermit",
        "@return `keccak256(abi.encode(split))`": "splitId",
        "@param room Base units that still fit.": "AccountFull",
        "@param uri Where its parties are said to be found.": "SplitAnnounced",
        "@notice No tree stands over no parties.": "NoParties",
    }
    for tag in left_out:
        line = f"    /// {tag}\n"
        assert line in text
        text = text.replace(line, "", 1)
    lacking, _ = missing(documented(text))
    assert sorted(entry.partition("(")[0] for entry in lacking) == sorted(left_out.values())
