"""Anthropic Messages: `input_tokens` leaves out cache reads and writes; stream deltas are cumulative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats.errors import BadUsage, Contradiction
from meterbridge.adapters.formats.reading import Reading, reading, rest_of
from meterbridge.adapters.formats.rows import snippet
from meterbridge.adapters.formats.values import nested, require_placed, text, tokens

SHAPE: Final = "anthropic.messages"
LIFETIMES: Final = {
    "cache_write_5m": "ephemeral_5m_input_tokens",
    "cache_write_1h": "ephemeral_1h_input_tokens",
}
TOOLS: Final = ("web_search_requests", "web_fetch_requests")
_TOOL_KEYS: Final = frozenset(TOOLS)
_LIFETIME_KEYS: Final = frozenset(LIFETIMES.values())
_THINKING_KEYS: Final = frozenset(("thinking_tokens",))
_COUNTED: Final = (
    *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    *("cache_creation", "output_tokens_details"),
)
KEYS: Final = frozenset(
    (*_COUNTED, "server_tool_use", "service_tier", "iterations", "speed", "inference_geo")
)
_ITERATION_KEYS: Final = frozenset((*_COUNTED, "type", "model"))
KEPT: Final = ("service_tier", "speed", "inference_geo")
"""What a price may depend on besides the counts."""


def read(usage: Mapping[str, object]) -> Reading:
    """Read a `usage` object; from a stream, the last cumulative one, never a sum of them.

    There is no total of Anthropic's own; it is input + cache reads + cache writes + output, and with
    compactions, which the top level leaves out, theirs too.

    Raises:
        Contradiction: when cache lifetimes or thinking exceed their whole, or iterations the top level.
        BadUsage: for a broken count, a missing one, or a number that no bucket is known for.
    """
    if usage.get("input_tokens") is None or usage.get("output_tokens") is None:
        raise BadUsage("usage has no input_tokens or no output_tokens", dict(usage))
    require_placed(usage, KEYS)
    counts = _counts(usage)
    if usage.get("iterations"):
        counts = _with_compactions(counts, usage["iterations"])
    total = sum(counts.values())
    details: dict[str, object] = {key: text(key, usage[key]) for key in KEPT if usage.get(key)}
    if usage.get("server_tool_use"):
        details |= _tool_requests(counts, nested(usage, "server_tool_use"))
    return reading(SHAPE, counts, total, details)


def _tool_requests(counts: dict[str, int], tools: Mapping[str, object]) -> dict[str, object]:
    """Count requests to the provider's tools and return which there were."""
    require_placed(tools, _TOOL_KEYS, "server_tool_use")
    requests = {tool: number for tool in TOOLS if (number := tokens(tools, tool))}
    counts["tool_requests"] = sum(requests.values())
    return {"tools": requests} if requests else {}


def _counts(usage: Mapping[str, object]) -> dict[str, int]:
    lifetimes = nested(usage, "cache_creation")
    require_placed(lifetimes, _LIFETIME_KEYS, "cache_creation")
    written = {bucket: tokens(lifetimes, key) for bucket, key in LIFETIMES.items()}
    known = sum(written.values())
    stated = usage.get("cache_creation_input_tokens")
    whole = known if stated is None else tokens(usage, "cache_creation_input_tokens")
    answer, details = tokens(usage, "output_tokens"), nested(usage, "output_tokens_details")
    require_placed(details, _THINKING_KEYS, "output_tokens_details")
    thinking = tokens(details, "thinking_tokens")
    return {
        "input": tokens(usage, "input_tokens"),
        "cache_read": tokens(usage, "cache_read_input_tokens"),
        **written,
        "cache_write": rest_of("cache_creation_input_tokens", whole, known, "lifetimes"),
        "output": rest_of("output_tokens", answer, thinking, "thinking_tokens"),
        "reasoning": thinking,
    }


def _with_compactions(top: dict[str, int], iterations: object) -> dict[str, int]:
    """Add what compactions used, which the top level leaves out; the other iterations it includes."""
    if not isinstance(iterations, list) or not all(isinstance(item, Mapping) for item in iterations):
        raise BadUsage(f"iterations is {snippet(iterations)}; it must be a list of objects", iterations)
    included, added = dict.fromkeys(top, 0), dict(top)
    for item in iterations:
        kind = item.get("type")
        if kind not in ("message", "compaction"):
            reason = (
                f"an iteration is of type {snippet(kind)}; report what another model used as its own call"
            )
            raise BadUsage(reason, kind)
        require_placed(item, _ITERATION_KEYS, "iterations")
        target = added if kind == "compaction" else included
        for bucket, number in _counts(item).items():
            target[bucket] += number
    if sum(included.values()) not in (0, sum(top.values())):
        found = sum(included.values())
        raise Contradiction(
            f"the iterations add up to {found} tokens; the top level to {sum(top.values())}", found
        )
    return added
