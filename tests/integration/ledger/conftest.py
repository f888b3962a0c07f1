"""Worlds for the tests of the usage side."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    """Load a helper beside this file; test modules are imported by path and cannot import each other."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_load("metered_world")
_load("crash_worker")


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make worlds, each in a folder of its own below the test's; they are closed at its end."""
    worlds: list[Any] = []

    def make(name: str = "ledger", **options: Any) -> Any:
        worlds.append(_load("metered_world").World(tmp_path / name, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(new_world: Callable[..., Any]) -> Any:
    """One world with three payers."""
    return new_world()
