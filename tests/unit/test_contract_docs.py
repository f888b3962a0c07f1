"""The documentation of the contracts names only tests that exist, and leaves out no contract and no error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECURITY = (ROOT / "docs" / "security.md").read_text()
PAGES = ROOT / "docs" / "contracts"
SOURCES = sorted(p for p in (ROOT / "contracts").rglob("*.sol") if "mocks" not in p.parts)


def solidity_tests() -> set[str]:
    """Return the names of all tests and proofs of the contracts."""
    paths = [*(ROOT / "tests" / "contracts").rglob("*.t.sol"), *(ROOT / "tests" / "symbolic").glob("*.sol")]
    return {
        name
        for path in paths
        for name in re.findall(r"^    function (\w+)\(", path.read_text(), re.MULTILINE)
    }


PROVEN = SECURITY.partition("## What is proven")[2]
NAMED = sorted(
    {*re.findall(r"`((?:test|invariant)_\w+)`", SECURITY), *re.findall(r"`(\w+)`[,|\s]", PROVEN)}
    | {"afterInvariant"}
)


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 80


@pytest.mark.parametrize("name", NAMED)
def test_every_named_test_exists(name: str) -> None:
    assert name in solidity_tests(), f"docs/security.md names {name}, which is no test of the contracts"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_source_has_its_page(source: Path) -> None:
    name = source.name.removesuffix(".sol").removesuffix(".s")
    page = PAGES / f"{name}.md"
    assert page.exists(), f"{source.relative_to(ROOT)} has no page {page.relative_to(ROOT)}"
    assert page.read_text().startswith(f"# {name}\n")


def test_every_function_event_and_error_is_on_a_page() -> None:
    interface = (ROOT / "contracts/interfaces/ISettlementSplitter.sol").read_text()
    names = re.findall(r"^    (?:function|event|error) (\w+)", interface, re.MULTILINE)
    assert len(names) > 60
    text = "".join(path.read_text() for path in PAGES.glob("*.md"))
    missing = [name for name in names if not re.search(rf"`{name}\b", text)]
    assert not missing


def test_every_page_is_of_a_source() -> None:
    stems = {path.name.removesuffix(".sol").removesuffix(".s") for path in SOURCES}
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == stems


def test_links_lead_somewhere() -> None:
    for page in [*PAGES.glob("*.md"), ROOT / "docs" / "security.md", ROOT / "docs" / "slither.md"]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_proof_is_on_the_page() -> None:
    sources = (path.read_text() for path in (ROOT / "tests" / "symbolic").glob("*.sol"))
    proofs = {
        name
        for text in sources
        for name in re.findall(
            r"^    function (\w+)\([^)]*\)\s+external (?:view |pure )?\{", text, re.MULTILINE
        )
        if "assert(" in text
    }
    assert not proofs - set(NAMED) - {"put", "isValidSignature"}
