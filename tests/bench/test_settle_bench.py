"""The benchmark of settling runs, on a few payers, and gives the figures that it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("settle.py")
FIGURES = {
    "statements_per_second",
    "lines_per_second",
    "client_us_per_line",
    "client_cpu_us_per_line",
    "node_us_per_line",
    "requests_per_statement",
}


@pytest.mark.node
def test_settle_gives_its_figures() -> None:
    command = [sys.executable, str(SCRIPT), "--json", "--payers", "9", "--statements", "3", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if "NoAnvil" in done.stderr:
        pytest.skip("there is no anvil here")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"client_us_per_line", "bar", "one_line", "thousand_lines"}
    for kind, lines in (("one_line", 1), ("thousand_lines", 9)):
        assert set(found[kind]) == FIGURES
        assert found[kind]["lines_per_second"] == pytest.approx(
            found[kind]["statements_per_second"] * lines, rel=0.1, abs=0.06 * lines
        )
        assert all(value > 0 for value in found[kind].values())
    assert found["client_us_per_line"] == found["thousand_lines"]["client_us_per_line"]
