"""docs/scale.md says what the committed figures give, and the figures are those of this version."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def scale() -> Any:
    spec = importlib.util.spec_from_file_location("bench_scale", HERE / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["bench_scale"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_holds_the_tables_that_the_figures_give(scale: Any) -> None:
    text = scale.DOCUMENT.read_text(encoding="utf-8")
    assert scale.filled(text, scale.load_figures()) == text, "run scripts/bench scale --update"


def test_a_changed_figure_changes_the_document(scale: Any) -> None:
    text, figures = scale.DOCUMENT.read_text(encoding="utf-8"), scale.load_figures()
    figures["stored_bytes_per_receipt"] *= 2
    assert scale.filled(text, figures) != text


def test_gas_and_calldata_are_those_of_the_contracts(scale: Any) -> None:
    """Within a twentieth: the document rounds, and need not change with every unit of gas."""
    figures = scale.load_figures()
    snapshot = json.loads((HERE / "gas-snapshot.json").read_text(encoding="utf-8"))
    for name, gas in figures["gas"].items():
        assert gas == pytest.approx(snapshot[name], rel=0.05), "take the gas of the snapshot"
    one, thousand = scale.calldata_bytes(1), scale.calldata_bytes(1_000)
    line = figures["calldata_bytes"]["line"]
    assert (thousand - one, one) == (999 * line, figures["calldata_bytes"]["fixed"] + line)


def test_needs_follow_from_the_figures(scale: Any) -> None:
    """Reckoned by hand from figures that are easy to reckon with."""
    figures = {
        "stored_bytes_per_receipt": 100,
        "index_bytes_per_receipt": 24,
        "ingest_core_us": {"postgresql_1000": 100},
        "seal_core_us": {"machine": 2, "spark_2_executors": 5},
        "gas": {"settle_1_warm": 50_000, "settle_1000_per_line": 10_000},
        "calldata_bytes": {"fixed": 516, "line": 128},
        "assumed": {"settlements_a_day": 1, "l2_gas_per_second": 1_000_000},
    }
    found = scale.needs(figures, scale.Load("a nation", 140 * 10**12, 1_000_000))
    assert found["receipts"] == 102_489_019_034
    assert round(found["receipts_per_second"]) == 1_186_215
    assert round(found["seal_cores"], 2) == 2.37
    assert round(found["spark_cores"], 1) == 5.9
    assert round(found["ingest_cores"]) == 119
    assert found["stored_bytes_a_day"] == 10_248_901_903_400
    assert (found["transactions"], found["gas"]) == (1_000, 10_000_000_000)
    assert found["calldata_bytes"] == 128_516_000
    small = scale.needs(figures, scale.Load("one", 10**6, 1))
    assert (small["receipts"], small["transactions"], small["gas"]) == (733, 1, 50_000)
