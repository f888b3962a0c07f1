"""Usage in: files and records of many shapes, read into disjoint buckets.

`read_usage` reads a file, `read_records` one JSON object, `read_usage_object` a bare usage object. The
buckets from `input` to `tool_prompt` count tokens and add up to the provider's own total; `tool_requests`
counts requests.
"""

from meterbridge.adapters.formats.column_map import ColumnMap
from meterbridge.adapters.formats.content import refuse_content, without_content
from meterbridge.adapters.formats.errors import (
    AmbiguousShape,
    BadColumnMap,
    BadFile,
    BadUsage,
    ContentRefused,
    Contradiction,
    NoUsage,
    UnknownShape,
)
from meterbridge.adapters.formats.files import read_usage
from meterbridge.adapters.formats.reading import Reading
from meterbridge.adapters.formats.records import read_records
from meterbridge.adapters.formats.rows import BadRow, Row, UsageRow
from meterbridge.adapters.formats.streams import read_stream
from meterbridge.adapters.formats.usage_objects import detect_shape, read_usage_object
from meterbridge.adapters.formats.values import parse_json

__all__ = [
    "AmbiguousShape",
    "BadColumnMap",
    "BadFile",
    "BadRow",
    "BadUsage",
    "ColumnMap",
    "ContentRefused",
    "Contradiction",
    "NoUsage",
    "Reading",
    "Row",
    "UnknownShape",
    "UsageRow",
    "detect_shape",
    "parse_json",
    "read_records",
    "read_stream",
    "read_usage",
    "read_usage_object",
    "refuse_content",
    "without_content",
]
