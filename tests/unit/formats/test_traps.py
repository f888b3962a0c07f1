"""Every trap of the usage shapes, by its words, and the golden fixture that steps on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters import formats
from meterbridge.adapters.formats import ColumnMap, UsageRow
from meterbridge.domain.events import BUCKETS, UsageEvent

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "usage"
SHAPES = ROOT.parent / "shared" / "reference" / "usage-shapes.md"

TRAPS = [
    ("details are subsets of the totals", "openai-chat.json", "details are parts of the totals"),
    ("rejected predictions are billed", "openai-chat.json", "rejected predictions are billed as output"),
    (
        "with streaming, usage comes only in the last chunk",
        "openai-chat.json",
        "with streaming, usage comes only in the last chunk",
    ),
    ("as above", "openai-responses.json", "details are parts of the totals"),
    ("`input_tokens` EXCLUDES cache reads and writes", "anthropic.json", "input leaves out the cache"),
    (
        "stream deltas are CUMULATIVE: take the last, never add them",
        "anthropic.json",
        "stream deltas are cumulative",
    ),
    (
        "the TTL breakdown can be below the total: the rest is `cache_write`",
        "anthropic.json",
        "a breakdown below the total: the rest has no known lifetime",
    ),
    (
        "thoughts and tool-use prompt are separate addends; total is the sum of the four",
        "gemini.json",
        "thoughts and tool-use prompt are addends of their own",
    ),
    ("snake_case in the SDK", "gemini.json", "the SDK's snake case"),
    (
        "cost is a float: keep it as evidence, never settle on it",
        "openrouter.json",
        "cost is evidence, never a count",
    ),
    ("a missing detail is zero, not an error", "vllm-sglang.json", "a missing detail is zero"),
    (
        "the detail sits in `metadata.usage_object`",
        "records.json",
        "a row of LiteLLM's spend log, its detail in a JSON string",
    ),
    (
        "`spend` is a float: never settle on it",
        "records.json",
        "a row of LiteLLM's spend log, its detail in a JSON string",
    ),
    ("failed calls are logged too", "records.json", "a failed call is logged too, and used nothing"),
    ("`input_tokens` INCLUDES cache", "opentelemetry.json", "input includes the cache"),
]
NAMED_ELSEWHERE = ("names are those of semantic conventions 1.41", "identity is (tenant, source, id).")
"""The golden fixture "a name of other conventions is not dropped"; what envelopes are told apart by."""
FIXTURES_OF = {
    "CloudEvents 1.0 envelope": ("records.json",),
    "OpenAI Chat Completions": ("openai-chat.json",),
    "OpenAI Responses": ("openai-responses.json",),
    "Anthropic Messages": ("anthropic.json",),
    "Gemini": ("gemini.json",),
    "OpenRouter": ("openrouter.json",),
    "vLLM, SGLang (OpenAI-compatible)": ("vllm-sglang.json",),
    "LiteLLM spend logs and callback": ("records.json",),
    "OpenTelemetry GenAI spans": ("opentelemetry.json", "records.json"),
    "Columnar and plain files": (),  # written by the test below
}
"""Of each row of the shapes, the fixtures in which its fields occur."""
"""The trap, the fixture file, the fixture's name."""
OF_FILES = "BOM, no final newline, 7-decimal timestamps, quoted numbers"
OF_ENVELOPES = (
    "Same id, same payload: accepted again, stored once. Same id, other payload: conflict, quarantined."
)


def fixture(file: str, name: str) -> dict[str, Any]:
    cases = json.loads((FIXTURES / file).read_text(encoding="utf-8"), parse_float=Decimal)
    (found,) = [case for case in cases if case["name"] == name]
    return dict(found)


def leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for one in inner for leaf in leaves(one)]


@pytest.mark.parametrize(("trap", "file", "name"), TRAPS, ids=[f"{trap[1]}: {trap[0]}" for trap in TRAPS])
def test_a_golden_fixture_steps_on_the_trap(trap: str, file: str, name: str) -> None:
    case = fixture(file, name)
    if file == "records.json":
        (event,) = formats.read_records(case["record"], "test")
        (expected,) = case["events"]
        assert dict(event.buckets) == expected["buckets"], trap
        details: dict[str, Any] = dict(event.details)
    else:
        stream = case.get("stream")
        reading = formats.read_usage_object(case["usage"]) if stream is None else formats.read_stream(stream)
        assert reading.buckets == case["buckets"], trap
        tokens = sum(count for bucket, count in reading.buckets.items() if bucket != "tool_requests")
        assert tokens == case["total"], trap
        details = dict(reading.details)
    assert not [leaf for leaf in leaves(details) if isinstance(leaf, float | Decimal)], "money stays a text"


def rows() -> list[list[str]]:
    """The table of shapes: name, fields, traps."""
    if not SHAPES.exists():
        pytest.skip(f"the shapes are not here: {SHAPES} is missing")
    table = SHAPES.read_text(encoding="utf-8").split("## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [row for row in cells if len(row) == 3 and row[0] not in ("source", "---")]


def test_no_trap_is_left_out() -> None:
    """Whatever stands in the column of traps is one that is known here: without those, nothing is left."""
    known = [trap for trap, _, _ in TRAPS] + [OF_FILES, OF_ENVELOPES, *NAMED_ELSEWHERE]
    for name, fields, traps in rows():
        left = traps
        for trap in sorted(known, key=len, reverse=True):
            left = left.replace(trap, "")
        assert not left.strip(" ;"), f"{name}: no fixture steps on {left!r}"
        assert traps or "snake_case" in fields
    text = SHAPES.read_text(encoding="utf-8")
    for words in known:  # tests/integration/service/test_api_ingest.py posts those of envelopes
        assert words in text, words
    for bucket in BUCKETS:
        assert f"`{bucket}`" in text


def test_every_field_of_every_shape_occurs_in_its_fixtures() -> None:
    assert {name for name, _, _ in rows()} == FIXTURES_OF.keys()
    for name, fields, _ in rows():
        text = "".join((FIXTURES / file).read_text(encoding="utf-8") for file in FIXTURES_OF[name])
        for code in re.findall(r"`([^`]+)`", fields) if text else ():
            for field in re.findall(r"\w+", code):
                assert field in text, f"{name}: no fixture has {field}"


LINE = {
    "id": "a",
    "time": "2026-01-31T12:00:00.1234567Z",
    "customer": "acme",
    "input_tokens": "12",
}
MOMENT = 1_769_860_800_123
"""2026-01-31 12:00:00.123 UTC, by hand: 20,484 days and a half, in milliseconds, and 123."""


def as_csv(line: dict[str, str]) -> str:
    return ",".join(line) + "\n" + ",".join(f'"{value}"' for value in line.values())


def as_ndjson(line: dict[str, str]) -> str:
    return json.dumps(line)


@pytest.mark.parametrize("write", [as_csv, as_ndjson])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_files_with_marks_without_newlines_with_long_fractions_and_quotes(
    tmp_path: Path, write: Callable[[dict[str, str]], str], mark: str, end: str
) -> None:
    """BOM, no final newline, 7-decimal timestamps, quoted numbers."""
    path = tmp_path / ("calls.csv" if write is as_csv else "calls.ndjson")
    path.write_text(mark + write({**LINE, "output_tokens": "3"}) + end, encoding="utf-8")
    columns = ColumnMap.parse("id=id time=time payer=customer input=input_tokens output=output_tokens")
    (row,) = formats.read_usage(path, column_map=columns)
    assert isinstance(row, UsageRow)
    event: UsageEvent = row.event
    assert (event.id, event.payer, event.occurred_at) == ("a", "acme", MOMENT)
    assert dict(event.buckets) == {"input": 12, "output": 3}
