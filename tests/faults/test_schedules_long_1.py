"""Half of a thousand schedules, as in test_schedules.py. A file is one worker's work, so there are two."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from faults.campaign import Outcome

pytestmark = [pytest.mark.node, pytest.mark.long]


@pytest.mark.parametrize("seed", range(1, 1000, 2))
def test_whatever_happens_everything_is_settled_once(
    schedule: Callable[[int], Outcome], seed: int, request: pytest.FixtureRequest
) -> None:
    outcome = schedule(seed)
    replay = f"scripts/test python --long '{request.node.nodeid}'"
    assert not outcome.problems, f"{outcome.problems}; replay with: {replay}"
