"""Files of usage: every kind, in every wrapping, gives the same events under the numbers an editor shows."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meterbridge.adapters.formats import BadFile, BadRow, ColumnMap, Row, UsageRow, read_usage
from meterbridge.domain.events import UsageEvent

NOON = 1_769_860_800_000  # 2026-01-31T12:00:00Z
MAP = ColumnMap.parse("id=rid time=ts payer=who input=in output=out")
CSV = b"rid,ts,who,in,out\nr-1,2026-01-31T12:00:00Z,acme,12,3\nr-2,2026-01-31 12:00:01.5,globex,0,7\n"
NDJSON = (
    b'{"rid": "r-1", "ts": "2026-01-31T12:00:00Z", "who": "acme", "in": 12, "out": 3}\n'
    b'{"rid": "r-2", "ts": "2026-01-31 12:00:01.5", "who": "globex", "in": "0", "out": "7"}\n'
)
MARK = b"\xef\xbb\xbf"


def parquet(columns: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


PARQUET = parquet(
    {
        "rid": ["r-1", "r-2"],
        "ts": pa.array([NOON * 1000, NOON * 1000 + 1_500_999], pa.timestamp("us", "UTC")),
        "who": pa.array(["acme", "globex"]).dictionary_encode(),
        "in": pa.array([12, 0], pa.uint16()),
        "out": pa.array([Decimal(3), Decimal(7)], pa.decimal128(38, 0)),
    }
)


def read(folder: Path, content: bytes, column_map: ColumnMap | None = MAP, name: str = "log") -> list[Row]:
    file = folder / name
    file.write_bytes(content)
    return list(read_usage(file, column_map=column_map))


def expected(first: int) -> list[UsageRow]:
    return [
        UsageRow(first, UsageEvent("log", "r-1", NOON, "acme", {"input": 12, "output": 3})),
        UsageRow(first + 1, UsageEvent("log", "r-2", NOON + 1500, "globex", {"output": 7})),
    ]


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda content: content, id="as it is"),
        pytest.param(lambda content: MARK + content, id="byte order mark"),
        pytest.param(lambda content: content.rstrip(b"\n"), id="no final newline"),
        pytest.param(lambda content: content.replace(b"\n", b"\r\n"), id="Windows line ends"),
        pytest.param(lambda content: content + b"\n\n  \n", id="blank lines at the end"),
        pytest.param(gzip.compress, id="gzip"),
        pytest.param(
            lambda content: gzip.compress(MARK + content.rstrip(b"\n")), id="gzip, mark, no newline"
        ),
        pytest.param(
            lambda content: b"".join(gzip.compress(content[i : i + 20]) for i in range(0, len(content), 20)),
            id="gzip in many members",
        ),
    ],
)
@pytest.mark.parametrize(
    ("content", "first"), [pytest.param(CSV, 2, id="CSV"), pytest.param(NDJSON, 1, id="NDJSON")]
)
def test_text_files_in_every_wrapping(
    tmp_path: Path, content: bytes, first: int, wrap: Callable[[bytes], bytes]
) -> None:
    assert read(tmp_path, wrap(content)) == expected(first)


def test_parquet(tmp_path: Path) -> None:
    assert read(tmp_path, PARQUET) == expected(1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "+05:00"])
def test_parquet_timestamps_are_moments_whatever_their_unit_and_zone(
    tmp_path: Path, unit: str, zone: str | None
) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = pa.array([NOON // 1000 * per_second], pa.timestamp(unit, zone))
    content = parquet({"id": ["a"], "time": times, "input": [1]})
    (row,) = read(tmp_path, content, None)
    assert isinstance(row, UsageRow)
    assert row.event.occurred_at == int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000)


def test_nested_parquet_columns_and_native_shapes(tmp_path: Path) -> None:
    usage = [{"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}]
    content = parquet({"id": ["a"], "time": ["2026-01-31T12:00:00Z"], "customer": ["acme"], "usage": usage})
    (row,) = read(tmp_path, content, None)
    assert isinstance(row, UsageRow)
    assert row.event.buckets == {"input": 5, "cache_read": 4, "output": 1}
    pairs = (
        "id=id time=time payer=customer input_total=usage.prompt_tokens output_total=usage.completion_tokens"
    )
    dotted = ColumnMap.parse(f"{pairs} cache_read=usage.prompt_tokens_details.cached_tokens")
    (mapped,) = read(tmp_path, content, dotted)
    assert isinstance(mapped, UsageRow)
    assert mapped.event.buckets == row.event.buckets


def test_a_table_with_our_own_column_names_needs_no_map(tmp_path: Path) -> None:
    content = (
        b"id,time,payer,input,cache_read,tool_requests,total\na,2026-01-31T12:00:00Z,acme,5,,2,5\n"
        b"b,2026-01-31T12:00:00Z,,5,1,,\n"
    )
    first, second = read(tmp_path, content, None)
    assert isinstance(first, UsageRow)
    assert isinstance(second, UsageRow)
    assert (first.event.payer, first.event.buckets) == ("acme", {"input": 5, "tool_requests": 2})
    assert (second.event.payer, second.event.buckets) == (None, {"input": 5, "cache_read": 1})


def test_a_spend_log_exported_as_csv(tmp_path: Path) -> None:
    metadata = json.dumps({"usage_object": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}})
    quoted = '"' + metadata.replace('"', '""') + '"'
    content = (
        "request_id,spend,end_user,team_id,prompt_tokens,completion_tokens,total_tokens,startTime,cache_hit,metadata\n"
        f"r-1,0.25,,team-1,9,1,10,2026-01-31 12:00:00.25,False,{quoted}\n"
    )
    (row,) = read(tmp_path, content.encode(), None)
    assert isinstance(row, UsageRow)
    assert (row.event.id, row.event.payer, row.event.buckets) == ("r-1", "team-1", {"input": 9, "output": 1})
    assert row.event.details["cost"] == "0.25"


def test_quoted_cells_may_hold_commas_quotes_and_newlines(tmp_path: Path) -> None:
    content = (
        b'"rid",ts,who,in,out,note\n"r,1",2026-01-31T12:00:00Z,"a ""b""",12,3,"one\ntwo"\n'
        b"r-2,2026-01-31T12:00:00Z,c,1,1,\n"
    )
    first, second = read(
        tmp_path, content, ColumnMap.parse("id=rid time=ts payer=who input=in output=out ignore=note")
    )
    assert isinstance(first, UsageRow)
    assert (first.row_number, first.event.id, first.event.payer) == (2, "r,1", 'a "b"')
    assert second.row_number == 4


def test_blank_lines_keep_the_numbers_of_an_editor(tmp_path: Path) -> None:
    header, one, two = CSV.splitlines(keepends=True)
    assert [row.row_number for row in read(tmp_path, header + b"\n" + one + b"\n\n" + two)] == [3, 6]


def test_lines_longer_than_a_read_are_whole(tmp_path: Path) -> None:
    note = "n" * 700_000
    content = (
        f'{{"id": "a", "time": "2026-01-31T12:00:00Z", "note": "{note}", "usage": {{"input": 3}}}}\n' * 3
    )
    rows = read(tmp_path, content.encode(), None)
    assert [row.row_number for row in rows if isinstance(row, UsageRow)] == [1, 2, 3]


def test_the_same_calls_in_another_file_are_the_same_events(tmp_path: Path) -> None:
    (one, _) = read(tmp_path, CSV, name="march.csv")
    (other, _) = read(tmp_path, gzip.compress(CSV), name="march-exported-again.csv.gz")
    assert isinstance(one, UsageRow)
    assert isinstance(other, UsageRow)
    assert (one.event.source, one.event.id) == (other.event.source, other.event.id)
    assert one.event.source == "log"


def test_rows_that_only_their_number_tells_apart_belong_to_their_file(tmp_path: Path) -> None:
    file = tmp_path / "march.csv.gz"
    file.write_bytes(gzip.compress(b"when,in\n2026-03-01T00:00:00Z,5\n"))
    (row,) = read_usage(file, column_map=ColumnMap.parse("id=#row time=when input=in"))
    assert isinstance(row, UsageRow)
    assert (row.event.source, row.event.id) == ("march.csv", "2")
    (row,) = read_usage(file, column_map=ColumnMap.parse("id=#row time=when input=in"), source="gateway")
    assert isinstance(row, UsageRow)
    assert row.event.source == "gateway"


def test_one_row_may_hold_several_events(tmp_path: Path) -> None:
    def span(number: int) -> dict[str, object]:
        attributes = [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": str(number)}}]
        started = str(NOON * 10**6)
        return {"traceId": "t", "spanId": str(number), "startTimeUnixNano": started, "attributes": attributes}

    export = {"resourceSpans": [{"scopeSpans": [{"spans": [span(1), span(2)]}]}]}
    rows = read(tmp_path, f"{json.dumps(export)}\n{json.dumps(export)}\n".encode(), None)
    assert [(row.row_number, row.event.id) for row in rows if isinstance(row, UsageRow)] == [
        (1, "t:1"),
        (1, "t:2"),
        (2, "t:1"),
        (2, "t:2"),
    ]
    half_bad = {"resourceSpans": [{"scopeSpans": [{"spans": [span(1), span(-2)]}]}]}
    (bad,) = read(tmp_path, json.dumps(half_bad).encode(), None)
    assert isinstance(bad, BadRow)


def test_a_time_beyond_the_callers_clock_is_a_bad_row(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(CSV)
    first, second = read_usage(file, column_map=MAP, latest=NOON)
    assert isinstance(first, UsageRow)
    assert isinstance(second, BadRow)
    assert second.value == NOON + 1500


def test_a_reader_that_stops_early_closes_the_file(tmp_path: Path) -> None:
    """An unclosed file would be a ResourceWarning, which the test run turns into an error."""
    for content in (CSV, NDJSON, PARQUET, gzip.compress(CSV)):
        (tmp_path / "log").write_bytes(content)
        rows = read_usage(tmp_path / "log", column_map=MAP)
        next(iter(rows))
        del rows


def test_parquet_is_loaded_only_for_parquet() -> None:
    """A command that reads no Parquet, `--help` above all, does not wait for it."""
    program = "import sys, meterbridge.adapters.formats; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_files_of_other_kinds_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="Parquet inside gzip"):
        read(tmp_path, gzip.compress(PARQUET))
