"""Ledgers with statements to deliver: in SQLite, and in a real PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import _service as service  # found through the line above


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    if reason := service.postgres_missing():
        pytest.skip(reason)
    with service.postgres() as url:
        yield url
