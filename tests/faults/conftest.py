"""Faults need a real node; where there is none, their tests are skipped and say so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS / "bench")]


@pytest.fixture(scope="session")
def stage() -> Iterator[Any]:
    from _anvil import NoAnvil, find_anvil

    from faults.stage import staged

    try:
        find_anvil()
    except NoAnvil as error:
        pytest.skip(str(error))
    with staged() as found:
        yield found
