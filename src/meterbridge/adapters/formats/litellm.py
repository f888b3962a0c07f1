"""LiteLLM: rows of its spend log and the standard logging payload of its callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from meterbridge.adapters.formats import openai_chat
from meterbridge.adapters.formats.calls import Call
from meterbridge.adapters.formats.errors import Contradiction
from meterbridge.adapters.formats.reading import Reading, reading, require_total, rest_of
from meterbridge.adapters.formats.times import iso_millis, seconds_millis
from meterbridge.adapters.formats.usage_objects import read_usage_object
from meterbridge.adapters.formats.values import (
    evidence,
    nested,
    optional_text,
    parse_json,
    require_placed,
    tokens,
)

SHAPE: Final = "litellm"
PAYER_KEYS: Final = ("end_user", "team_id", "organization_id")
PAYER_METADATA_KEYS: Final = ("user_api_key_end_user_id", "user_api_key_team_id", "user_api_key_org_id")
_USAGE_KEYS: Final = openai_chat.KEYS | {
    *("cache_read_input_tokens", "cache_creation_input_tokens", "prompt_cache_hit_tokens"),
    *("prompt_cache_miss_tokens", "reasoning_tokens", "server_tool_use", "cost", "iterations"),
}
_LIFETIMES: Final = {
    "cache_write_5m": "ephemeral_5m_input_tokens",
    "cache_write_1h": "ephemeral_1h_input_tokens",
}
_LIFETIME_KEYS: Final = frozenset(
    (*_LIFETIMES.values(), "ephemeral_30m_input_tokens", "ephemeral_12h_input_tokens")
)
_TOOLS: Final = ("web_search_requests", "tool_search_requests", "browser_open_requests")
_TOOL_KEYS: Final = frozenset(_TOOLS)
_PROMPT_TOOLS: Final = ("web_search_requests", "google_maps_grounding_requests")
_PROMPT_KEYS: Final = openai_chat.INPUT_KEYS | {
    *("cache_creation_tokens", "cache_creation_token_details", "cached_tokens_details"),
    *("tool_use_tokens", "initial_prompt_tokens", *_PROMPT_TOOLS),
}


def is_record(record: Mapping[str, object]) -> bool:
    """Tell whether a record is a spend-log row or a callback's payload."""
    return ("spend" in record and "request_id" in record) or (
        "response_cost" in record and "startTime" in record
    )


def call(record: Mapping[str, object]) -> Call:
    """Read a spend-log row or a standard logging payload.

    A failed call, and one that LiteLLM answered out of its own cache, reached no model: its event has no
    usage. The payer is the end user, else the team, else the organization. `spend` is a float: kept as text,
    never settled on.

    Raises:
        Contradiction: when counts disagree, or a failed call reports usage.
        BadUsage: for a broken count or time.
    """
    metadata = _object(record, "metadata")
    found = _reading(record, metadata)
    failed = record.get("status") == "failure" or metadata.get("status") == "failure"
    from_cache = str(record.get("cache_hit")).lower() == "true"
    if failed and found.buckets:
        raise Contradiction(
            f"the call failed and yet reports {found.total} tokens; who pays for them?", found.total
        )
    if from_cache:
        found = replace(found, buckets={}, details={**found.details, "answered": "from LiteLLM's cache"})
    started = record.get("startTime")
    return Call(
        reading=found,
        id=optional_text("request_id", record.get("request_id") or record.get("id")),
        occurred_at=None if started is None else _time(started),
        payer=_payer(record, metadata),
        details=dict(_details(record, failed)),
    )


def _object(holder: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return an object that may be written as JSON text."""
    value = holder.get(key)
    return (
        nested({key: parse_json(value)} if isinstance(value, str) and value else holder, key) if value else {}
    )


def _payer(record: Mapping[str, object], metadata: Mapping[str, object]) -> str | None:
    named = [(key, record.get(key)) for key in PAYER_KEYS]
    named += [(key, metadata.get(key)) for key in PAYER_METADATA_KEYS]
    return next((optional_text(key, value) for key, value in named if value), None)


def _time(value: object) -> int:
    """Read a spend log's ISO text or a payload's seconds."""
    return iso_millis("startTime", value) if isinstance(value, str) else seconds_millis("startTime", value)


def _details(record: Mapping[str, object], failed: bool) -> Iterator[tuple[str, object]]:
    for name, key in (("model", "model"), ("provider", "custom_llm_provider"), ("call_type", "call_type")):
        value = optional_text(key, record.get(key))
        if value is not None:
            yield name, value
    cost = record.get("spend", record.get("response_cost"))
    if cost is not None:
        yield "cost", evidence("spend", cost)
    if failed:
        yield "status", "failure"


def _reading(record: Mapping[str, object], metadata: Mapping[str, object]) -> Reading:
    """Read the detailed usage where there is one, and check it against the row's own totals."""
    flat = {key: record.get(key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
    detailed = _object(metadata, "usage_object")
    if not detailed:
        flat["prompt_tokens"] = tokens(flat, "prompt_tokens")
        found = openai_chat.read(flat, SHAPE)
    elif "prompt_tokens" in detailed:
        found = read(detailed)
    else:
        found = read_usage_object(detailed)
    if flat["total_tokens"] is not None:
        require_total(found.total, tokens(flat, "total_tokens"), "the row's counts")
    return found


def read(usage: Mapping[str, object]) -> Reading:
    """Read LiteLLM's own usage object: OpenAI's chat shape, with every provider's details translated into it.

    Its `prompt_tokens` include cache reads and writes, Anthropic's too.

    Raises:
        Contradiction: when a count that is stated twice differs, or as for OpenAI's chat shape.
        BadUsage: for a broken count or a number that no bucket is known for.
    """
    require_placed(usage, _USAGE_KEYS)
    details = nested(usage, "prompt_tokens_details")
    require_placed(details, _PROMPT_KEYS, "prompt_tokens_details")
    tool_prompt = tokens(details, "tool_use_tokens")
    inside = 0 if _stands_beside(usage, tool_prompt) else tool_prompt
    written = _agreed(
        (details, "cache_write_tokens"),
        (details, "cache_creation_tokens"),
        (usage, "cache_creation_input_tokens"),
    )
    base = openai_chat.read(_as_chat(usage, details, inside, written), SHAPE)
    counts = {**base.buckets, "tool_prompt": tool_prompt, **_lifetimes(details, written)}
    counts["tool_requests"] = _tool_requests(usage, details)
    total = base.total + tool_prompt
    openai_chat.require_stated_total(usage, total, "prompt_tokens and completion_tokens")
    return reading(SHAPE, counts, total)


def _as_chat(
    usage: Mapping[str, object], details: Mapping[str, object], tool_prompt: int, written: int
) -> dict[str, object]:
    """Return OpenAI's wording, without a tool-use prompt inside the prompt, for which OpenAI has no word."""
    prompt = tokens(usage, "prompt_tokens")
    cached = _agreed(
        (details, "cached_tokens"),
        (usage, "cache_read_input_tokens"),
        (usage, "prompt_cache_hit_tokens"),
    )
    return {
        "prompt_tokens": rest_of("prompt_tokens", prompt, tool_prompt, "tool_use_tokens"),
        "completion_tokens": tokens(usage, "completion_tokens"),
        "prompt_tokens_details": {
            **{key: details.get(key) for key in ("audio_tokens", "image_tokens", "video_tokens")},
            "cached_tokens": cached,
            "cache_write_tokens": written,
        },
        "completion_tokens_details": usage.get("completion_tokens_details"),
    }


def _stands_beside(usage: Mapping[str, object], tool_prompt: int) -> bool:
    """Tell whether the tool-use prompt stands beside the prompt or inside it, which only the total shows."""
    if not tool_prompt or usage.get("total_tokens") is None:
        return False
    added = tokens(usage, "prompt_tokens") + tokens(usage, "completion_tokens") + tool_prompt
    return tokens(usage, "total_tokens") == added


def _agreed(*places: tuple[Mapping[str, object], str]) -> int:
    """Return a count that several keys may state, and that must not differ where they do."""
    stated = {key: tokens(holder, key) for holder, key in places if holder.get(key) is not None}
    if len(set(stated.values())) > 1:
        raise Contradiction(f"usage states one count twice and differently: {stated}", stated)
    return next(iter(stated.values()), 0)


def _lifetimes(details: Mapping[str, object], written: int) -> dict[str, int]:
    held = nested(details, "cache_creation_token_details")
    require_placed(held, _LIFETIME_KEYS, "cache_creation_token_details")
    known = {bucket: tokens(held, key) for bucket, key in _LIFETIMES.items()}
    return {
        **known,
        "cache_write": rest_of("cache_creation_tokens", written, sum(known.values()), "lifetimes"),
    }


def _tool_requests(usage: Mapping[str, object], details: Mapping[str, object]) -> int:
    """Count tool requests, which LiteLLM states beside the usage, in the prompt's details, or in both."""
    beside = nested(usage, "server_tool_use")
    require_placed(beside, _TOOL_KEYS, "server_tool_use")
    searches = _agreed((beside, "web_search_requests"), (details, "web_search_requests"))
    rest = sum(tokens(beside, key) for key in _TOOLS[1:]) + tokens(details, _PROMPT_TOOLS[1])
    return searches + rest
