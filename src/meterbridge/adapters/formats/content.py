"""Prompts, answers and other content never enter a receipt; records that carry them are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats.errors import ContentRefused
from meterbridge.adapters.formats.values import DIGITS

CONTENT_KEYS: Final = frozenset(
    (
        *("messages", "message", "prompt", "system", "instructions", "contents", "input", "inputs"),
        *("choices", "completion", "content", "candidates", "output", "outputs", "output_text", "text"),
        *("response", "response_text", "answer", "reasoning_content", "proxy_server_request"),
        *("gen_ai.prompt", "gen_ai.completion", "gen_ai.system_instructions"),
        *("gen_ai.input.messages", "gen_ai.output.messages"),
        *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
    )
)
_EMPTY: Final = ("", "{}", "[]", "null")


def refuse_content(record: Mapping[str, object]) -> None:
    """Refuse a record with a content field that is not empty. Counts under its name (`input`: 12) are none.

    Raises:
        ContentRefused: naming the field, but not repeating what it holds.
    """
    if CONTENT_KEYS.isdisjoint(record):  # nearly always
        return
    for key in CONTENT_KEYS & record.keys():
        value = record[key]
        if isinstance(value, str):
            held = value.strip() not in _EMPTY and not DIGITS.fullmatch(value.strip())
        else:
            held = isinstance(value, Mapping | list) and bool(value)
        if held:
            raise ContentRefused(f"the record holds content in {key!r}; leave it out of usage logs", key)


def without_content(record: Mapping[str, object]) -> dict[str, object]:
    """Return a record without its content fields, for hooks that see whole answers."""
    return {key: value for key, value in record.items() if key not in CONTENT_KEYS or isinstance(value, int)}
