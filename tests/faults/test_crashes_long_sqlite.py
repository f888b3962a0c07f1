"""The whole crash matrix on SQLite: every request and every commit, before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.matrix import deviations, prepared
from faults.stage import Stage

pytestmark = [pytest.mark.node, pytest.mark.long]


def test_whoever_dies_anywhere_another_ends_it_all_the_same(stage: Stage, tmp_path: Path) -> None:
    with prepared(stage, tmp_path, None) as (case, servant):
        tried, wrong = deviations(case, servant)
    assert wrong == {}
    assert tried > 200
