"""The mutation campaign changes what it says, and counts what it found; scripts/mutate runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from mutation.campaign import NOTICED, Result, journal, summary
from mutation.mutants import ROOT, SOURCES, SPLITTER, Mutant, all_mutants, mutants_of
from mutation.workshop import SPELLED_OUT, extent, spelled_out

CODE = """\
library Small {
    /// @dev if (a < b) return 1;
    function least(uint256 a, uint256 b) internal nonReentrant returns (uint256) {
        require(a != 0, Nothing()); // a + b
        if (a < b) return a;
        emit Found(b);
    }
}
"""


def test_each_change_stands_on_its_line_and_comments_are_left_alone() -> None:
    changes = {(mutant.line + 1, mutant.after.strip()) for mutant in mutants_of("Small.sol", CODE)}
    assert changes == {
        (3, "function least(uint256 a, uint256 b) internal returns (uint256) {"),
        (4, "require(a == 0, Nothing());"),
        (4, "if (false) require(a != 0, Nothing());"),
        (4, "require(a != 1, Nothing());"),
        (5, "if (a <= b) return a;"),
        (5, "if (!(a < b)) return a;"),
        (5, "if (a < b) return type(uint256).max + 0 * a;"),
        (5, ""),
        (6, ""),
    }


def test_a_mutant_differs_in_one_line_and_knows_when_the_file_has_changed() -> None:
    mutant = next(m for m in mutants_of("Small.sol", CODE) if "<=" in m.after)
    before, after = CODE.splitlines(), mutant.applied(CODE).splitlines()
    assert [number for number, line in enumerate(after) if line != before[number]] == [mutant.line]
    with pytest.raises(ValueError, match=r"Small.sol has changed at line 5"):
        mutant.applied("\n" + CODE)


def test_every_library_and_the_splitter_have_mutants_of_their_own() -> None:
    found = all_mutants()
    assert {mutant.file for mutant in found} == set(SOURCES)
    assert len({mutant.key for mutant in found}) == len(found) > 600


def test_what_is_spelled_out_for_the_quick_build_is_still_there() -> None:
    text = (ROOT / SPLITTER).read_text(encoding="utf-8")
    quick = spelled_out(text)
    assert quick is not None
    for function, names in SPELLED_OUT.items():
        start, end = extent(quick, function)
        assert not [name for name in names if f" {name} = " in quick[start:end]]
    assert spelled_out(text.replace("bytes32 nonce = ", "bytes32 other = ")) is None


def test_the_grave_change_is_one_line_of_the_splitter() -> None:
    lines = (ROOT / SPLITTER).read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in lines].count(NOTICED[0]) == 1


def result(key: str, kind: str, contracts: str = "c") -> Result:
    return Result(key, kind, "", f"{SPLITTER}:1: {key}", 1.0, contracts, "t")


def test_the_last_word_on_a_mutant_counts_and_older_contracts_do_not(tmp_path: Path) -> None:
    rows = [
        result("a", "killed", "old"),
        result("a", "open"),
        result("b", "invalid"),
        result("a", "survived"),
    ]
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    assert {key: found.kind for key, found in journal(None, path).items()} == {
        "a": "survived",
        "b": "invalid",
    }
    assert {key: found.kind for key, found in journal("old", path).items()} == {"a": "killed"}


def test_what_does_not_compile_is_not_counted() -> None:
    kinds = ["killed"] * 4 + ["survived", "open", "same", "same", "invalid"]
    found = summary([result(str(number), kind) for number, kind in enumerate(kinds)], 10)
    assert (found["run"], found["valid"], found["killed_of_valid"]) == (9, 8, 0.5)
    assert found["survivors"] == [f"{SPLITTER}:1: 4", f"{SPLITTER}:1: 5"]


def test_mutants_are_listed_by_file() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "mutate"), "--list", "--only", "Pricing.sol"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count = len([m for m in all_mutants() if m.file.endswith("Pricing.sol")])
    assert done.stdout == f"{count:5} contracts/libraries/Pricing.sol\n"


def test_a_mutant_is_named_by_its_file_line_and_change() -> None:
    assert Mutant("F.sol", 2, "    a();", "").change == "F.sol:3: left out: a();"
