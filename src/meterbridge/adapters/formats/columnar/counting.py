"""Usage objects of one shape as columns: the buckets that the shape's own reader finds, for many at once.

A row that breaks a rule, or needs one that stands only in the shape's reader, is marked as not fine; the
reader then says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from meterbridge.adapters.formats import anthropic, gemini, openai_chat, openai_responses, own_buckets
from meterbridge.domain.arrays import Ints
from meterbridge.domain.events import BUCKETS
from meterbridge.domain.receipts import LANE_MAX

Flags = npt.NDArray[np.bool_]
Path = tuple[str, ...]
BUCKET: Final = {name: place for place, name in enumerate(BUCKETS)}


class Cannot(Exception):
    """These records are none that columns can be made of; the ordinary reader takes them."""


class Counts:
    """The counts of n usage objects with the same keys.

    Attributes:
        fine: (n,) what can be counted here.
    """

    def __init__(self, size: int, columns: Mapping[Path, Ints], keys: Mapping[Path, frozenset[str]]) -> None:
        """Take columns by path, and the keys of each object inside by its path; `()` is the object itself."""
        self.size = size
        self.fine: Flags = np.ones(size, dtype=np.bool_)
        self._columns, self._keys = columns, keys
        self._zero = np.zeros(size, dtype=np.int64)
        self._checked: set[Path] = set()

    def has(self, *path: str) -> bool:
        """Tell whether there is a count under a path."""
        return path in self._columns

    def of(self, *path: str) -> Ints:
        """Return the counts under a path; zeros where there are none."""
        found = self._columns.get(path)
        if found is None:
            return self._zero
        if path not in self._checked:
            self._checked.add(path)
            self.fine &= found <= LANE_MAX
        return found

    def keys(self, *path: str) -> frozenset[str]:
        """Return the keys of an object inside; none where it is missing or null."""
        return self._keys.get(path, frozenset())

    def rest(self, whole: Ints, *parts: Ints) -> Ints:
        """Return what parts leave of a whole; a row where they exceed it is not fine."""
        left: Ints = whole - sum(parts, self._zero)
        self.fine &= left >= 0
        return left

    def require(self, fine: Flags) -> None:
        """Mark rows that break a rule."""
        self.fine &= fine


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted: columns by bucket, and each object's total of tokens."""

    buckets: Mapping[str, Ints]
    total: Ints


def _known(counts: Counts, allowed: frozenset[str], *path: str) -> frozenset[str]:
    keys = counts.keys(*path)
    if not keys <= allowed:
        raise Cannot
    return keys


def _openai_chat(counts: Counts) -> Counted:
    keys = _known(counts, openai_chat.KEYS)
    if not counts.has("prompt_tokens") or not keys & {"completion_tokens", "total_tokens"}:
        raise Cannot
    prompt, answer = counts.of("prompt_tokens"), counts.of("completion_tokens")
    found = _openai_input(counts, prompt, "prompt_tokens_details", openai_chat.INPUT_KEYS)
    found |= _openai_output(counts, answer, "completion_tokens_details")
    return _with_stated_total(counts, found, prompt + answer, "total_tokens")


def _openai_responses(counts: Counts) -> Counted:
    _known(counts, openai_responses.KEYS)
    if not counts.has("input_tokens") or not counts.has("output_tokens"):
        raise Cannot
    whole, answer = counts.of("input_tokens"), counts.of("output_tokens")
    details = "input_tokens_details"
    known = openai_chat.INPUT_KEYS | {"cache_write_tokens_details"}
    found = _openai_input(counts, whole, details, known)
    found |= _openai_output(counts, answer, "output_tokens_details")
    for name in _known(
        counts, frozenset(openai_responses.LIFETIMES.values()), details, "cache_write_tokens_details"
    ):
        counts.require(counts.of(details, "cache_write_tokens_details", name) == 0)  # they go into details
    return _with_stated_total(counts, found, whole + answer, "total_tokens")


def _with_stated_total(counts: Counts, found: dict[str, Ints], total: Ints, name: str) -> Counted:
    if counts.has(name):
        counts.require(counts.of(name) == total)
    return Counted(found, total)


def _openai_input(counts: Counts, whole: Ints, details: str, known: frozenset[str]) -> dict[str, Ints]:
    if not _known(counts, known, details):
        return {"input": whole}
    parts = {
        "cache_read": counts.of(details, "cached_tokens"),
        "cache_write": counts.of(details, "cache_write_tokens"),
        "audio_input": counts.of(details, "audio_tokens"),
        "image_input": counts.of(details, "image_tokens"),
        "video_input": counts.of(details, "video_tokens"),
    }
    rest = counts.rest(whole, *parts.values())
    text = counts.of(details, "text_tokens")
    most = rest + parts["cache_read"] + parts["cache_write"]
    counts.require((text == 0) | ((rest <= text) & (text <= most)))
    return {"input": rest, **parts}


def _openai_output(counts: Counts, whole: Ints, details: str) -> dict[str, Ints]:
    if not _known(counts, openai_chat.OUTPUT_KEYS, details):
        return {"output": whole}
    parts = {
        "reasoning": counts.of(details, "reasoning_tokens"),
        "audio_output": counts.of(details, "audio_tokens"),
        "image_output": counts.of(details, "image_tokens"),
    }
    rest = counts.rest(whole, *parts.values())
    accepted = counts.of(details, "accepted_prediction_tokens")
    spoken = counts.rest(rest, accepted, counts.of(details, "rejected_prediction_tokens"))
    text = counts.of(details, "text_tokens")
    counts.require((text == 0) | ((spoken <= text) & (text <= rest + parts["reasoning"])))
    return {"output": rest, **parts}


def _anthropic(counts: Counts) -> Counted:
    keys = _known(counts, anthropic.KEYS - {"iterations"})
    if not counts.has("input_tokens") or not counts.has("output_tokens"):
        raise Cannot
    lifetimes = "cache_creation"
    _known(counts, frozenset(anthropic.LIFETIMES.values()), lifetimes)
    written = {bucket: counts.of(lifetimes, key) for bucket, key in anthropic.LIFETIMES.items()}
    known = written["cache_write_5m"] + written["cache_write_1h"]
    stated = counts.has("cache_creation_input_tokens")
    whole = counts.of("cache_creation_input_tokens") if stated else known
    _known(counts, frozenset(("thinking_tokens",)), "output_tokens_details")
    thinking = counts.of("output_tokens_details", "thinking_tokens")
    if "server_tool_use" in keys:
        for tool in _known(counts, frozenset(anthropic.TOOLS), "server_tool_use"):
            counts.require(counts.of("server_tool_use", tool) == 0)  # they go into details
    found = {
        "input": counts.of("input_tokens"),
        "cache_read": counts.of("cache_read_input_tokens"),
        **written,
        "cache_write": counts.rest(whole, known),
        "output": counts.rest(counts.of("output_tokens"), thinking),
        "reasoning": thinking,
    }
    return Counted(found, sum(found.values(), np.zeros(counts.size, dtype=np.int64)))


_GEMINI_KEYS: Final = frozenset(
    (
        *("promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
        *("toolUsePromptTokenCount", "totalTokenCount", "serviceTier"),
    )
)


def _gemini(counts: Counts) -> Counted:
    _known(
        counts, _GEMINI_KEYS
    )  # lists of modalities, and what sorts behind the total in the details, are left to the reader
    if not counts.has("promptTokenCount"):
        raise Cannot
    prompt, cached = counts.of("promptTokenCount"), counts.of("cachedContentTokenCount")
    found = {
        "input": counts.rest(prompt, cached),
        "cache_read": cached,
        "output": counts.of("candidatesTokenCount"),
        "reasoning": counts.of("thoughtsTokenCount"),
        "tool_prompt": counts.of("toolUsePromptTokenCount"),
    }
    total = prompt + found["output"] + found["reasoning"] + found["tool_prompt"]
    return _with_stated_total(counts, found, total, "totalTokenCount")


def _own_buckets(counts: Counts) -> Counted:
    _known(counts, own_buckets.KEYS)
    found = {bucket: counts.of(bucket) for bucket in BUCKETS}
    tokens = [column for bucket, column in found.items() if bucket != "tool_requests"]
    total = sum(tokens, np.zeros(counts.size, dtype=np.int64))
    return _with_stated_total(counts, found, total, "total")


COUNTERS: Final[Mapping[str, Callable[[Counts], Counted]]] = {
    openai_chat.SHAPE: _openai_chat,
    openai_responses.SHAPE: _openai_responses,
    anthropic.SHAPE: _anthropic,
    gemini.SHAPE: _gemini,
    own_buckets.SHAPE: _own_buckets,
}
KEPT_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    anthropic.SHAPE: {key: key for key in anthropic.KEPT},
    gemini.SHAPE: {"serviceTier": "service_tier"},
}
"""Texts of a usage object that go into the details, and under which name."""
