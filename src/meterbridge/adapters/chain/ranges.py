"""Logs in ranges of blocks that a node allows: it says no, and how wide it may be is learned.

Nodes refuse for two reasons, in many words: the range has too many blocks, which holds for every range, or
it holds too many logs, which holds only here. Some name the range that would work. Whoever asks too often
is told so in similar words; that is no reason to ask for less, and is left to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from meterbridge.services.chain_errors import ChainError

T = TypeVar("T")
LOG_RANGE: Final = 10_000
"""Blocks for which logs are asked at once to begin with; many nodes refuse more."""

_GROW_AFTER: Final = 4
_TOO_OFTEN: Final = re.compile(
    r"rate.?limit|too many requests|requests? per (second|minute|day)|per second capacity|throughput|quota"
    r"|daily (request|limit)|credits|request limit reached",
    re.IGNORECASE,
)
_TOO_WIDE: Final = re.compile(
    # "range" in whatever words: "block range too large", "exceed maximum block range: 5000",
    # "eth_getLogs is limited to a 10,000 range", "up to a 10 block range", "range 20000 is greater than ..."
    r"(block|blocks|logs?) ?range|\brange\b|too many blocks|max(imum)? (is set|blocks|of \d+ blocks)"
    r"|distance between|query exceeds max|wide",
    re.IGNORECASE,
)
_TOO_MANY: Final = re.compile(
    r"more than [\d,_]+ (results|logs)|too many (results|logs)|logs? (matched|count)|results? (limit|exceed)"
    r"|exceeds? (the )?(max|limit|size)|response (size|too large|is too big)|too large|limit exceeded"
    r"|query timeout|timed? ?out|timeout|execution aborted|deadline exceeded|context canceled|batch size",
    re.IGNORECASE,
)
_SUGGESTED: Final = re.compile(r"(?:\[|range )\s*(0x[0-9a-f]+|\d+)\s*[,-]\s*(0x[0-9a-f]+|\d+)", re.IGNORECASE)
_NO_SUCH_BLOCK: Final = re.compile(
    r"not found|cannot be found|unknown block|out ?of ?range|pruned|missing trie", re.IGNORECASE
)
_LIMIT: Final = re.compile(
    r"(?:limited to|limit(?: is| of|:)?|max(?:imum)?\b[^0-9]{0,40}|up to|exceeds?\b[^0-9]{0,40}|greater than)"
    r"(?: an?)? ?(\d[\d,_]*)(k?)\b",
    re.IGNORECASE,
)
_TIMES_OUT: Final = re.compile(r"read ?timeout|HTTP status (408|413|504)", re.IGNORECASE)


class RangeRefused(ChainError):
    """The node gives no logs even of one block."""


class LogRanges:
    """Reads any range of blocks in pieces that one node allows, and remembers what it allows.

    Attributes:
        size: how many blocks are asked for next.
    """

    def __init__(self, most: int = LOG_RANGE) -> None:
        """Begin with `most` blocks at once, and never ask for more."""
        self._most = max(1, most)
        self.size = self._most
        self._went_well = 0

    def read(self, ask: Callable[[int, int], T], first: int, last: int) -> Iterator[T]:
        """Yield what `ask` gives for pieces that together are the blocks from `first` to `last`, in order.

        Raises:
            RangeRefused: when the node refuses a single block.
            ChainError: whatever else `ask` raises: it is no word about the range.
        """
        while first <= last:
            end = min(first + self.size - 1, last)
            try:
                found = ask(first, end)
            except ChainError as error:
                self._narrow(error, first, end)
                continue
            yield found
            first = end + 1
            self._grow()

    def _narrow(self, error: ChainError, first: int, end: int) -> None:
        """Choose a smaller size, or raise what was said where that is not about the range."""
        blocks, said = end - first + 1, _said(error)
        if _TOO_OFTEN.search(said) or _NO_SUCH_BLOCK.search(said):
            raise error
        wide, many = _TOO_WIDE.search(said), _TOO_MANY.search(said) or _TIMES_OUT.search(said)
        if not wide and not many:
            raise error
        if blocks == 1:
            raise RangeRefused(f"the node gives no logs of block {first} alone: {error}", first) from error
        self._went_well = 0
        limit = _stated_limit(said, blocks) if wide else None
        self.size = _suggested(said, first, blocks) or limit or blocks // 2
        if wide and (limit or not many):
            self._most = self.size  # of every range; trying more again would be refused again

    def _grow(self) -> None:
        """Ask for more again after a while: where logs are many, others are few."""
        self._went_well += 1
        if self._went_well >= _GROW_AFTER and self.size < self._most:
            self._went_well, self.size = 0, min(2 * self.size, self._most)


def _said(error: ChainError) -> str:
    """Return all that the node said: nodes put the reason into the message or into the data."""
    answer: Any = error.value
    stated = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(stated, Mapping):
        return str(error)
    return f"{stated.get('message', '')} {stated.get('data', '') or ''}"


def _suggested(said: str, first: int, blocks: int) -> int | None:
    """Return how many blocks the node says would work, if it names a range from here on that is smaller."""
    for low, high in _SUGGESTED.findall(said):
        size = int(high, 0) - int(low, 0) + 1
        if int(low, 0) == first and 0 < size < blocks:
            return size
    return None


def _stated_limit(said: str, blocks: int) -> int | None:
    """Return the limit that the node names, where it is one: smaller than what was refused."""
    for digits, thousands in _LIMIT.findall(said):
        size = int(re.sub(r"\D", "", digits)) * (1000 if thousands else 1)
        if 0 < size < blocks:
            return size
    return None
