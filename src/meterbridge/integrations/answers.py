"""Reads id, model and usage out of a provider's answer while it passes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from meterbridge.adapters.formats import BadUsage, NoUsage, parse_json, read_stream, read_usage_object

_ANSWER_MAX: Final = 64 * 2**20
_LINE_MAX: Final = 4 * 2**20
_USAGE_KEYS: Final = ("usage", "usageMetadata", "usage_metadata")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one answer used, in Meterbridge's buckets."""

    id: str | None
    model: str | None
    buckets: Mapping[str, int]


class Sniffer(Protocol):
    """Takes the bytes of one answer."""

    def take(self, data: bytes) -> None:
        """Look at the next bytes."""

    def answer(self) -> Answer:
        """Return what was used.

        Raises:
            NoUsage: when the answer says nothing of it; BadUsage when it cannot be read.
        """


def sniffer(content_type: str) -> Sniffer | None:
    """Return a reader for an answer of this type, or None where it holds no usage."""
    media = content_type.partition(";")[0].strip().lower()
    if media == "text/event-stream":
        return _Events()
    return _Whole() if media == "application/json" else None


class _Whole:
    """An answer in one piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= _ANSWER_MAX:
            self._parts.append(data)

    def answer(self) -> Answer:
        if self._size > _ANSWER_MAX:
            raise BadUsage(f"the answer is longer than {_ANSWER_MAX} bytes", self._size)
        found = parse_json(b"".join(self._parts)) if self._parts else None
        if not isinstance(found, dict):
            raise NoUsage("the answer is no JSON object", None)
        usage = next((found[key] for key in _USAGE_KEYS if key in found), None)
        if usage is None:
            raise NoUsage("the answer reports no usage", None)
        return Answer(*_named(found), read_usage_object(usage).buckets)


class _Events:
    """Server-sent events: only those that speak of usage are kept."""

    def __init__(self) -> None:
        self._rest = b""
        self._chunks: list[dict[str, Any]] = []
        self._broken: BadUsage | None = None

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > _LINE_MAX:
            self._rest = b""
            self._broken = BadUsage(f"an event of the stream is longer than {_LINE_MAX} bytes", None)

    def _line(self, line: bytes) -> None:
        text = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or b"usage" not in text:
            return
        try:
            found = parse_json(text)
        except BadUsage as error:  # kept for later: the answer itself must pass by undisturbed
            self._broken = error
            return
        if isinstance(found, dict):
            self._chunks.append(found)

    def answer(self) -> Answer:
        if self._rest:
            self._line(self._rest)
        if self._broken is not None:
            raise self._broken
        names: tuple[str | None, str | None] = (None, None)
        for chunk in self._chunks:
            inner = chunk.get("message") or chunk.get("response") or chunk
            found = _named(inner if isinstance(inner, dict) else chunk)
            names = (names[0] or found[0], names[1] or found[1])
        return Answer(*names, read_stream(self._chunks).buckets)


def _named(answer: Mapping[str, Any]) -> tuple[str | None, str | None]:
    identity = answer.get("id") or answer.get("responseId")
    model = answer.get("model") or answer.get("modelVersion")
    return (
        identity if isinstance(identity, str) else None,
        model if isinstance(model, str) else None,
    )
