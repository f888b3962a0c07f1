"""Gemini: thoughts and tool-use prompt stand beside prompt and answer; the total is the sum of the four."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats.errors import AmbiguousShape, BadUsage
from meterbridge.adapters.formats.reading import Reading, reading, require_total, rest_of
from meterbridge.adapters.formats.rows import snippet
from meterbridge.adapters.formats.values import optional_text, require_placed, tokens

SHAPE: Final = "gemini"
CAMEL_KEYS: Final = frozenset(
    (
        *("promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "responseTokenCount"),
        *("thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount"),
        *("promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails", "responseTokensDetails"),
        *("toolUsePromptTokensDetails", "trafficType", "serviceTier"),
    )
)
_HUMP: Final = re.compile(r"(?=[A-Z])")
_SNAKE: Final = {key: _HUMP.sub("_", key).lower() for key in CAMEL_KEYS}
SNAKE_KEYS: Final = frozenset(_SNAKE.values())
MARKS: Final = frozenset(
    key for key in (*CAMEL_KEYS, *SNAKE_KEYS) if key.lower().replace("_", "").endswith("count")
)
_ONLY_SNAKE: Final = SNAKE_KEYS - CAMEL_KEYS
_MODALITY_KEYS: Final = frozenset(("modality", "tokenCount", "token_count"))
INPUT_BUCKET: Final = {
    **dict.fromkeys(("TEXT", "DOCUMENT", "MODALITY_UNSPECIFIED"), "input"),
    "AUDIO": "audio_input",
    "IMAGE": "image_input",
    "VIDEO": "video_input",
}
OUTPUT_BUCKET: Final = {
    **dict.fromkeys(("TEXT", "DOCUMENT", "MODALITY_UNSPECIFIED"), "output"),
    "AUDIO": "audio_output",
    "IMAGE": "image_output",
}


def read(usage: Mapping[str, object]) -> Reading:
    """Read a `usageMetadata` object, in camelCase or the SDK's snake_case.

    Cached tokens are part of the prompt; where `cacheTokensDetails` does not say of which kind they are, they
    are text. What the details of a modality leave of a whole is text too.

    Raises:
        Contradiction: when a part exceeds its whole or the total is not the sum of the four.
        BadUsage: for a broken count, a missing prompt, or a number that no bucket is known for.
    """
    usage = _camel(usage)
    if usage.get("promptTokenCount") is None:
        raise BadUsage("usage has no promptTokenCount", dict(usage))
    prompt, answer = tokens(usage, "promptTokenCount"), _answer(usage)
    counts = _prompt_counts(usage, prompt)
    counts |= _by_bucket(usage, answer, OUTPUT_BUCKET, "output")
    counts["reasoning"] = tokens(usage, "thoughtsTokenCount")
    counts["tool_prompt"] = tokens(usage, "toolUsePromptTokenCount")
    total = prompt + tokens(usage, answer) + counts["reasoning"] + counts["tool_prompt"]
    if usage.get("totalTokenCount") is not None:
        what = "prompt, candidates, thoughts and tool-use prompt"
        require_total(tokens(usage, "totalTokenCount"), total, what)
    kept = {"service_tier": "serviceTier", "traffic_type": "trafficType"}
    details: dict[str, object] = {
        name: value for name, key in kept.items() if (value := optional_text(key, usage.get(key))) is not None
    }
    return reading(SHAPE, counts, total, details)


def _camel(usage: Mapping[str, object]) -> Mapping[str, object]:
    """Return the object with camelCase keys."""
    if _ONLY_SNAKE.isdisjoint(usage):
        require_placed(usage, CAMEL_KEYS)
        return usage
    require_placed(usage, CAMEL_KEYS | SNAKE_KEYS)
    for camel, snake in _SNAKE.items():
        if usage.get(camel) is not None and usage.get(snake) is not None:
            raise AmbiguousShape(f"usage has both {camel} and {snake}; which of them counts?", dict(usage))
    return {camel: usage.get(camel, usage.get(snake)) for camel, snake in _SNAKE.items()}


def _answer(usage: Mapping[str, object]) -> str:
    """Return the name of the answer's count: candidates, or in live sessions response."""
    both = [key for key in ("candidatesTokenCount", "responseTokenCount") if usage.get(key) is not None]
    if len(both) > 1:
        raise AmbiguousShape(f"usage has both {both[0]} and {both[1]}; which of them counts?", dict(usage))
    return both[0] if both else "candidatesTokenCount"


def _prompt_counts(usage: Mapping[str, object], prompt: int) -> dict[str, int]:
    counts = _by_bucket(usage, "promptTokenCount", INPUT_BUCKET, "input")
    cached = tokens(usage, "cachedContentTokenCount")
    rest_of("promptTokenCount", prompt, cached, "cachedContentTokenCount")
    for bucket, number in _by_bucket(usage, "cachedContentTokenCount", INPUT_BUCKET, "input").items():
        counts[bucket] = rest_of(f"the prompt's {bucket}", counts.get(bucket, 0), number, "cached tokens")
    counts["cache_read"] = cached
    return counts


def _by_bucket(
    usage: Mapping[str, object], whole_key: str, bucket_of: Mapping[str, str], rest: str
) -> dict[str, int]:
    """Split a count by the modalities in its details list; what they leave goes to `rest`."""
    details_key = "cacheTokensDetails" if whole_key.startswith("cached") else f"{whole_key[:-5]}sDetails"
    counts = {rest: 0}
    for modality, number in _modalities(details_key, usage.get(details_key)):
        bucket = bucket_of.get(modality)
        if bucket is None and number:
            raise BadUsage(
                f"{details_key} counts {number} tokens of {modality}, which no bucket is for", modality
            )
        if bucket is not None:
            counts[bucket] = counts.get(bucket, 0) + number
    whole = tokens(usage, whole_key)
    counts[rest] += rest_of(whole_key, whole, sum(counts.values()), details_key)
    return counts


def _modalities(name: str, value: object) -> list[tuple[str, int]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise BadUsage(f"{name} is {snippet(value)}; it must be a list of modalities and counts", value)
    found = []
    for item in value:
        require_placed(item, _MODALITY_KEYS, name)
        key = "token_count" if "token_count" in item else "tokenCount"
        modality = item.get("modality") or "MODALITY_UNSPECIFIED"
        if not isinstance(modality, str):
            raise BadUsage(f"{name} names the modality {snippet(modality)}; it must be a text", modality)
        found.append((modality.rpartition(".")[2].upper(), tokens(item, key)))
    return found
