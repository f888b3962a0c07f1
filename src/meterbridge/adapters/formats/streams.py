"""Streamed answers: the usage of many chunks is one usage, the last word on each count, never a sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from meterbridge.adapters.formats import anthropic
from meterbridge.adapters.formats.errors import AmbiguousShape, BadUsage, NoUsage
from meterbridge.adapters.formats.reading import Reading
from meterbridge.adapters.formats.records import USAGE_KEYS
from meterbridge.adapters.formats.usage_objects import read_usage_object
from meterbridge.adapters.formats.values import nested

BROKE_OFF: Final = {"stream": "broke off"}
_ANSWER_IDS: Final = ("id", "responseId", "response_id")


def read_stream(chunks: Iterable[Mapping[str, object]]) -> Reading:
    """Read the usage of one streamed answer from its chunks (the JSON of its server-sent events), in order.

    OpenAI's chat reports usage in the last chunk only, its Responses in `response.completed`, vLLM may report
    a running total in each, and so does Gemini: the last counts. Anthropic starts with `message_start` and
    corrects it by `message_delta`, whose counts are cumulative: each replaces what stood there. An Anthropic
    stream without a delta broke off: what it had counted is read, and the details say so.

    Raises:
        NoUsage: when no chunk reports any.
        BadUsage: when chunks of two answers are mixed; Contradiction and others as for a usage object.
    """
    state = _State()
    for chunk in chunks:
        state.take(chunk)
    return state.reading()


class _State:
    """What a stream has said so far."""

    def __init__(self) -> None:
        self._answer: object = None
        self._last: object = None
        self._message: dict[str, object] | None = None
        self._delta_seen = False

    def take(self, chunk: Mapping[str, object]) -> None:
        kind = chunk.get("type")
        if kind == "message_start":
            self._start(nested(chunk, "message"))
        elif kind == "message_delta":
            self._update(nested(chunk, "usage"))
        elif isinstance(kind, str) and kind.startswith("response."):
            response = nested(chunk, "response")
            self._remember(response, response.get("usage"))
        else:
            for key in USAGE_KEYS:
                self._remember(chunk, chunk.get(key))

    def _start(self, message: Mapping[str, object]) -> None:
        if self._message is not None:
            raise BadUsage("two messages start in one stream; read each on its own", message.get("id"))
        self._message = dict(nested(message, "usage"))

    def _update(self, usage: Mapping[str, object]) -> None:
        if self._message is None:
            raise BadUsage("a message_delta comes before its message_start", dict(usage))
        self._message.update({key: value for key, value in usage.items() if value is not None})
        self._delta_seen = True

    def _remember(self, answer: Mapping[str, object], usage: object) -> None:
        found = next((answer[key] for key in _ANSWER_IDS if answer.get(key)), None)
        if found is not None and self._answer not in (None, found):
            raise BadUsage(f"chunks of two answers are mixed: {self._answer!r} and {found!r}", found)
        self._answer = self._answer if found is None else found
        self._last = self._last if usage is None else usage

    def reading(self) -> Reading:
        if self._message is not None and self._last is not None:
            raise AmbiguousShape("the stream reports usage in two ways; which of them counts?", None)
        if self._message is not None:
            result = anthropic.read(self._message)
            return result if self._delta_seen else replace(result, details={**result.details, **BROKE_OFF})
        if self._last is None:
            reason = "no chunk of the stream reports usage"
            raise NoUsage(f"{reason}; OpenAI's chat does so with stream_options.include_usage", None)
        return read_usage_object(self._last)
