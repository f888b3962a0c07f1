"""The made-up log: the same on every machine, readable without a bad row, and like a real one in its sums."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters.formats import UsageRow, read_usage
from meterbridge.adapters.formats.sample import ANSWER, PAUSE_MS, PROMPT, Quantiles, make_sample_log

ROWS, SEED = 20_000, 7
SHA256_OF_1000 = "dc0dc56cc44dc8b423608eee89419d818122598de0510ac8573be9f091fe0027"


@pytest.fixture(scope="module")
def log() -> list[str]:
    return list(make_sample_log(ROWS, SEED))


def provider_total(record: dict[str, Any]) -> int:
    """Add up one call by its provider's own rules, written down a second time."""
    if "specversion" in record:
        return int(record["data"]["usage"]["total_tokens"])
    if "usageMetadata" in record:
        return int(record["usageMetadata"]["totalTokenCount"])
    usage = record["usage"]
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    return sum(usage[name] for name in names)


def test_rows_and_seed_decide_every_byte() -> None:
    lines = "".join(make_sample_log(1000, SEED))
    assert hashlib.sha256(lines.encode()).hexdigest() == SHA256_OF_1000


def test_another_seed_is_another_log_and_fewer_rows_are_its_beginning(log: list[str]) -> None:
    assert list(make_sample_log(100, SEED)) == log[:100]
    assert list(make_sample_log(100, SEED + 1)) != log[:100]
    assert list(make_sample_log(0, SEED)) == []


def test_a_line_is_one_json_object_with_its_newline(log: list[str]) -> None:
    assert len(log) == ROWS
    assert all(line.endswith("}\n") and line.count("\n") == 1 for line in log)
    assert log[0].isascii()


def test_every_call_is_read_and_comes_to_its_providers_total(log: list[str], tmp_path: Path) -> None:
    file = tmp_path / "usage.ndjson"
    file.write_text("".join(log))
    rows = list(read_usage(file))
    assert len(rows) == ROWS
    ids = set()
    buckets: Counter[str] = Counter()
    for row, line in zip(rows, log, strict=True):
        assert isinstance(row, UsageRow), row
        counts = dict(row.event.buckets)
        buckets.update(counts)
        counts.pop("tool_requests", None)
        assert sum(counts.values()) == provider_total(json.loads(line))
        ids.add((row.event.source, row.event.id))
    assert len(ids) == ROWS
    assert set(buckets) == {
        *("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning"),
        *("image_input", "tool_prompt", "tool_requests"),
    }


def test_customers_and_providers_are_of_unequal_size(log: list[str]) -> None:
    records = [json.loads(line) for line in log]
    customers = Counter(record.get("subject") or record["customer"] for record in records)
    assert [name for name, _ in customers.most_common()] == ["acme", "globex", "initech"]
    assert customers["acme"] > 3 * customers["initech"]
    kinds = Counter(
        next(key for key in ("specversion", "usageMetadata", "usage") if key in record) for record in records
    )
    assert min(kinds.values()) > ROWS // 6


def mean(table: Quantiles) -> float:
    return sum((high - low) / 1000 * (least + most) / 2 for (low, least), (high, most) in pairwise(table))


def test_a_call_takes_as_many_tokens_as_in_the_public_trace(log: list[str]) -> None:
    assert round(mean(PROMPT) + mean(ANSWER)) == 1366
    average = sum(provider_total(json.loads(line)) for line in log) / ROWS
    assert average == pytest.approx(1366, rel=0.02)


def test_times_go_forward_through_about_a_day(log: list[str]) -> None:
    times = [
        record.get("time") or record["createTime"]
        for record in (json.loads(line) for line in islice(log, 0, ROWS, 100))
    ]
    assert times == sorted(times)
    assert times[0].startswith("2026-01-05T00:0")
    assert ROWS * mean(PAUSE_MS) / 1000 == pytest.approx(86_400, rel=0.1)
