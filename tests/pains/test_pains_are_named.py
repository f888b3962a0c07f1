"""Each pain has a test that exists and names the report."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("README.md")
REPORTS = ROOT.parent / "shared" / "reference" / "user-pains.md"


def rows_of(file: Path) -> list[list[str]]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def docstrings_of(file: Path) -> dict[str, str]:
    functions = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {f.name: ast.get_docstring(f) or "" for f in functions if isinstance(f, ast.FunctionDef)}


@pytest.mark.parametrize("row", rows_of(TABLE), ids=lambda row: row[1].replace(" ", ""))
def test_the_named_tests_exist_and_cite_the_reports(row: list[str]) -> None:
    _, reports, tests = row
    cited = ""
    for named in re.findall(r"`([^`]+)`", tests):
        path, name = named.split("::")
        found = docstrings_of(ROOT / path)
        assert name in found, f"{named} does not exist"
        cited += found[name]
    missing = [number for number in re.findall(r"#\d+", reports) if number not in cited]
    assert not missing, f"no docstring of {tests} cites {missing}"


def test_no_known_pain_is_left_out() -> None:
    if not REPORTS.exists():
        pytest.skip(f"the reports are not here: {REPORTS} is missing")
    assert {tuple(row) for row in rows_of(REPORTS)} == {tuple(row[:2]) for row in rows_of(TABLE)}
