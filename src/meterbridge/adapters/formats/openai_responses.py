"""OpenAI Responses (and the image and transcription answers that share its names)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats import openai_chat
from meterbridge.adapters.formats.errors import BadUsage
from meterbridge.adapters.formats.openai_chat import INPUT_KEYS, OUTPUT_KEYS
from meterbridge.adapters.formats.reading import Reading, reading, rest_of
from meterbridge.adapters.formats.values import nested, require_placed, tokens

SHAPE: Final = "openai.responses"
LIFETIMES: Final = {"30m": "ttl_30m_tokens", "12h": "ttl_12h_tokens"}
_LIFETIME_KEYS: Final = frozenset(LIFETIMES.values())
KEYS: Final = frozenset(
    ("input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details")
)
_INPUT_KEYS: Final = INPUT_KEYS | {"cache_write_tokens_details"}


def read(usage: Mapping[str, object]) -> Reading:
    """Read a `usage` object.

    Cache writes live 30 minutes or 12 hours here, for which there is no bucket: they count as `cache_write`,
    and the details say how many of them live how long.

    Raises:
        Contradiction: when a part exceeds its whole or the total is not input + output.
        BadUsage: for a broken count, a missing one, or a number that no bucket is known for.
    """
    if usage.get("input_tokens") is None or usage.get("output_tokens") is None:
        raise BadUsage("usage has no input_tokens or no output_tokens", dict(usage))
    require_placed(usage, KEYS)
    whole, answer = tokens(usage, "input_tokens"), tokens(usage, "output_tokens")
    details = nested(usage, "input_tokens_details")
    counts = openai_chat.read_input(whole, details, "input_tokens", _INPUT_KEYS)
    answer_details = nested(usage, "output_tokens_details")
    counts |= openai_chat.read_output(answer, answer_details, "output_tokens", OUTPUT_KEYS)
    openai_chat.require_stated_total(usage, whole + answer, "input_tokens and output_tokens")
    return reading(SHAPE, counts, whole + answer, _lifetimes(details, counts.get("cache_write", 0)))


def _lifetimes(details: Mapping[str, object], written: int) -> dict[str, object]:
    lifetimes = nested(details, "cache_write_tokens_details")
    require_placed(lifetimes, _LIFETIME_KEYS, "cache_write_tokens_details")
    found = {name: number for name, key in LIFETIMES.items() if (number := tokens(lifetimes, key))}
    rest_of("cache_write_tokens", written, sum(found.values()), "lifetimes")
    return {"cache_write_lifetimes": found} if found else {}
