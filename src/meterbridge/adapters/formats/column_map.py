"""Column maps: which column of a plain file means what."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from meterbridge.adapters.formats.errors import BadColumnMap
from meterbridge.adapters.formats.times import TimeUnit
from meterbridge.domain.events import BUCKETS

ROW_NUMBER: Final = "#row"
"""In place of a column for `id`: the row's number is its id."""

TIME_NAMES: Final = {
    "time": TimeUnit.ISO,
    "time_s": TimeUnit.S,
    "time_ms": TimeUnit.MS,
    "time_us": TimeUnit.US,
    "time_ns": TimeUnit.NS,
}
TEXT_NAMES: Final = ("id", "payer", "source", "model")
TOTAL_NAMES: Final = ("input_total", "output_total", "total")
INPUT_PARTS: Final = (
    *("cache_read", "cache_write_5m", "cache_write_1h", "cache_write"),
    *("audio_input", "image_input", "video_input"),
)
"""The buckets that a prompt's total (`input_total`) includes besides `input`."""
OUTPUT_PARTS: Final = ("reasoning", "audio_output", "image_output")
"""The buckets that an answer's total (`output_total`) includes besides `output`."""
LIST_NAMES: Final = ("detail", "ignore")
NAMES: Final = (*TEXT_NAMES, *TIME_NAMES, "usage", *TOTAL_NAMES, *BUCKETS, *LIST_NAMES)
EXAMPLE: Final = "id=request_id time=ts payer=customer input=prompt_tokens output=completion_tokens"


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """What the columns of a CSV, NDJSON or Parquet file mean.

    A column is named as its header, key or field is; inside nested JSON and structs with dots,
    `usage.prompt_tokens`.

    Attributes:
        id: column of the event's id, unique within its source; `#row` takes the row number.
        time: column of the time, read as `time_unit` says: ISO 8601 (no zone means UTC), or a number of
            seconds, milliseconds, microseconds or nanoseconds since 1970. A Parquet timestamp column is read
            as `ISO`.
        time_unit: how `time` is written.
        payer: column of who pays.
        source: column of who reported; without it the file's name, or what the caller says.
        model: column of the model, kept as a detail.
        usage: column that holds a usage object in a shape of its own (OpenAI, Anthropic, …), as JSON or
            nested.
        input_total: column of a prompt's total, cached tokens and media *included*; `input` is what remains
            of it.
        output_total: column of an answer's total, reasoning and media *included*; `output` is what remains of
            it.
        total: column of the grand total of tokens; a row whose buckets do not add up to it is refused.
        buckets: bucket to column, for columns that already count disjoint things.
        details: columns that are kept as details of the receipt.
        ignored: columns that are known and not kept.
        ignore_rest: other columns may stand in the file too, unless their name sounds like usage.
        optional: columns that a row may lack or leave empty: then zero, or nothing.
    """

    id: str | None = None
    time: str | None = None
    time_unit: TimeUnit = TimeUnit.ISO
    payer: str | None = None
    source: str | None = None
    model: str | None = None
    usage: str | None = None
    input_total: str | None = None
    output_total: str | None = None
    total: str | None = None
    buckets: Mapping[str, str] = field(default_factory=dict)
    details: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()
    ignore_rest: bool = False
    optional: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._require_bucket_names()
        self._require_columns_once()
        self._require_one_way_to_count()
        if self.counts_columns and not (self.id and self.time):
            missing = "id" if not self.id else "time"
            hint = (
                "; id=#row takes the row number" if not self.id else ", or time_s, time_ms, time_us, time_ns"
            )
            raise BadColumnMap(f"the column map counts usage and names no {missing}={hint}", missing)

    @classmethod
    def parse(cls, pairs: str | Iterable[str]) -> Self:
        """Read `name=column` pairs, as one text or one by one: `id=request_id time=ts output=answer_tokens`.

        The names are the attributes' and the buckets' own; `time_s`, `time_ms`, `time_us` and `time_ns` give
        a unit; `detail=a,b` and `ignore=a,b` list columns, `ignore=*` stands for the rest; `name?=column`
        makes it optional. A column with a space in its name stands in quotes.

        Raises:
            BadColumnMap: naming the pair and what would be right.
        """
        texts = [pairs] if isinstance(pairs, str) else list(pairs)
        try:
            words = [word for text in texts for word in shlex.split(text)]
        except ValueError as error:
            raise BadColumnMap(f"the column map has a quote that never closes: {error}", pairs) from error
        return cls.of(_split_pair(word) for word in words)

    @classmethod
    def of(cls, pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Self:
        """Build from names and columns, such as the object in a tariff's document; see `parse`.

        Raises:
            BadColumnMap: naming the pair and what would be right.
        """
        draft = _Draft()
        for name, column in pairs.items() if isinstance(pairs, Mapping) else pairs:
            draft.add(name, column)
        if not draft.single and not draft.buckets and not draft.details:
            raise BadColumnMap(f"the column map names no column; an example: {EXAMPLE}", "")
        singles = dict(draft.single)
        return cls(
            **singles,
            time_unit=draft.time_unit,
            buckets=draft.buckets,
            details=tuple(draft.details),
            ignored=frozenset(draft.ignored - {"*"}),
            ignore_rest="*" in draft.ignored,
            optional=frozenset(draft.optional),
        )

    @property
    def counts_columns(self) -> bool:
        """Tell whether the map says where usage is; if not, it only overrides what a native shape says."""
        return bool(self.usage or self.input_total or self.output_total or self.total or self.buckets)

    def columns(self) -> Iterator[tuple[str, str]]:
        """Yield (name, column) of all that is read; the row number is no column."""
        for name in (*TEXT_NAMES, "time", "usage", *TOTAL_NAMES):
            column = getattr(self, name)
            if column is not None and column != ROW_NUMBER:
                yield name, column
        yield from self.buckets.items()
        yield from (("detail", column) for column in self.details)

    def _require_bucket_names(self) -> None:
        for bucket in self.buckets:
            if bucket not in BUCKETS:
                raise BadColumnMap(f"there is no bucket {bucket!r}; there are {', '.join(BUCKETS)}", bucket)

    def _require_columns_once(self) -> None:
        """Refuse to count a column twice; an id or a time may well be kept as a detail too."""
        seen: dict[str, str] = {}
        for name, column in self.columns():
            if name == "detail" or column not in seen:
                seen[column] = name
                continue
            raise BadColumnMap(f"column {column!r} is given to both {seen[column]!r} and {name!r}", column)
        both = self.ignored & seen.keys()
        if both:
            column = min(both)
            raise BadColumnMap(f"column {column!r} is both ignored and given to {seen[column]!r}", column)

    def _require_one_way_to_count(self) -> None:
        for whole, part in (("input_total", "input"), ("output_total", "output")):
            if getattr(self, whole) and part in self.buckets:
                reason = f"{part!r} is what remains of {whole!r}; give one of them"
                raise BadColumnMap(reason, self.buckets[part])
        named = [name for name in ("input_total", "output_total") if getattr(self, name)]
        if self.usage and (named or self.buckets):
            other = (*named, *self.buckets)[0]
            raise BadColumnMap(f"'usage' holds all counts already; {other!r} would count twice", other)
        if self.total and not (named or self.buckets or self.usage):
            raise BadColumnMap("'total' only checks; say where input and output are counted", self.total)


class _Draft:
    """Pairs gathered so far."""

    def __init__(self) -> None:
        self.single: dict[str, str] = {}
        self.time_unit = TimeUnit.ISO
        self.buckets: dict[str, str] = {}
        self.details: list[str] = []
        self.ignored: set[str] = set()
        self.optional: set[str] = set()

    def add(self, name: str, column: str) -> None:
        if not isinstance(column, str) or not column:
            raise BadColumnMap(f"{name!r} needs the name of a column, as in {EXAMPLE}", column)
        plain = name.removesuffix("?")
        if plain not in NAMES:
            raise BadColumnMap(f"there is no {plain!r} to map; there are {', '.join(NAMES)}", plain)
        if plain in LIST_NAMES:
            names = [item for item in column.split(",") if item]
            self.details.extend(names) if plain == "detail" else self.ignored.update(names)
        else:
            self._add_single(plain, column)
        if name != plain:
            self.optional.update(column.split(",") if plain in LIST_NAMES else [column])

    def _add_single(self, name: str, column: str) -> None:
        target, key = (self.buckets, name) if name in BUCKETS else (self.single, name)
        if name in TIME_NAMES:
            key = "time"
            self.time_unit = TIME_NAMES[name]
        if key in target:
            raise BadColumnMap(f"{key!r} is given twice: {target[key]!r} and {column!r}", column)
        target[key] = column


def _split_pair(word: str) -> tuple[str, str]:
    name, equals, column = word.partition("=")
    if not equals:
        raise BadColumnMap(f"{word!r} is no name=column pair; an example: {EXAMPLE}", word)
    return name, column
