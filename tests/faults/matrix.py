"""The crash matrix: which points are tried, and what is compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from faults.crash_cases import Case, money_of, points_of
from faults.crashes import Point, Run, Servant
from faults.stage import Stage

EVERY_DAY: Final = 35
"""Each day every 35th point is tried; --long tries all of them."""

RUNS_MAX: Final = 5
"""Runs until one is as it should be, where a busy machine makes them differ; what is shown stays the same."""

TRANSITIONS: Final = {
    ("waiting", "ready"),
    ("waiting", "failed"),
    ("ready", "signed"),
    ("signed", "sent"),
    ("sent", "signed"),
    ("sent", "mined"),
    ("mined", "sent"),
    ("mined", "final"),
}
"""What the undisturbed run goes through, so that a process is killed at each: they are commits. That waiting
becomes superseded, and waiting again where what covers it fails, happens beside these."""


@contextmanager
def prepared(stage: Stage, folder: Path, server: str | None) -> Iterator[tuple[Case, Servant]]:
    """Make a case and the process that forks those that die."""
    servant = Servant(folder)
    try:
        case = Case(stage, folder, server)
        case.prepare()
        yield case, servant
    finally:
        servant.close()


def deviations(case: Case, servant: Servant, step: int = 1) -> tuple[int, dict[str, list[str]]]:
    """Kill at every point, or at every `step`th; return how many died, and what went wrong at which.

    A run may have a request less than the undisturbed one, where a receipt is there at the first question.
    What lies beyond the end of all runs that are played for it is no point of theirs, and is not counted.
    """
    calm = _undisturbed(case, servant)
    died, wrong = 0, {}
    for point in points_of(calm)[step // 2 :: step]:
        run, problems = killed_at(case, servant, point, money_of(calm))
        died += run.killed
        if problems:
            wrong[str(point)] = problems
    return died, wrong


def _undisturbed(case: Case, servant: Servant) -> Run:
    """Play to the end until two runs are alike and go through all that is to be interrupted.

    On a machine that is busy, a run may ask or store more, or be past a turn of the chain before it happens.
    """
    before = None
    for _ in range(RUNS_MAX + 1):
        calm = case.play(servant)
        assert case.problems(calm) == []
        left_out = TRANSITIONS - {tuple(each) for each in calm.said["transitions"]}
        alike = (calm.requests, calm.commits)
        if not left_out and alike == before:
            return calm
        before = alike
    raise AssertionError(
        f"no two of {RUNS_MAX + 1} undisturbed runs were alike; the last leaves out {left_out}"
    )


def killed_at(case: Case, servant: Servant, point: Point, wanted: object) -> tuple[Run, list[str]]:
    """Return the run that died at a point, or that has no such point, and what is wrong with it."""
    for _ in range(RUNS_MAX):
        run = case.play(servant, point)
        problems = case.problems(run)
        if not run.killed and point.is_within(run):
            problems.append("the process passed this point and was not killed")
        if problems or run.killed:
            break
    if not problems and money_of(run) != wanted:
        problems.append(f"the chain ends as {money_of(run)}, not as {wanted}")
    return run, problems
