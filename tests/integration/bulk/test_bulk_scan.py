"""Columns and rows read alike: a block that is read at once gives what its rows give one by one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_world import COLUMNS, MAP, START, Call, address, blind, make_calls, tariff_record, write_csv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterbridge.adapters.bulk import columns, scan
from meterbridge.adapters.bulk.scan import Files, scan_files
from meterbridge.adapters.formats import ColumnMap
from meterbridge.adapters.formats.errors import BadFile
from meterbridge.services.bulk.chunk import Details, Sources
from meterbridge.services.bulk.sealing import Scanning
from meterbridge.services.ledger_errors import BadUsage
from meterbridge.services.records import AccountKey, AccountRecord, BadRow

PAYERS = 4


class Scanned:
    """What a scan gave: receipts and refusals in the order of the file, and how many chunks at once."""

    def __init__(
        self, path: Path, column_map: ColumnMap | None = MAP, horizon: int = 0, **files: Any
    ) -> None:
        record = tariff_record()
        keys = [AccountKey(record.domain, record.id, address(0x1000 + i)) for i in range(PAYERS)]
        accounts = [AccountRecord(key, blind(i), f"c{i}") for i, key in enumerate(keys)]
        self.refused: list[tuple[int, str]] = []
        self.rows: list[tuple[Any, ...]] = []
        self.at_once = self.one_by_one = 0
        scanning = Scanning(record, accounts, Sources(), Details(), horizon, self._refuse)
        for job in scan_files(Files([path], column_map, **files))(scanning):
            for chunk in job():
                self._take(chunk, scanning)
        self.rows.sort()
        self.refused.sort()

    def _refuse(self, file: str, bad: BadRow) -> None:
        self.refused.append((bad.row_number, bad.reason))

    def _take(self, chunk: Any, scanning: Scanning) -> None:
        self.at_once += chunk.origin.row_numbers is None
        self.one_by_one += chunk.origin.row_numbers is not None
        data = chunk.event_bytes.tobytes()
        cuts = chunk.event_offsets.tolist()
        for i in range(len(chunk)):
            self.rows.append(
                (
                    chunk.origin.row(i),
                    int(chunk.accounts[i]),
                    scanning.sources.values[chunk.sources[i]],
                    scanning.details.values[chunk.details[i]],
                    int(chunk.occurred_at[i]),
                    tuple(chunk.usage[i].tolist()),
                    data[cuts[i] : cuts[i + 1]].decode(),
                )
            )


@pytest.fixture
def row_by_row(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scanned]:
    """Scan without reading any block at once."""

    def scanned(path: Path, *args: Any, **options: Any) -> Scanned:
        with monkeypatch.context() as patched:
            patched.setattr(columns.ColumnReader, "read", lambda *_: None)
            return Scanned(path, *args, **options)

    return scanned


ODD_IDS = ["", "ü", "a\u0301", "x" * 4096, "x" * 4097, "a,b", 'say "hi"', "tab\t", "\x7f", "0", " "]
ODD_COUNTS = [0, 2**53 - 1, 2**53, -1, "12", "007", "1.0", "", None, True, 1.5]
ADDRESS = str(address(0x1003))
ids = st.one_of(st.text("abcdefgh0123456789-_.:/", min_size=1, max_size=70), st.sampled_from(ODD_IDS))
counts = st.one_of(
    st.integers(0, 10_000),
    st.sampled_from([0, 2**53 - 1, 2**53, -1, "12", "007", "1.0", "", None, True, 1.5]),
)
times = st.one_of(
    st.integers(START, START + 10**9),
    st.sampled_from([0, 978_307_199_999, 978_307_200_000, 2**48 - 1, 2**48, -5, "x", None]),
)
texts = st.sampled_from(["small", "large", "", None, "ünïcode", 7, "x" * 300, "void"])
payers = st.sampled_from(
    ["c0", "c1", "c2", str(address(0x1003)), str(address(0x1003)).lower(), "c9", "", None]
)
plain = st.builds(
    dict,
    source=st.sampled_from(["a", "b"]),
    id=st.text("abcdef0123456789-", min_size=1, max_size=60),
    time=st.integers(START, START + 10**9),
    customer=st.sampled_from(["c0", "c1", "c2", str(address(0x1003))]),
    model=st.sampled_from(["small", "large", None]),
    input=st.integers(0, 2**20),
    output=st.integers(0, 2**20),
    reasoning=st.one_of(st.none(), st.integers(0, 2**20)),
    cached=st.integers(0, 2**40),
)
odd = st.builds(
    dict,
    source=texts,
    id=ids,
    time=times,
    customer=payers,
    model=texts,
    input=counts,
    output=counts,
    reasoning=counts,
    cached=counts,
)
tables = st.one_of(
    st.lists(plain, min_size=1, max_size=12),
    st.tuples(st.lists(plain, max_size=4), odd, st.lists(plain, max_size=4)).map(
        lambda t: [*t[0], t[1], *t[2]]
    ),
)


def as_csv(path: Path, table: list[dict[str, Any]]) -> None:
    write_csv(path, [Call(*(row[name] for name in COLUMNS)) for row in table])


def as_ndjson(path: Path, table: list[dict[str, Any]]) -> None:
    lines = [json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False) for row in table]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def as_parquet(path: Path, table: list[dict[str, Any]]) -> None:
    """Write what fits the usual types of columns; a column with anything else in it becomes text."""
    found = {}
    for name in COLUMNS:
        values = [row[name] for row in table]
        kind = pa.string() if name in ("source", "id", "customer", "model") else pa.int64()
        try:
            found[name] = pa.array(values, kind)
        except (pa.ArrowException, OverflowError):
            found[name] = pa.array([None if value is None else str(value) for value in values])
    pq.write_table(pa.table(found), path, row_group_size=5)


@pytest.mark.parametrize("write", [as_csv, as_ndjson, as_parquet])
@given(table=tables)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_block_reads_as_its_rows_do(
    write: Any, row_by_row: Callable[..., Scanned], tmp_path_factory: pytest.TempPathFactory, table: Any
) -> None:
    path = tmp_path_factory.mktemp("scan") / "calls"
    write(path, table)
    try:
        wanted = row_by_row(path)
    except BadFile as error:
        with pytest.raises(BadFile, match=f"^{error.__class__.__name__}|."):
            Scanned(path)
        return
    found = Scanned(path)
    assert (found.rows, found.refused) == (wanted.rows, wanted.refused)
    assert wanted.at_once == 0


@pytest.mark.parametrize("write", [as_csv, as_ndjson, as_parquet])
def test_plain_files_are_read_at_once(write: Any, tmp_path: Path) -> None:
    table = [dict(zip(COLUMNS, call, strict=True)) for call in make_calls(500, PAYERS)]
    write(tmp_path / "calls", table)
    found = Scanned(tmp_path / "calls")
    assert len(found.rows) == 500
    assert found.one_by_one == 0


@pytest.mark.parametrize(
    "odd",
    [
        "null\n",  # Arrow's reader of JSON ends the process where a block begins with it
        "null\n" * 3,
        "\n%s%s\n",  # a blank line and two objects in one are as many lines as objects
        '{"a":\n1}%s\n',
        " \n[%s,\n%s]\n",
        "%s %s\n\r\n",
        '"%s\n',
        "\ufeff%s\n",
        "%s,\n",
    ],
)
@pytest.mark.parametrize("size", [100, 10**6])
def test_odd_lines_are_told_by_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_by_row: Callable[..., Scanned], odd: str, size: int
) -> None:
    monkeypatch.setattr(scan, "BLOCK_BYTES", size)
    monkeypatch.setattr("meterbridge.adapters.formats.lines.CHUNK_BYTES", size)
    table = [dict(zip(COLUMNS, call, strict=True)) for call in make_calls(20, PAYERS)]
    as_ndjson(tmp_path / "calls", table)
    lines = (tmp_path / "calls").read_text().splitlines(keepends=True)
    line = lines[7].removesuffix("\n")
    odd = odd % ((line,) * odd.count("%s"))
    for at in (1, 5, 20):
        path = tmp_path / f"odd-{at}"
        path.write_bytes("".join([*lines[:at], odd, *lines[at:]]).encode())
        found, wanted = Scanned(path), row_by_row(path)
        assert (found.rows, found.refused) == (wanted.rows, wanted.refused)
        assert len(found.rows) == 20
        assert found.refused


ODD_JSON = {
    "no UTF-8 in a payer": [b'"customer": "\xff"'],
    "no UTF-8 in a text": [b'"model": "a\xc3("'],
    "no UTF-8 in a key": [b'"\xff": 1, "customer": "c1"'],
    "no number": [b'"model": NaN'],
    "infinite": [b'"model": -Infinity'],
    "too long": [b'"model": "' + b"x" * 2**20 + b'"'],
    "a time for milliseconds": [b'"time": "2026-01-01T10:20:30"'],
    "a date for milliseconds": [b'"time": "2026-01-01"'],
    "texts like times": [b'"model": "2026-01-01"', b'"model": "2026-01-01 00:00:00"', b'"model": null'],
    "numbers as details": [b'"model": 1', b'"model": 1.0', b'"model": 1.00000000000000001'],
    "whole numbers as details": [b'"model": 1', b'"model": 2'],
}


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("odd", ODD_JSON)
def test_odd_cells_of_json_read_as_their_rows_do(
    tmp_path: Path, row_by_row: Callable[..., Scanned], odd: str, first: int
) -> None:
    """Arrow takes texts for times, several texts for one number, and bytes that are no text."""
    table = [dict(zip(COLUMNS, call, strict=True)) for call in make_calls(20, PAYERS)]
    as_ndjson(tmp_path / "calls", table)
    lines = (tmp_path / "calls").read_bytes().splitlines(keepends=True)
    for at, cell in enumerate(ODD_JSON[odd], first):
        name = cell.rpartition(b'"customer"')[1] or cell.partition(b":")[0]
        cells = [one for one in lines[at].strip(b"{}\n").split(b", ") if not one.startswith(name)]
        lines[at] = b"{" + b", ".join([*cells, cell]) + b"}\n"
    path = tmp_path / "odd"
    path.write_bytes(b"".join(lines))
    found, wanted = Scanned(path), row_by_row(path)
    assert (found.rows, found.refused) == (wanted.rows, wanted.refused)
    assert len(found.rows) + len(found.refused) == 20


@pytest.mark.parametrize(
    "text", ["2026-01-01", "2026-01-01 10", "2026-01-01T10:20:30", "2026-01-01 10:20:30Z"]
)
def test_times_of_json_read_as_their_rows_do(
    tmp_path: Path, row_by_row: Callable[..., Scanned], text: str
) -> None:
    calls = [{"id": f"a{n}", "at": "2026-01-01T10:20:30Z", "who": "c1", "input": n} for n in range(10)]
    calls[3]["at"] = text
    path = tmp_path / "calls"
    path.write_text("".join(json.dumps(call) + "\n" for call in calls))
    column_map = ColumnMap.parse("id=id time=at payer=who input=input")
    found, wanted = Scanned(path, column_map), row_by_row(path, column_map)
    assert (found.rows, found.refused) == (wanted.rows, wanted.refused)
    calls[3]["at"] = calls[4]["at"]
    path.write_text("".join(json.dumps(call) + "\n" for call in calls))
    plain = Scanned(path, column_map)
    assert (len(plain.rows), plain.one_by_one) == (10, 0)


@pytest.mark.parametrize("size", [200, 3_000, 10**6])
def test_blocks_of_lines_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_by_row: Callable[..., Scanned], size: int
) -> None:
    calls = make_calls(900, PAYERS)
    calls[333] = calls[333]._replace(id='with "quotes", and a comma')
    calls[700] = calls[700]._replace(input=-4)
    path = write_csv(tmp_path / "calls.csv", calls)
    text = path.read_text().splitlines(keepends=True)
    text.insert(500, "\n")  # a blank line is no row, but it is a line
    path.write_text("".join(text))
    wanted = row_by_row(path)
    monkeypatch.setattr(scan, "BLOCK_BYTES", size)
    monkeypatch.setattr("meterbridge.adapters.formats.lines.CHUNK_BYTES", size)
    found = Scanned(path)
    assert (found.rows, found.refused) == (wanted.rows, wanted.refused)
    assert [number for number, _ in found.refused] == [703]
    if size == 200:
        assert found.at_once > 100


def test_a_cell_of_several_lines_is_read(tmp_path: Path, row_by_row: Callable[..., Scanned]) -> None:
    header = ",".join(COLUMNS)
    cell = f'"a ""b""\nc",{START},c1,,1,2,,3'
    path = tmp_path / "calls.csv"
    path.write_text(f"{header}\ng,one,{START},c0,,1,2,,3\ng,{cell}\ng,two,{START},c0,,1,2,,3\n")
    column_map = ColumnMap.parse([*_pairs(MAP), "ignore=*"])
    found, wanted = Scanned(path, column_map), row_by_row(path, column_map)
    assert (found.rows, found.refused) == (wanted.rows, wanted.refused)
    assert [row[0] for row in found.rows] == [2, 5]
    assert [number for number, _ in found.refused] == [3]


def _pairs(column_map: ColumnMap) -> Iterator[str]:
    for name, column in column_map.columns():
        unit = "_ms" if name == "time" else ""
        yield f"{name}{unit}{'?' if column in column_map.optional else ''}={column}"


@pytest.mark.parametrize("packed", [False, True])
def test_marks_line_ends_and_gzip(tmp_path: Path, packed: bool) -> None:
    calls = make_calls(50, PAYERS)
    plain_rows = Scanned(write_csv(tmp_path / "plain.csv", calls)).rows
    data = b"\xef\xbb\xbf" + (tmp_path / "plain.csv").read_bytes().replace(b"\n", b"\r\n").rstrip()
    path = tmp_path / ("odd.csv.gz" if packed else "odd.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    found = Scanned(path)
    assert found.rows == plain_rows
    assert found.one_by_one == 0


UNITS = [("time_s", 1), ("time_ms", 1000), ("time_us", 10**6), ("time_ns", 10**9)]


@pytest.mark.parametrize(("unit", "per_second"), UNITS)
def test_units_of_time(
    tmp_path: Path, unit: str, per_second: int, row_by_row: Callable[..., Scanned]
) -> None:
    moments = [START // 1000 * per_second + n for n in (0, 1, 999, per_second - 1)]
    table = pa.table({"id": list("abcd"), "t": moments, "in": [1, 2, 3, 4]})
    pq.write_table(table, tmp_path / "t.parquet")
    column_map = ColumnMap.parse(f"id=id {unit}=t input=in")
    found = Scanned(tmp_path / "t.parquet", column_map, payer="c0")
    assert [row[4] for row in found.rows] == [moment * 1000 // per_second for moment in moments]
    assert found.rows == row_by_row(tmp_path / "t.parquet", column_map, payer="c0").rows
    assert found.one_by_one == 0


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns", "UTC")]
)
def test_timestamps_of_parquet_say_their_unit(tmp_path: Path, kind: Any) -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    table = pa.table({"id": ["a"], "t": pa.array([moment], pa.timestamp("s", "UTC")).cast(kind), "in": [1]})
    pq.write_table(table, tmp_path / "t.parquet")
    found = Scanned(tmp_path / "t.parquet", ColumnMap.parse("id=id time=t input=in"), payer="c0")
    assert [row[4] for row in found.rows] == [int(moment.timestamp()) * 1000]
    assert found.one_by_one == 0


ISO = [
    "2026-01-31 12:00:00",
    "2026-01-31T12:00:00Z",
    "2026-01-31 12:00:00.9799600",
    "1970-01-01T00:00:00.001Z",
    "2026-01-31T12:00:00+02:00",
    "2026-02-30T12:00:00Z",
    "2026-01-31T12:00:60Z",
    "2026-01-31t12:00z",
    "9999-12-31T23:59:59Z",
    "yesterday",
]


@pytest.mark.parametrize("text", ISO)
def test_times_as_text(tmp_path: Path, text: str, row_by_row: Callable[..., Scanned]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"id,t,in\na,2026-01-31 12:00:00.5,1\nb,{text},2\n")
    column_map = ColumnMap.parse("id=id time=t input=in")
    found, wanted = Scanned(path, column_map, payer="c0"), row_by_row(path, column_map, payer="c0")
    assert (found.rows, found.refused) == (wanted.rows, wanted.refused)
    assert found.rows[0][4] == 1_769_860_800_500


def test_totals_and_their_rests(tmp_path: Path, row_by_row: Callable[..., Scanned]) -> None:
    column_map = ColumnMap.parse(
        "id=id time_ms=t input_total=in output_total=out cache_read=hit reasoning=think total=all"
    )
    lines = [f"a,{START},10,5,4,2,15", f"b,{START},0,0,0,0,0"]
    for wrong in ("", f"c,{START},3,5,4,2,8", f"c,{START},10,5,4,2,16"):
        path = tmp_path / "t.csv"
        path.write_text("id,t,in,out,hit,think,all\n" + "\n".join([*lines, *filter(None, [wrong])]))
        found, wanted = Scanned(path, column_map, payer="c0"), row_by_row(path, column_map, payer="c0")
        assert (found.rows, found.refused) == (wanted.rows, wanted.refused)
        assert [row[5][:3] for row in found.rows] == [(6, 5, 4), (0, 0, 0)]
        assert (found.one_by_one == 0) == (not wrong)


def test_nested_json_and_details_of_several_columns(
    tmp_path: Path, row_by_row: Callable[..., Scanned]
) -> None:
    rows = [
        {"id": str(i), "t": START + i, "use": {"in": i}, "meta": {"region": f"r{i % 2}", "tier": i % 3}}
        for i in range(12)
    ]
    path = tmp_path / "t.ndjson"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    column_map = ColumnMap.parse("id=id time_ms=t input=use.in detail=meta.region,meta.tier")
    found, wanted = Scanned(path, column_map, payer="c0"), row_by_row(path, column_map, payer="c0")
    assert found.rows == wanted.rows
    assert found.one_by_one == 0
    assert {row[3] for row in found.rows} == {
        f'{{"meta.region":"r{a}","meta.tier":{b}}}' for a in range(2) for b in range(3)
    }


def test_native_shapes_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    path.write_text(json.dumps({"id": "x", "created": START // 1000, "model": "m", "usage": usage}) + "\n")
    found = Scanned(path, None, payer="c2", source="gateway")
    assert [(row[1], row[2], row[5][:2], row[6]) for row in found.rows] == [(2, "gateway", (9, 4), "x")]


def test_the_horizon_is_checked_for_blocks_and_rows(tmp_path: Path) -> None:
    calls = make_calls(100, PAYERS)
    times_ = sorted(call.time for call in calls)
    path = write_csv(tmp_path / "calls.csv", calls)
    found = Scanned(path, horizon=times_[10])
    assert len(found.rows) == 90
    assert len(found.refused) == 10
    assert Scanned(path, horizon=times_[0]).one_by_one == 0


@pytest.mark.parametrize("damage", ["header", "cut", "unknown column"])
def test_files_that_are_no_usage_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "calls.parquet"
    table = pa.table({"id": ["a"] * 3000, "t": np.arange(3000) + START, "in": np.arange(3000)})
    if damage == "unknown column":
        table = table.append_column("prompt_tokens", table["in"])
    pq.write_table(table, path, compression="none", write_page_checksum=True)
    data = path.read_bytes()
    if damage == "header":
        path.write_bytes(b"PAR1" + bytes(100))
    if damage == "cut":
        path.write_bytes(data[:200] + bytes(400) + data[600:])
    with pytest.raises((BadFile, BadUsage)):
        Scanned(path, ColumnMap.parse("id=id time_ms=t input=in"), payer="c0")


def test_the_real_traces_add_up(shared_data: Path) -> None:
    sums = {"AzureLLMInferenceTrace_code.csv": None, "AzureLLMInferenceTrace_conv.csv": None}
    for name in sums:
        lines = [line.split(",") for line in (shared_data / name).read_text().split("\n")[1:] if line]
        found = Scanned(shared_data / name, None, payer="c0")
        assert found.one_by_one == 0
        assert len(found.rows) == len(lines)
        assert sum(row[5][0] for row in found.rows) == sum(int(line[1]) for line in lines)
        assert sum(row[5][1] for row in found.rows) == sum(int(line[2]) for line in lines)
