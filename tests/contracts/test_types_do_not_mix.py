"""Usage, rates and assets are different types in Solidity: mixing them does not compile (section 1)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "types" / "Separate.sol"
UNITS = "contracts/types/Units.sol"
MARK = "/* CASE */"

needs_solc = pytest.mark.skipif(
    shutil.which("node") is None or not (ROOT / "node_modules" / "solc").is_dir(),
    reason="needs Node.js and the packages of package.json: run 'npm ci'",
)

ALLOWED = [
    "take(assets);",
    "measure(usage);",
    "take(Assets.wrap(number));",
    "number = UsageLanes.unwrap(usage);",
]

# The line, and the type error that the compiler must find in it.
MIXED = [
    ("take(usage);", "9553", "UsageLanes to Assets"),
    ("take(rates);", "9553", "RateLanes to Assets"),
    ("take(number);", "9553", "uint256 to Assets"),
    ("measure(assets);", "9553", "Assets to UsageLanes"),
    ("measure(rates);", "9553", "RateLanes to UsageLanes"),
    ("held = usage;", "7407", "UsageLanes to Assets"),
    ("usage = assets;", "7407", "Assets to UsageLanes"),
    ("rates = usage;", "7407", "UsageLanes to RateLanes"),
    ("assets + usage;", "2271", "Assets to UsageLanes"),
    ("assets == usage;", "2271", "Assets to UsageLanes"),
    ("usage < rates;", "2271", "UsageLanes to RateLanes"),
    ("Assets(usage);", "9640", "UsageLanes"),
    ("UsageLanes.unwrap(assets);", "9553", "Assets to UsageLanes"),
]


def errors_of(line: str) -> list[tuple[str, str]]:
    """Compile the source with `line` in it; the codes and messages of all errors."""
    sources = {
        "case.sol": {"content": SOURCE.read_text().replace(MARK, line)},
        UNITS: {"content": (ROOT / UNITS).read_text()},
    }
    settings = {"outputSelection": {"*": {"": ["ast"]}}}
    request = {"language": "Solidity", "sources": sources, "settings": settings}
    found = subprocess.run(
        [ROOT / "scripts" / "solc", "--standard-json"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    reported = json.loads(found.stdout).get("errors", [])
    return [(e["errorCode"], e["message"]) for e in reported if e["severity"] == "error"]


@needs_solc
@pytest.mark.node
def test_the_control_compiles() -> None:
    assert MARK in SOURCE.read_text()
    assert errors_of("\n".join(ALLOWED)) == []


@needs_solc
@pytest.mark.node
@pytest.mark.parametrize(("line", "code", "types"), MIXED, ids=[case[0] for case in MIXED])
def test_mixing_does_not_compile(line: str, code: str, types: str) -> None:
    found = errors_of(line)
    assert [c for c, _ in found] == [code], found
    for name in types.split(" to "):
        assert name in found[0][1], found
