"""The benchmarks of sealing and trees run, and give the figures that they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


def run(name: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_seal_gives_its_figures(tmp_path: Path) -> None:
    found = run(
        "seal", "--receipts", "30000", "--earlier", "20000", "--payers", "50", "--folder", str(tmp_path)
    )
    assert (found["receipts"], found["earlier"], found["payers"]) == (30_000, 20_000, 50)
    assert found["receipts_per_second"] == pytest.approx(30_000 / found["total_seconds"], rel=0.01)
    assert set(found["seconds"]) == {"scan", "dedupe", "write", "log", "sync", "commit"}
    assert sum(found["seconds"].values()) <= found["total_seconds"] * 1.01
    assert 50 * 2**20 < found["peak_bytes"] < 4 * 2**30
    assert 0 < found["cpu_seconds"]["user"] < 60
    assert found["permutations_per_second_per_core"] > (found["pycryptodome_per_second"] or 0)
    assert 0 < found["share_of_limit"] < 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """Four times as many receipts, with room for a fraction of them: the rest goes through disk."""
    options = ["--earlier", "0", "--payers", "50", "--memory", str(64 * 2**20), "--folder", str(tmp_path)]
    few, many = (run("seal", "--receipts", str(n), *options) for n in (500_000, 2_000_000))
    assert many["receipts"] == 4 * few["receipts"]
    grown = many["peak_bytes"] - few["peak_bytes"]
    assert grown < 1_500_000 * 240 / 2, "in memory, a receipt takes some 240 bytes"
    assert many["peak_bytes"] < 2**30


def test_prove_gives_its_figures(tmp_path: Path) -> None:
    found = run(
        "prove", "--receipts", "20000", "--payers", "30", "--samples", "12", "--folder", str(tmp_path)
    )
    taken = found["milliseconds"]
    assert set(taken) == {"first", "median", "99_of_100", "most"}
    assert 0 < taken["median"] <= taken["99_of_100"] <= taken["most"]
    assert found["uncached_milliseconds"]["samples"] == 1
    assert found["command_milliseconds"]["median"] > taken["first"]
    assert found["verify_milliseconds"]["median"] > 0
    assert 20_000 // 30 < found["period"]["receipts"] < 20_000
    assert 50 * 2**20 < found["period"]["peak_bytes"] < 2**30
    assert list(tmp_path.iterdir()) == []


def test_tree_gives_its_figures() -> None:
    arguments = ("--leaves", "70000", "--python-leaves", "1000", "--openzeppelin-leaves", "1000")
    found = run("tree", *arguments)
    assert found["leaves"] == 70_000
    assert found["leaves_per_second"] > 10 * found["python_leaves_per_second"]
