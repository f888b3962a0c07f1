"""Records: whose call it was, when, and by which id, in every envelope that usage comes in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters import formats
from meterbridge.domain.receipts import canonical_details

FIXTURE = Path(__file__).parents[2] / "fixtures" / "usage" / "records.json"
CASES: list[dict[str, Any]] = json.loads(FIXTURE.read_text(encoding="utf-8"), parse_float=Decimal)


def by_name(key: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in CASES if key in case]


@pytest.mark.parametrize("case", by_name("events"))
def test_a_record_becomes_its_events(case: dict[str, Any]) -> None:
    events = list(formats.read_records(case["record"], "the file"))
    assert len(events) == len(case["events"])
    for event, expected in zip(events, case["events"], strict=True):
        for name in ("source", "id", "occurred_at", "payer", "buckets"):
            assert getattr(event, name) == expected[name], name
        for name, value in expected.get("details", {}).items():
            assert event.details[name] == value, name


@pytest.mark.parametrize("case", by_name("events"))
def test_details_can_be_hashed_and_hold_no_float(case: dict[str, Any]) -> None:
    for event in formats.read_records(case["record"], "the file"):
        assert json.loads(canonical_details(event.details), parse_float=pytest.fail) == event.details


@pytest.mark.parametrize("case", by_name("error"))
def test_a_bad_record_is_an_error_that_names_what_was_found(case: dict[str, Any]) -> None:
    with pytest.raises(formats.BadUsage) as caught:
        list(formats.read_records(case["record"], "the file"))
    assert type(caught.value).__name__ == case["error"]
    assert case["message"] in str(caught.value)
    assert "my secret" not in f"{caught.value} {caught.value.value}"


@pytest.mark.parametrize("case", by_name("events"))
def test_binary_floats_of_another_json_parser_read_the_same(case: dict[str, Any]) -> None:
    """A gateway's hook hands over Python objects, whose costs and times are floats."""
    as_floats = json.loads(json.dumps(case["record"], default=float))
    read = list(formats.read_records(as_floats, "the file"))
    exact = list(formats.read_records(case["record"], "the file"))
    assert [(event.id, event.occurred_at, event.buckets) for event in read] == [
        (event.id, event.occurred_at, event.buckets) for event in exact
    ]


def test_a_record_without_content_is_what_a_hook_passes_on() -> None:
    answer: Mapping[str, object] = {
        "id": "chatcmpl-1",
        "created": 1769860800,
        "choices": [{"message": {"content": "my secret"}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
    with pytest.raises(formats.ContentRefused):
        formats.refuse_content(answer)
    bare = formats.without_content(answer)
    assert "my secret" not in json.dumps(bare)
    (event,) = formats.read_records(bare, "hook")
    assert event.buckets == {"input": 9, "output": 1}


@pytest.mark.parametrize("empty", [None, "", "{}", "[]", [], {}, 12, "12"])
def test_an_empty_content_field_or_a_count_is_no_content(empty: object) -> None:
    formats.refuse_content({"messages": empty, "input": empty})
