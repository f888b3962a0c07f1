"""Some tens of seeded schedules; a thousand with --long, in the two files beside this one.

Each is trouble from one seed: what happens to which request, what the chain does between and within the
steps. At the end the weather clears, and everything must be final: the chain holds what was used, computed
by hand; the ledger must say the same; no nonce is unused, and no transaction unknown.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from faults.campaign import Outcome

pytestmark = pytest.mark.node
EVERYDAY = range(20)


@pytest.mark.parametrize("seed", EVERYDAY)
def test_whatever_happens_everything_is_settled_once(
    schedule: Callable[[int], Outcome], seed: int, request: pytest.FixtureRequest
) -> None:
    outcome = schedule(seed)
    assert not outcome.problems, (
        f"{outcome.problems}; replay with: scripts/test python '{request.node.nodeid}'"
    )
    assert outcome.chain is not None
    assert sum(outcome.chain.settled) > 0
