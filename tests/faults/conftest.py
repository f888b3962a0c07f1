"""Faults need a real node; where there is none, their tests are skipped and say so."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS / "bench")]
SCHEDULES_OF_A_STAGE = 50


def _require_anvil() -> None:
    from _anvil import NoAnvil, find_anvil

    try:
        find_anvil()
    except NoAnvil as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def stage() -> Iterator[Any]:
    """One anvil with everything on it for a file of tests; each sets it back first."""
    from faults.stage import staged

    _require_anvil()
    with staged() as found:
        yield found


@pytest.fixture(scope="module")
def schedule(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Any]]:
    """Play a schedule by its seed. The node is a new one from time to time, since it keeps every state."""
    from faults.books import write_template
    from faults.campaign import play
    from faults.stage import staged

    _require_anvil()
    folder = tmp_path_factory.mktemp("schedules")
    with ExitStack() as nodes:
        on_stage: list[Any] = []
        played = 0

        def one(seed: int) -> Any:
            nonlocal played
            if played % SCHEDULES_OF_A_STAGE == 0:
                nodes.close()
                on_stage[:] = [nodes.enter_context(staged())]
                shutil.rmtree(folder / "template", ignore_errors=True)
                write_template(folder / "template", on_stage[0].record)
            played += 1
            outcome = play(on_stage[0], folder / "template", folder / f"{seed}", seed)
            shutil.rmtree(folder / f"{seed}")
            return outcome

        yield one


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of this file's own."""
    import _service

    if missing := _service.postgres_missing():
        pytest.skip(missing)
    with _service.postgres() as url:
        yield url
