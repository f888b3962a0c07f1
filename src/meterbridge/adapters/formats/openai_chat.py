"""OpenAI Chat Completions: details are parts of the totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats.errors import BadUsage, Contradiction
from meterbridge.adapters.formats.reading import Reading, reading, require_total, rest_of
from meterbridge.adapters.formats.values import nested, require_placed, tokens

SHAPE: Final = "openai.chat"
INPUT_KEYS: Final = frozenset(
    ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "video_tokens", "text_tokens")
)
OUTPUT_KEYS: Final = frozenset(
    (
        *("reasoning_tokens", "audio_tokens", "image_tokens", "text_tokens"),
        *("accepted_prediction_tokens", "rejected_prediction_tokens"),
    )
)
KEYS: Final = frozenset(
    (
        *("prompt_tokens", "completion_tokens", "total_tokens"),
        *("prompt_tokens_details", "completion_tokens_details"),
    )
)


def read(usage: Mapping[str, object], shape: str = SHAPE, known: frozenset[str] = KEYS) -> Reading:
    """Read a `usage` object; servers that are compatible may leave out any detail, which is then zero.

    Rejected predictions are billed as the answer's text, so they stay in `output`.

    Raises:
        Contradiction: when a part exceeds its whole or the total is not prompt + completion.
        BadUsage: for a broken count, a missing prompt, or a number that no bucket is known for.
    """
    answered = "completion_tokens" in usage or "total_tokens" in usage
    if usage.get("prompt_tokens") is None or not answered:
        raise BadUsage(
            "usage has no prompt_tokens, or neither completion_tokens nor total_tokens", dict(usage)
        )
    require_placed(usage, known)
    prompt, completion = tokens(usage, "prompt_tokens"), tokens(usage, "completion_tokens")
    counts = read_input(prompt, nested(usage, "prompt_tokens_details"), "prompt_tokens", INPUT_KEYS)
    counts |= read_output(
        completion, nested(usage, "completion_tokens_details"), "completion_tokens", OUTPUT_KEYS
    )
    require_stated_total(usage, prompt + completion, "prompt_tokens and completion_tokens")
    return reading(shape, counts, prompt + completion)


def require_stated_total(usage: Mapping[str, object], added: int, what: str) -> None:
    """Check `total_tokens`, where it is given.

    Raises:
        Contradiction: when it is not the sum.
    """
    if usage.get("total_tokens") is not None:
        require_total(tokens(usage, "total_tokens"), added, what)


def read_input(whole: int, details: Mapping[str, object], name: str, known: frozenset[str]) -> dict[str, int]:
    """Split a prompt's total by its details, whose tokens are taken as disjoint parts of it.

    Raises:
        Contradiction: when they exceed the whole, as they would where cached tokens are audio too, and nobody
            said how many.
    """
    if not details:
        return {"input": whole}
    require_placed(details, known, f"{name}_details")
    parts = {
        "cache_read": tokens(details, "cached_tokens"),
        "cache_write": tokens(details, "cache_write_tokens"),
        "audio_input": tokens(details, "audio_tokens"),
        "image_input": tokens(details, "image_tokens"),
        "video_input": tokens(details, "video_tokens"),
    }
    rest = rest_of(name, whole, sum(parts.values()), "details")
    cached = parts["cache_read"] + parts["cache_write"]
    _require_text(f"{name}_details.text_tokens", tokens(details, "text_tokens"), rest, rest + cached)
    return {"input": rest, **parts}


def read_output(
    whole: int, details: Mapping[str, object], name: str, known: frozenset[str]
) -> dict[str, int]:
    """Split an answer's total by its details.

    Raises:
        Contradiction: when they exceed the whole.
    """
    if not details:
        return {"output": whole}
    require_placed(details, known, f"{name}_details")
    parts = {
        "reasoning": tokens(details, "reasoning_tokens"),
        "audio_output": tokens(details, "audio_tokens"),
        "image_output": tokens(details, "image_tokens"),
    }
    rest = rest_of(name, whole, sum(parts.values()), "details")
    predicted = tokens(details, "accepted_prediction_tokens") + tokens(details, "rejected_prediction_tokens")
    rest_of(f"what {name} leaves for text", rest, predicted, "predictions")
    text = tokens(details, "text_tokens")
    _require_text(f"{name}_details.text_tokens", text, rest - predicted, rest + parts["reasoning"])
    return {"output": rest, **parts}


def _require_text(name: str, text: int, low: int, high: int) -> None:
    """Check the text tokens, which some servers count with cached tokens or reasoning, and some without."""
    if text and not low <= text <= high:
        raise Contradiction(f"{name} is {text}; the other details leave {low} to {high}", text)
