"""OpenRouter: the OpenAI shape, and a cost that is evidence only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from meterbridge.adapters.formats import openai_chat
from meterbridge.adapters.formats.reading import Reading, reading
from meterbridge.adapters.formats.values import evidence, nested, require_placed, tokens

SHAPE: Final = "openrouter"
KEYS: Final = openai_chat.KEYS | {"cost", "cost_details", "is_byok", "server_tool_use"}
TOOLS: Final = frozenset(("web_search_requests", "web_fetch_requests"))


def read(usage: Mapping[str, object]) -> Reading:
    """Read a `usage` object; `cost` is a float on the wire, so it is kept as text and never settled on.

    Raises:
        Contradiction, BadUsage: as for OpenAI's chat shape.
    """
    result = openai_chat.read(usage, SHAPE, KEYS)
    details = dict(result.details)
    if usage.get("cost") is not None:
        details["cost"] = evidence("cost", usage["cost"])
    upstream = nested(usage, "cost_details").get("upstream_inference_cost")
    if upstream is not None:
        details["upstream_inference_cost"] = evidence("upstream_inference_cost", upstream)
    tools = nested(usage, "server_tool_use")
    if tools:
        require_placed(tools, TOOLS, "server_tool_use")
        counts = {**result.buckets, "tool_requests": sum(tokens(tools, tool) for tool in TOOLS)}
        return reading(SHAPE, counts, result.total, details)
    return replace(result, details=details)
