"""What reading a file gives: events and bad rows, each with its row number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from meterbridge.domain.events import UsageEvent

SNIPPET_CHARS = 80


class UsageRow(NamedTuple):
    """One event and where it stands.

    Attributes:
        row_number: counted from 1 as a person sees it: the line in an editor for CSV and NDJSON (a CSV's
            header is line 1, its first event line 2), the row for Parquet.
        event: what the row says. One row may hold several events (an OTLP export), under the same number.
    """

    row_number: int
    event: UsageEvent


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that cannot be counted.

    Attributes:
        row_number: counted as in `UsageRow`.
        value: what was found there, shortened where it is long.
        reason: what is wrong with it and what to do, as one sentence.
    """

    row_number: int
    value: object
    reason: str

    def __str__(self) -> str:
        return f"row {self.row_number}: {self.reason} (found {snippet(self.value)})"


Row = UsageRow | BadRow


class RawRow(NamedTuple):
    """One row as its file holds it, before anybody knows what the fields mean."""

    row_number: int
    fields: dict[str, object]


def snippet(value: object) -> str:
    """Return a value as one short line for an error message."""
    text = repr(value)
    return text if len(text) <= SNIPPET_CHARS else f"{text[:SNIPPET_CHARS]}…"
