"""The public traces: real files whose totals are known, and the cached tokens that Mooncake's blocks mean."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from meterbridge.adapters.formats import BadRow, UsageRow, read_usage
from meterbridge.domain.events import UsageEvent


def events(file: Path) -> list[UsageEvent]:
    rows = list(read_usage(file))
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [row.event for row in rows if isinstance(row, UsageRow)]


@pytest.mark.parametrize(
    ("name", "rows", "tokens_in", "tokens_out"),
    [
        ("AzureLLMInferenceTrace_code.csv", 8_819, 18_059_974, 245_896),
        ("AzureLLMInferenceTrace_conv.csv", 19_366, 22_361_870, 4_088_665),
    ],
)
def test_azure_traces_come_to_their_published_totals(
    shared_data: Path, name: str, rows: int, tokens_in: int, tokens_out: int
) -> None:
    found = events(shared_data / name)
    assert len(found) == rows
    total: Counter[str] = Counter()
    for event in found:
        total.update(event.buckets)
    assert total == {"input": tokens_in, "output": tokens_out}
    assert {event.payer for event in found} == {None}
    assert {event.source for event in found} == {name}


def test_azure_rows_are_the_files_own_lines(shared_data: Path) -> None:
    file = shared_data / "AzureLLMInferenceTrace_code.csv"
    lines = file.read_text().splitlines()
    for row in islice(read_usage(file), 50):
        assert isinstance(row, UsageRow)
        time, tokens_in, tokens_out = lines[row.row_number - 1].split(",")
        assert row.event.id == str(row.row_number)
        assert row.event.buckets == {"input": int(tokens_in), "output": int(tokens_out)}
        assert time.endswith(f"{row.event.occurred_at // 1000 % 60:02d}.{time[-7:]}")
        assert row.event.occurred_at % 1000 == int(time[-7:-4])


def test_mooncake_comes_to_its_published_totals(shared_data: Path) -> None:
    file = shared_data / "mooncake_conversation_trace.jsonl"
    total: Counter[str] = Counter()
    for event in events(file):
        total.update(event.buckets)
    assert total["input"] + total["cache_read"] == 144_793_823
    assert total["output"] == 4_122_048
    assert total.keys() == {"input", "cache_read", "output"}


def test_mooncakes_cached_tokens_are_derived_from_blocks_seen_before(shared_data: Path) -> None:
    """The oracle keeps the blocks in a set and looks them up one by one."""
    file = shared_data / "mooncake_conversation_trace.jsonl"
    seen: set[int] = set()
    lines = file.read_text().splitlines()
    for event, line in zip(events(file), lines, strict=True):
        record = json.loads(line)
        known = 0
        while known < len(record["hash_ids"]) and record["hash_ids"][known] in seen:
            known += 1
        seen.update(record["hash_ids"])
        cached = min(known * 512, record["input_length"])
        assert event.buckets.get("cache_read", 0) == cached
        assert event.buckets.get("input", 0) == record["input_length"] - cached
        assert event.occurred_at == record["timestamp"]
        assert ("derived" in str(event.details.get("cache_read"))) == (cached > 0)
        assert "start of the trace" in str(event.details["time"])


def mooncake(**changes: object) -> str:
    row = {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}
    return json.dumps({**row, **changes})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (mooncake(hash_ids=[0]), "names 1 blocks; 600 tokens of input make 2"),
        (mooncake(hash_ids=[0, 1, 2]), "names 3 blocks"),
        (mooncake(hash_ids=[0, -1]), "a block number is"),
        (mooncake(hash_ids=[0, 2**40]), "a block number is"),
        (mooncake(hash_ids=[0, True]), "a block number is"),
        (mooncake(hash_ids="01"), "list of block numbers"),
        (mooncake(input_length=-600), "cannot be negative"),
        (mooncake(output_length=5.0), "whole number"),
        (mooncake(timestamp=-1), "cannot be negative"),
        (mooncake(timestamp=2**48), "out of range"),
    ],
)
def test_a_broken_row_of_a_trace_is_refused_and_leaves_no_blocks_behind(
    tmp_path: Path, line: str, reason: str
) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(f"{line}\n{mooncake()}\n{mooncake()}\n")
    bad, first, second = read_usage(file)
    assert isinstance(bad, BadRow)
    assert reason in bad.reason
    assert isinstance(first, UsageRow)
    assert isinstance(second, UsageRow)
    assert first.event.buckets == {"input": 600, "output": 5}
    assert second.event.buckets == {"cache_read": 600, "output": 5}


def test_a_mooncake_trace_as_csv_would_lose_its_blocks_and_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerows([["timestamp", "input_length", "output_length", "hash_ids"], [0, 600, 5, "[0, 1]"]])
    (row,) = read_usage(file)
    assert isinstance(row, BadRow)
    assert "hash_ids" in row.reason
