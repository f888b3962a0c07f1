"""Golden usage of every shape: hand-made objects, and what each must come to."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters import formats
from meterbridge.domain.events import BUCKETS

FIXTURES = Path(__file__).parents[2] / "fixtures" / "usage"
TOTAL_KEYS = ("total_tokens", "totalTokenCount", "total_token_count", "total")


def load(name: str) -> list[Any]:
    cases: list[Any] = json.loads((FIXTURES / name).read_text(encoding="utf-8"), parse_float=Decimal)
    return [pytest.param(case, id=f"{name.removesuffix('.json')}: {case['name']}") for case in cases]


USAGE_FILES = (
    "openai-chat.json",
    "openai-responses.json",
    "anthropic.json",
    "gemini.json",
    "openrouter.json",
    "vllm-sglang.json",
    "opentelemetry.json",
    "buckets.json",
    "shapes-mixed.json",
)
CASES = [case for name in USAGE_FILES for case in load(name)]


def read(case: dict[str, Any]) -> formats.Reading:
    if "stream" in case:
        return formats.read_stream(case["stream"])
    return formats.read_usage_object(case["usage"])


@pytest.mark.parametrize("case", [param for param in CASES if "buckets" in param.values[0]])
def test_usage_comes_to_its_buckets(case: dict[str, Any]) -> None:
    reading = read(case)
    assert reading.shape == case["shape"]
    assert reading.buckets == case["buckets"]
    for name, value in case.get("details", {}).items():
        assert reading.details[name] == value


@pytest.mark.parametrize("case", [param for param in CASES if "buckets" in param.values[0]])
def test_buckets_add_up_to_the_providers_own_total(case: dict[str, Any]) -> None:
    reading = read(case)
    assert set(reading.buckets) <= set(BUCKETS)
    tokens = sum(count for bucket, count in reading.buckets.items() if bucket != "tool_requests")
    assert tokens == case["total"] == reading.total == reading.details["total_tokens"]
    usage = case.get("usage") or {}
    stated = next((usage[key] for key in TOTAL_KEYS if key in usage), tokens)
    assert tokens == stated


@pytest.mark.parametrize("case", [param for param in CASES if "error" in param.values[0]])
def test_contradictions_are_errors_that_name_what_was_found(case: dict[str, Any]) -> None:
    with pytest.raises(formats.BadUsage) as caught:
        read(case)
    assert type(caught.value).__name__ == case["error"]
    assert case["message"] in str(caught.value)


def test_every_fixture_file_is_read_by_some_test() -> None:
    tested = {*USAGE_FILES, "records.json"}
    assert {path.name for path in FIXTURES.glob("*.json")} == tested


def test_a_known_shape_is_not_detected_again() -> None:
    ambiguous = {"input_tokens": 70, "output_tokens": 3, "total_tokens": 73}
    assert formats.read_usage_object(ambiguous, shape="openai.responses").total == 73
    with pytest.raises(formats.UnknownShape, match=r"openai\.chat"):
        formats.read_usage_object(ambiguous, shape="openai")
