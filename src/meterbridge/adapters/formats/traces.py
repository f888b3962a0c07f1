"""The public traces of Azure and Mooncake: no id, no payer, no cached-token count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats.column_map import ColumnMap
from meterbridge.adapters.formats.errors import BadUsage, Contradiction
from meterbridge.adapters.formats.rows import snippet
from meterbridge.adapters.formats.times import in_range
from meterbridge.adapters.formats.values import count
from meterbridge.domain.events import UsageEvent

AZURE_COLUMNS: Final = frozenset(("TIMESTAMP", "ContextTokens", "GeneratedTokens"))
AZURE_MAP: Final = ColumnMap.of(
    {"id": "#row", "time": "TIMESTAMP", "input": "ContextTokens", "output": "GeneratedTokens"}
)
MOONCAKE_KEYS: Final = frozenset(("timestamp", "input_length", "output_length", "hash_ids"))
BLOCK_TOKENS: Final = 512
BLOCK_ID_MAX: Final = 2**28 - 1
"""The bitmap of blocks seen then stays below 32 MiB."""


class Mooncake:
    """Reads a Mooncake trace, whose `hash_ids` name a prompt's prefixes in blocks of 512 tokens.

    The trace counts no cached tokens. They are derived: the leading blocks that an earlier row had are taken
    as read from the cache, as if it were never emptied. Times count from the start of the trace, so they fall
    in January 1970.
    """

    def __init__(self, source: str) -> None:
        """Take the name of the trace; no block has been seen yet."""
        self._source = source
        self._seen = bytearray()

    def event(self, row_number: int, fields: Mapping[str, object]) -> UsageEvent:
        """Read one row.

        Raises:
            BadUsage, Contradiction: naming the field and what was found.
        """
        whole = count("input_length", fields["input_length"])
        blocks = self._blocks(fields["hash_ids"], whole)
        cached = min(self._known_prefix(blocks) * BLOCK_TOKENS, whole)
        buckets = {
            "input": whole - cached,
            "cache_read": cached,
            "output": count("output_length", fields["output_length"]),
        }
        details: dict[str, object] = {"time": "from the start of the trace"}
        if cached:
            details["cache_read"] = "derived from blocks seen before"
        event = UsageEvent(
            source=self._source,
            id=str(row_number),
            occurred_at=in_range("timestamp", count("timestamp", fields["timestamp"]), fields["timestamp"]),
            payer=None,
            buckets={bucket: number for bucket, number in buckets.items() if number},
            details=details,
        )
        self._remember(blocks)  # only now: a row that is refused has put nothing into the cache
        return event

    def _blocks(self, value: object, whole: int) -> list[int]:
        if not isinstance(value, list):
            raise BadUsage(f"hash_ids is {snippet(value)}; it must be a list of block numbers", value)
        for block in value:
            if type(block) is not int or not 0 <= block <= BLOCK_ID_MAX:
                raise BadUsage(
                    f"hash_ids holds {snippet(block)}; a block number is 0 to {BLOCK_ID_MAX}", block
                )
        expected = -(-whole // BLOCK_TOKENS)
        if len(value) != expected:
            reason = f"hash_ids names {len(value)} blocks; {whole} tokens of input make {expected}"
            raise Contradiction(reason, len(value))
        return value

    def _known_prefix(self, blocks: list[int]) -> int:
        for known, block in enumerate(blocks):
            byte = block >> 3
            if byte >= len(self._seen) or not self._seen[byte] >> (block & 7) & 1:
                return known
        return len(blocks)

    def _remember(self, blocks: list[int]) -> None:
        if not blocks:
            return
        self._seen.extend(bytes(max(0, (max(blocks) >> 3) + 1 - len(self._seen))))
        for block in blocks:
            self._seen[block >> 3] |= 1 << (block & 7)
