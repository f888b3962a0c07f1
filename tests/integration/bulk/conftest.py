"""Worlds for the tests of bulk sealing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

_NAME = "bulk_world"
if _NAME not in sys.modules:  # test modules are imported by path and cannot import each other
    _spec = importlib.util.spec_from_file_location(_NAME, Path(__file__).with_name(f"{_NAME}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    _module = sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)


@pytest.fixture
def new_bulk(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open ledger folders below the test's own; they are closed at its end."""
    with ExitStack() as stack:
        yield lambda name="ledger", **options: stack.enter_context(
            sys.modules[_NAME].bulk_world(tmp_path / name, **options)
        )
