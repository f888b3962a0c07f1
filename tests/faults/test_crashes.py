"""Kill -9 before and after every request and every commit, and see another process end it all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.matrix import EVERY_DAY, deviations, prepared
from faults.stage import Stage

pytestmark = pytest.mark.node


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_whoever_dies_somewhere_another_ends_it_all_the_same(
    stage: Stage, tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    server = None if store == "sqlite" else request.getfixturevalue("postgres_url")
    with prepared(stage, tmp_path, server) as (case, servant):
        tried, wrong = deviations(case, servant, EVERY_DAY)
    assert wrong == {}
    assert tried >= 5
