"""Kill -9 before and after every request and every commit, and see another process end it all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.crashes import Point, Scenario, Where
from faults.matrix import EVERY_DAY, deviations, killed_at, prepared
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


def test_a_point_that_is_passed_alive_is_a_failure_and_one_beyond_the_end_is_none(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with prepared(stage, tmp_path, None) as (case, servant):
        for where, number, passed in (
            (Where.BEFORE_REQUEST, 3, True),
            (Where.AFTER_REQUEST, 3, True),
            (Where.BEFORE_REQUEST, 10_000, False),
            (Where.AFTER_COMMIT, 10_000, False),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(Scenario, "_arm", lambda *_arguments: None)
                patched.setattr("faults.matrix.RUNS_MAX", 1)
                patched.setattr("faults.matrix.money_of", lambda _run: None)
                run, problems = killed_at(case, servant, Point(where, number), None)
            assert not run.killed
            assert problems == (["the process passed this point and was not killed"] if passed else [])
