"""NDJSON: one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator

from meterbridge.adapters.formats.errors import BadUsage
from meterbridge.adapters.formats.lines import Lines, decode
from meterbridge.adapters.formats.rows import BadRow, RawRow, snippet
from meterbridge.adapters.formats.values import parse_json


def ndjson_rows(lines: Lines) -> Iterator[RawRow | BadRow]:
    """Yield one row for each line that is not blank."""
    for number, line in lines:
        if isinstance(line, BadRow):
            yield line
        elif line and not line.isspace():
            text = decode(number, line)
            yield _row(number, text) if isinstance(text, str) else text


def _row(number: int, text: str) -> RawRow | BadRow:
    try:
        value = parse_json(text)
    except BadUsage as error:
        return BadRow(number, error.value, f"{error}; each line holds one JSON object")
    if isinstance(value, dict):
        return RawRow(number, value)
    what = "null, or a record nothing" if value is None else snippet(value)
    reason = f"the line holds {what}; it must hold one JSON object, {{…}}"
    if isinstance(value, list):
        reason = "the line holds a JSON array; write one object a line (jq -c '.[]' does it)"
    return BadRow(number, text[:80], reason)
