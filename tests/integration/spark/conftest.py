"""Worlds for the tests of sealing on Spark: those of bulk sealing, and helpers of their own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
_MODULES = {"bulk_world": _HERE.parent / "bulk" / "bulk_world.py", "spark_world": _HERE / "spark_world.py"}
for _name, _path in _MODULES.items():  # test modules are imported by path and cannot import each other
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, _path)
        assert _spec is not None
        assert _spec.loader is not None
        _module = sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(_module)


@pytest.fixture
def new_bulk(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open ledger folders below the test's own; they are closed at its end."""
    with ExitStack() as stack:
        yield lambda name="ledger", **options: stack.enter_context(
            sys.modules["bulk_world"].bulk_world(tmp_path / name, **options)
        )
