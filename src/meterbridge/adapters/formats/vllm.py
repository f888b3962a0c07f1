"""vLLM and SGLang: the OpenAI shape; details only where the server's flag turns them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats import openai_chat
from meterbridge.adapters.formats.errors import Contradiction
from meterbridge.adapters.formats.reading import Reading
from meterbridge.adapters.formats.values import nested, tokens

SHAPE: Final = "vllm"
KEYS: Final = openai_chat.KEYS | {"reasoning_tokens"}


def read(usage: Mapping[str, object]) -> Reading:
    """Read a `usage` object of SGLang, where `reasoning_tokens`, part of the answer, may stand beside it.

    Raises:
        Contradiction, BadUsage: as for OpenAI's chat shape, and where reasoning is stated twice and differs.
    """
    beside = tokens(usage, "reasoning_tokens")
    details = nested(usage, "completion_tokens_details")
    inside = details.get("reasoning_tokens")
    if beside and inside is not None and tokens(details, "reasoning_tokens") != beside:
        raise Contradiction(f"reasoning_tokens is {beside} beside the details and {inside} in them", beside)
    completed = {**details, "reasoning_tokens": beside} if beside else details
    return openai_chat.read({**usage, "completion_tokens_details": completed}, SHAPE, KEYS)
