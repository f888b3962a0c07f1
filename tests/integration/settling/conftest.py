"""Ledgers with statements to deliver: in SQLite, and in a real PostgreSQL."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import _service as service  # found through the lines above
import chains


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    if reason := service.postgres_missing():
        pytest.skip(reason)
    with service.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def anvil_url() -> Iterator[str]:
    """A node of its own, stopped at the end; skipped where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(chains.node())
        except Exception as error:
            if type(error).__name__ != "NoAnvil":
                raise
            pytest.skip(str(error))
        yield url


@pytest.fixture
def town(anvil_url: str, tmp_path: Path) -> Iterator[chains.Town]:
    """A deployment and a ledger of the test's own."""
    made = chains.Town(anvil_url, tmp_path)
    yield made
    made.books.ledger.close()
