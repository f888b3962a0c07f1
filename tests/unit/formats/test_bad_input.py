"""Bad input: each broken row is one clear error with its number and value, and rows around it are read."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meterbridge.adapters.formats import BadFile, BadRow, ColumnMap, Row, UsageRow, read_usage

MAP = ColumnMap.parse("id=rid time=ts input=in")
TIME = "2026-01-31T12:00:00Z"


def read(folder: Path, content: bytes, column_map: ColumnMap | None = MAP) -> list[Row]:
    file = folder / "log"
    file.write_bytes(content)
    return list(read_usage(file, column_map=column_map))


def csv_of(*rows: bytes) -> bytes:
    return b"\n".join([b"rid,ts,in", *rows]) + b"\n"


def good(number: int) -> bytes:
    return f"r-{number},{TIME},{number}".encode()


def json_of(number: int) -> bytes:
    return f'{{"rid": "r-{number}", "ts": "{TIME}", "in": {number}}}'.encode()


def numbers(rows: list[Row]) -> tuple[list[int], list[int]]:
    """Return the row numbers of events and of bad rows."""
    events = [row.row_number for row in rows if isinstance(row, UsageRow)]
    return events, [row.row_number for row in rows if isinstance(row, BadRow)]


BROKEN_CSV_ROWS = [
    pytest.param(b"r-2,2026-01-31T12:00:00Z", "has 2 cells; the header has 3", id="too few cells"),
    pytest.param(b"r-2,2026-01-31T12:00:00Z,1,2", "has 4 cells", id="too many cells"),
    pytest.param(b"r-2,2026-01-31T12:00:00Z,-5", "whole number", id="negative count"),
    pytest.param(b"r-2,2026-01-31T12:00:00Z,9007199254740992", "at most 9007199254740991", id="absurd count"),
    pytest.param(b"r-2,2026-01-31T12:00:00Z," + b"9" * 5000, "whole number", id="count of 5,000 digits"),
    pytest.param(b"r-2,2026-01-31T12:00:00Z,1.0", "1.0", id="fraction"),
    pytest.param(b"r-2,2026-01-31T12:00:00Z,", "is empty", id="no count"),
    pytest.param(b",2026-01-31T12:00:00Z,1", "is empty", id="no id"),
    pytest.param(b"r-2,20260131,1", "20260131", id="no time"),
    pytest.param(b"r-2,1969-12-31T23:59:59Z,1", "out of range", id="before 1970"),
    pytest.param(b"r-2,2026-13-31T12:00:00Z,1", "out of range", id="thirteenth month"),
    pytest.param(b"r-\x002,2026-01-31T12:00:00Z,1", "NUL", id="NUL byte"),
    pytest.param(b"r-\xff2,2026-01-31T12:00:00Z,1", "0xff", id="not UTF-8"),
    pytest.param("r-é,2026-01-31T12:00:00Z,1".encode("latin-1"), "UTF-8", id="Latin-1"),
    pytest.param(b'"r-2,2026-01-31T12:00:00Z,1', "quote never closes", id="open quote"),
    pytest.param(b'"r-2"x,2026-01-31T12:00:00Z,1', "quotes are wrong", id="text after a quote"),
    pytest.param(b"r-2\r,2026-01-31T12:00:00Z,1", "control character", id="carriage return inside"),
    pytest.param(b"x" * (1 << 20) + b"y", "longer than 1048576 bytes", id="endless line"),
]


@pytest.mark.parametrize(("row", "reason"), BROKEN_CSV_ROWS)
def test_a_broken_csv_row_costs_itself_only(tmp_path: Path, row: bytes, reason: str) -> None:
    rows = read(tmp_path, csv_of(good(1), row, *(good(n) for n in range(3, 200))))
    events, bad = numbers(rows)
    assert bad == [3]
    assert events == [2, *range(4, 201)]
    found = next(row for row in rows if isinstance(row, BadRow))
    assert reason in found.reason
    assert found.value is not None or "is empty" in reason
    assert "row 3: " in str(found)
    assert len(str(found)) < 500


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param(b"{", "not JSON", id="open brace"),
        pytest.param(b"nonsense", "not JSON", id="no JSON"),
        pytest.param(b"null", "one JSON object", id="null"),
        pytest.param(b'[{"rid": 1}]', "JSON array", id="array"),
        pytest.param(json_of(2) + json_of(3), "not JSON", id="two objects"),
        pytest.param(b'{"rid": "a", "rid": "b"}', "'rid' stands twice", id="key twice"),
        pytest.param(b'{"rid": "a", "ts": "%s", "in": NaN}' % TIME.encode(), "NaN", id="NaN"),
        pytest.param(b'{"rid": "a", "ts": "%s", "in": 1e2}' % TIME.encode(), "whole number", id="exponent"),
        pytest.param(b'{"rid": "a", "ts": "%s", "in": 12.0}' % TIME.encode(), "12.0", id="fraction"),
        pytest.param(b'{"rid": "a", "ts": "%s", "in": true}' % TIME.encode(), "True", id="boolean"),
        pytest.param(b'{"rid": "a", "ts": "%s", "in": -1}' % TIME.encode(), "negative", id="negative"),
        pytest.param(
            b'{"rid": "a", "ts": "%s", "in": 1%s}' % (TIME.encode(), b"0" * 30), "at most", id="absurd"
        ),
        pytest.param(
            b'{"rid": "a", "ts": "%s", "in": %s}' % (TIME.encode(), b"9" * 5000), "not JSON", id="huge"
        ),
        pytest.param(b'{"rid": "a", "ts": 1e99999999999999999999}', "out of any range", id="absurd exponent"),
        pytest.param(b'{"rid": "a", "ts": 1e401}', "out of any range", id="exponent beyond any double"),
        pytest.param(b'{"rid": "a", "ts": "%s"}' % TIME.encode(), "'in' is missing", id="no count"),
        pytest.param(
            b'{"rid": "a", "ts": "%s", "in": 1, "tokens": 2}' % TIME.encode(), "'tokens'", id="unknown column"
        ),
        pytest.param(
            b'{"rid": "\\ud800", "ts": "%s", "in": 1}' % TIME.encode(), "Unicode", id="half a surrogate"
        ),
        pytest.param(b'{"rid": "a\x00", "ts": "%s", "in": 1}' % TIME.encode(), "NUL", id="NUL byte"),
        pytest.param(
            b'{"rid": "a\\u0000", "ts": "%s", "in": 1}' % TIME.encode(), "control", id="escaped NUL"
        ),
        pytest.param(b'{"rid": "\xe9", "ts": "%s", "in": 1}' % TIME.encode(), "UTF-8", id="Latin-1"),
        pytest.param(b'{"a":' * 100_000, "nested too deeply", id="deep nesting"),
        pytest.param(b"\xef\xbb\xbf" + json_of(2), "not JSON", id="a mark in the middle"),
    ],
)
def test_a_broken_json_line_costs_itself_only(tmp_path: Path, row: bytes, reason: str) -> None:
    rows = read(tmp_path, b"\n".join([json_of(1), row, json_of(3), json_of(4)]))
    assert numbers(rows) == ([1, 3, 4], [2])
    found = next(row for row in rows if isinstance(row, BadRow))
    assert reason in found.reason
    assert len(str(found)) < 500


def test_a_broken_parquet_row_costs_itself_only(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    table = pa.table({"rid": ["a", "b", None, "d"], "ts": [TIME] * 4, "in": [1, -1, 1, 4]})
    pq.write_table(table, buffer)
    rows = read(tmp_path, buffer.getvalue())
    assert numbers(rows) == ([1, 4], [2, 3])


@pytest.mark.parametrize("kind", [pa.float64(), pa.bool_(), pa.decimal128(10, 2), pa.date32()])
def test_parquet_counts_of_another_type_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    buffer = io.BytesIO()
    pq.write_table(
        pa.table(
            {
                "rid": ["a"],
                "ts": [TIME],
                "in": pa.array([Decimal(1)]).cast(kind)
                if pa.types.is_decimal(kind)
                else pa.array([1]).cast(pa.int32()).cast(kind),
            }
        ),
        buffer,
    )
    (row,) = read(tmp_path, buffer.getvalue())
    assert isinstance(row, BadRow)
    assert "whole number" in row.reason


def test_an_open_quote_that_a_later_one_seems_to_close_swallows_no_row(tmp_path: Path) -> None:
    rows = read(tmp_path, csv_of(good(1), b'r-2,"x', good(3), good(4), b'r-5,y"', good(6)))
    events, bad = numbers(rows)
    assert events == [2, 4, 5, 7]
    assert bad == [3, 6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="nothing"),
        pytest.param(gzip.compress(b""), "is empty", id="nothing, packed"),
        pytest.param(b"\xef\xbb\xbf", "nothing but blank lines", id="a byte order mark"),
        pytest.param(b"\n\n", "nothing but blank lines", id="newlines"),
        pytest.param(b"rid,ts,in\n", "has no rows", id="a header alone"),
        pytest.param("rid,ts,in\n".encode("utf-16"), "UTF-16", id="UTF-16"),
        pytest.param(b"PAR1 this is no Parquet", "not a Parquet file", id="Parquet by its first bytes only"),
        pytest.param(b"rid,ts,in,in\na,b,1,2\n", "row 1: column 'in' stands twice", id="a column twice"),
        pytest.param(b"rid,,in\na,b,1\n", "row 1: column 2 of the header has no name", id="no name"),
        pytest.param(b"rid;ts;in\na;b;1\n", "row 1: .*semicolons", id="semicolons"),
        pytest.param(b"rid\tts\tin\na\tb\t1\n", "row 1: .*tabs", id="tabs"),
        pytest.param(b"rid,ts,in\ra,b,1\r", "row 1: .*carriage returns", id="old Mac"),
        pytest.param(
            b"rid,ts,\xffin\na,b,1\n", "row 1: the header cannot be read: .*UTF-8", id="header in Latin-1"
        ),
        pytest.param(
            b'rid,ts,"in\na,b,1\n',
            "row 1: the header cannot be read: a quote",
            id="header with an open quote",
        ),
        pytest.param(
            b"rid,ts\na,b\n", "row 1: there is no column 'in', which the map gives to 'input'", id="missing"
        ),
        pytest.param(
            b"rid,ts,in,tokens\na,b,1,2\n", "row 1: column 'tokens' is not in the column map", id="unknown"
        ),
    ],
)
def test_a_file_that_is_no_usage_is_refused_as_a_whole(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"customer,when,n\na,b,1\n", "of no known shape; map them, as in id=", id="no shape"),
        pytest.param(b"id,time,inputs\na,b,1\n", "of no known shape", id="nearly our own names"),
        pytest.param(b"<html><body>Not found</body></html>\n", "of no known shape", id="a web page"),
    ],
)
def test_a_table_nobody_knows_asks_for_a_map(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        read(tmp_path, content, None)


def test_parquet_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["in", "in"]), buffer)
    with pytest.raises(BadFile, match="'in' stands twice"):
        read(tmp_path, buffer.getvalue())


@pytest.mark.parametrize("path", ["missing.csv", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(BadFile, match=f"cannot read {tmp_path / path}"):
        next(read_usage(tmp_path / path))


def test_a_truncated_gzip_gives_its_whole_rows_and_says_where_it_breaks_off(tmp_path: Path) -> None:
    packed = gzip.compress(csv_of(*(good(number) for number in range(1, 5000))))
    rows = read(tmp_path, packed[: len(packed) * 2 // 3])
    *events, last = rows
    assert len(events) > 100
    assert isinstance(last, BadRow)
    assert "breaks off" in last.reason
    assert "all after it are left out" in last.reason
    # The row that was cut in two is not among the events: its count would be a part of the true one.
    for event in events:
        assert isinstance(event, UsageRow)
        assert event.event.id == f"r-{event.event.buckets['input']}"
    assert last.row_number == events[-1].row_number + 1


def test_a_gzip_with_a_wrong_checksum_is_not_trusted(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(csv_of(good(1), good(2))))
    packed[-8] ^= 0xFF
    *_, last = read(tmp_path, bytes(packed))
    assert isinstance(last, BadRow)
    assert "CRC" in last.reason


def test_a_gzip_header_without_a_body_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="damaged or breaks off"):
        read(tmp_path, gzip.compress(csv_of(good(1)))[:12])


def test_a_truncated_parquet_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"rid": ["a"], "ts": [TIME], "in": [1]}), buffer)
    with pytest.raises(BadFile, match="not a Parquet file that can be read"):
        read(tmp_path, buffer.getvalue()[:-10])


def test_a_parquet_damaged_in_the_middle_says_from_where_on(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    rows = 40_000
    table = pa.table({"rid": [f"r-{n}" for n in range(rows)], "ts": [TIME] * rows, "in": list(range(rows))})
    pq.write_table(table, buffer, row_group_size=10_000, compression="zstd", write_page_checksum=True)
    content = bytearray(buffer.getvalue())
    middle = len(content) * 6 // 10
    content[middle : middle + 64] = b"\xff" * 64
    *events, last = read(tmp_path, bytes(content))
    assert isinstance(last, BadRow)
    assert 1 < last.row_number <= rows
    assert last.row_number == len(events) + 1
    assert "damaged" in last.reason


@pytest.mark.parametrize("content", [b'[\n{"rid": "a"}\n]\n', b'{\n  "rid": "a"\n}\n'])
def test_json_over_several_lines_is_told_to_stand_on_one(tmp_path: Path, content: bytes) -> None:
    rows = read(tmp_path, content)
    assert isinstance(rows[0], BadRow)
    assert rows[0].row_number == 1
    assert "each line holds one JSON object" in rows[0].reason


def test_a_bad_row_says_what_it_found(tmp_path: Path) -> None:
    (row,) = read(tmp_path, csv_of(b"r-1,2026-01-31T12:00:00Z,-12"))
    assert isinstance(row, BadRow)
    assert row.value == "-12"
    assert str(row).startswith("row 2: column 'in' is '-12'; a count is a whole number")


PEAK = """
import sys, tracemalloc
from pathlib import Path
from meterbridge.adapters.formats import ColumnMap, read_usage

def peak_of(file):
    tracemalloc.start()
    for _ in read_usage(Path(file), column_map=ColumnMap.parse("id=rid time=ts input=in")):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak

peak_of(sys.argv[1])  # imports and caches are not the file's
print(*map(peak_of, sys.argv[2:]))
"""


@pytest.mark.parametrize("packed", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, packed: bool) -> None:
    def log_of(rows: int) -> str:
        content = csv_of(*(good(number) for number in range(rows)))
        file = tmp_path / f"log-{rows}"
        file.write_bytes(gzip.compress(content, 1) if packed else content)
        return str(file)

    # In a process of its own: what other tests leave running would be counted, too.
    command = [sys.executable, "-c", PEAK, log_of(10), log_of(5_000), log_of(14_000)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    small, large = map(int, told.split())
    assert 0 < large < small + 100_000


def test_one_endless_line_is_not_held(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with gzip.open(file, "wb", compresslevel=1) as out:
        for _ in range(100):
            out.write(b"{" + b" " * 1_000_000)
        out.write(b"\n" + json_of(2))
    tracemalloc.start()
    rows = list(read_usage(file, column_map=MAP))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numbers(rows) == ([2], [1])
    assert peak < 16_000_000
