"""What `import meterbridge` gives, and what it does not load."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import meterbridge
from meterbridge.library.asynchronous import AsyncContributor, AsyncPayer, AsyncProvider
from meterbridge.library.contributor import Contributor
from meterbridge.library.payer import Payer
from meterbridge.library.provider import Provider

ROOT = Path(__file__).resolve().parents[2]


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a statement loads in a fresh interpreter, beyond those that `typing` does."""
    script = f"import sys, typing, importlib; before = set(sys.modules); {statement}; "
    script += "print(*(set(sys.modules) - before))"
    run = [sys.executable, "-I", "-c", script]
    return set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_else() -> None:
    assert loaded_by("import meterbridge") <= {"meterbridge", "__future__"}


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ("Client, UsageRecord", ("numpy", "web3", "sqlalchemy", "pyarrow", "eth_account")),
        ("Provider, Payer, Contributor", ("numba", "web3", "sqlalchemy", "pyarrow", "httpx", "fastapi")),
        ("AsyncProvider, AsyncPayer, AsyncContributor", ("numba", "web3", "sqlalchemy", "httpx")),
    ],
)
def test_a_name_loads_only_what_it_needs(names: str, heavy: tuple[str, ...]) -> None:
    loaded = loaded_by(f"from meterbridge import {names}")
    assert sorted(loaded & set(heavy)) == []


def test_every_public_name_is_there_and_typed_where_it_lives() -> None:
    for name in meterbridge.__all__:
        assert getattr(meterbridge, name) is not None
    tree = ast.parse(Path(meterbridge.__file__).read_text(encoding="utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {
        alias.name: node.module.removeprefix("meterbridge.")
        for node in typed.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert homes == meterbridge._HOME
    assert sorted(homes) == list(meterbridge._HOME)
    with pytest.raises(AttributeError, match="nothing"):
        _ = meterbridge.nothing
    assert (Path(meterbridge.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize(
    ("sync", "twin"), [(Provider, AsyncProvider), (Payer, AsyncPayer), (Contributor, AsyncContributor)]
)
def test_each_method_has_its_twin_with_the_same_arguments(sync: type, twin: type) -> None:
    public = {name for name in dir(sync) if not name.startswith("_")}
    assert public == {name for name in dir(twin) if not name.startswith("_")}
    for name in public:
        one, other = getattr(sync, name), getattr(twin, name)
        if not callable(one):
            assert isinstance(inspect.getattr_static(twin, name), property)
            continue
        wanted, found = inspect.signature(one), inspect.signature(other)
        assert wanted.parameters == found.parameters, name
        assert inspect.iscoroutinefunction(other) or inspect.ismethod(other), name
        assert other.__doc__ or name == "close"


def test_the_twins_are_those_of_the_classes_as_they_are_now() -> None:
    run = [sys.executable, str(ROOT / "scripts" / "twins"), "--check"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
