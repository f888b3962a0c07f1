"""What wallets show: every call in words, nothing hidden by mistake, and only what the ABI has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.adapters.deployment import predicted_address
from meterbridge.contracts.typed_data import CLAIM_AUTHORIZATION_TYPE
from meterbridge.domain.keccak import keccak256

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "erc7730"
ABI = load_artifact("SettlementSplitter").abi
MONEY_MOVES = ("deposit", "depositWithPermit", "depositWithAuthorization", "fund")


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return loaded


CALLS = load("calldata-SettlementSplitter.json")
FORMATS: dict[str, dict[str, Any]] = CALLS["display"]["formats"]


def selector_of(key: str) -> bytes:
    """Take the names out of a human-readable signature and hash what is left."""
    return keccak256(re.sub(r" \w+(?=[,)])", "", key).encode())[:4]


def paths_of(key: str) -> set[str]:
    """Return the dotted paths of a human-readable signature, read from its text alone."""
    paths: set[str] = set()
    stack: list[list[str]] = [[]]
    for token in re.findall(r"[()]|[^(),]+", key.partition("(")[2][:-1]):
        if token == "(":
            stack.append([])
        elif token == ")":
            pass
        elif token.startswith((" ", "[")):
            name = token.split(" ")[-1]
            inner = stack.pop()
            stack[-1] += [name] if token.startswith("[") else [f"{name}.{path}" for path in inner]
        else:
            stack[-1].append(token.split(" ")[-1])
    return paths.union(*stack)


def test_every_function_that_changes_something_is_in_words() -> None:
    changing = {
        entry["name"]
        for entry in json.loads((ROOT / "src/meterbridge/contracts/SettlementSplitter.json").read_text())[
            "abi"
        ]
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }
    # A multicall is a list of calls; a wallet that knows the others shows each of them.
    assert {form["$id"] for form in FORMATS.values()} == changing - {"multicall"}


@pytest.mark.parametrize("key", FORMATS, ids=lambda key: key.partition("(")[0])
def test_selectors_and_paths_are_those_of_the_contract(key: str) -> None:
    form = FORMATS[key]
    assert selector_of(key) == ABI.functions[form["$id"]].selector
    shown = [field["path"] for field in form["fields"]]
    assert form["required"] == shown
    assert set(shown).isdisjoint(form["excluded"])
    assert set(shown) | set(form["excluded"]) == paths_of(key)
    for field in form["fields"]:
        if field["format"] == "tokenAmount":
            assert field["params"]["tokenPath"] in paths_of(key)
    assert len(form["intent"]) <= 30
    assert all(len(field["label"]) <= 20 for field in form["fields"])


@pytest.mark.parametrize("name", MONEY_MOVES)
def test_what_takes_money_shows_how_much_of_which_token(name: str) -> None:
    form = next(form for form in FORMATS.values() if form["$id"] == name)
    assert {
        "path": "amount",
        "label": "Amount",
        "format": "tokenAmount",
        "params": {"tokenPath": "split.asset"},
    } in (form["fields"])


def test_the_signed_message_is_the_contract_s() -> None:
    descriptor = load("eip712-ClaimAuthorization.json")
    (schema,) = descriptor["context"]["eip712"]["schemas"]
    name = schema["primaryType"]
    fields = ",".join(f"{field['type']} {field['name']}" for field in schema["types"][name])
    assert f"{name}({fields})" == CLAIM_AUTHORIZATION_TYPE
    form = descriptor["display"]["formats"][name]
    assert "recipient" in form["required"]
    assert {*form["required"], *form["excluded"]} == {field["name"] for field in schema["types"][name]}


def test_the_address_is_that_of_this_release() -> None:
    for descriptor in (
        CALLS["context"]["contract"],
        load("eip712-ClaimAuthorization.json")["context"]["eip712"],
    ):
        assert {place["address"] for place in descriptor["deployments"]} == {str(predicted_address())}


def test_the_files_are_what_the_script_writes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "erc7730"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_standard_s_own_linter_finds_no_error() -> None:
    if (linter := shutil.which("erc7730")) is None:
        pytest.skip("the linter (PyPI erc7730, Python 3.12 only) is not on PATH")
    files = [str(path) for path in sorted(FOLDER.glob("*.json"))]
    done = subprocess.run([linter, "lint", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
