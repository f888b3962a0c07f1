"""Usage objects of any shape: which one it is, by its keys, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from meterbridge.adapters.formats import (
    anthropic,
    gemini,
    openai_chat,
    openai_responses,
    openrouter,
    opentelemetry,
    own_buckets,
    vllm,
)
from meterbridge.adapters.formats.errors import AmbiguousShape, BadUsage, NoUsage, UnknownShape
from meterbridge.adapters.formats.reading import Reading
from meterbridge.adapters.formats.rows import snippet


class Shape(NamedTuple):
    """One shape of usage objects.

    Attributes:
        name: as it stands in a receipt's details.
        keys: all keys that it may have at its top level.
        read: turns an object of it into a reading.
    """

    name: str
    keys: frozenset[str]
    read: Callable[[Mapping[str, object]], Reading]


SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape(openai_chat.SHAPE, openai_chat.KEYS, openai_chat.read),
        Shape(openai_responses.SHAPE, openai_responses.KEYS, openai_responses.read),
        Shape(anthropic.SHAPE, anthropic.KEYS, anthropic.read),
        Shape(gemini.SHAPE, gemini.CAMEL_KEYS | gemini.SNAKE_KEYS, gemini.read),
        Shape(openrouter.SHAPE, openrouter.KEYS, openrouter.read),
        Shape(vllm.SHAPE, vllm.KEYS, vllm.read),
        Shape(opentelemetry.SHAPE, opentelemetry.KEYS, opentelemetry.read),
        Shape(own_buckets.SHAPE, own_buckets.KEYS, own_buckets.read),
    )
}
_RESPONSES_ONLY: Final = frozenset(("input_tokens_details", "total_tokens"))
_ANTHROPIC_ONLY: Final = anthropic.KEYS - openai_responses.KEYS
_MARKS: Final[dict[str, Iterable[str]]] = {
    "chat": ("prompt_tokens", "completion_tokens"),
    "in_out": ("input_tokens", "output_tokens"),
    gemini.SHAPE: gemini.MARKS,
    opentelemetry.SHAPE: opentelemetry.KEYS,
    own_buckets.SHAPE: own_buckets.KEYS - {"total"},
}
"""The keys that show which family of shapes an object belongs to."""
_FAMILY_OF: Final = {key: family for family, marks in _MARKS.items() for key in marks}


def detect_shape(usage: Mapping[str, object]) -> Shape:
    """Tell the shape of a usage object by its keys.

    Two families of keys at once are ambiguous unless one of them counts nothing: gateways that translate
    leave zeros and nulls behind. An object of `input_tokens` and `output_tokens` alone is Anthropic's; as
    OpenAI's it would read the same.

    Raises:
        UnknownShape: when no key is known.
        AmbiguousShape: when the keys belong to several shapes.
    """
    families = {_FAMILY_OF[key] for key in usage if key in _FAMILY_OF}
    if len(families) > 1:
        families = {_FAMILY_OF[key] for key in usage if key in _FAMILY_OF and usage[key]} or families
    if len(families) > 1:
        keys = sorted(key for key in usage if _FAMILY_OF.get(key) in families)
        raise AmbiguousShape(f"usage has keys of several shapes: {', '.join(keys)}", dict(usage))
    if not families:
        keys = sorted(map(str, usage))[:8]
        raise UnknownShape(f"no known shape of usage has the keys {', '.join(keys) or '(none)'}", dict(usage))
    return SHAPES[_shape_of(families.pop(), usage)]


def shape_follows_from_keys(usage: Mapping[str, object]) -> bool:
    """Tell whether all objects with these keys and nulls have one shape, whatever they count."""
    if len({_FAMILY_OF[key] for key in usage if key in _FAMILY_OF}) != 1:
        return False
    return _ANTHROPIC_ONLY.isdisjoint(usage) or _RESPONSES_ONLY.isdisjoint(usage)


def _shape_of(family: str, usage: Mapping[str, object]) -> str:
    if family == "in_out":
        return _in_out_shape(usage)
    if family != "chat":
        return family
    if "cost" in usage or "cost_details" in usage:
        return openrouter.SHAPE
    return vllm.SHAPE if "reasoning_tokens" in usage else openai_chat.SHAPE


def _in_out_shape(usage: Mapping[str, object]) -> str:
    """Tell Anthropic, whose input leaves out the cache, from OpenAI Responses, whose input includes it."""
    if _ANTHROPIC_ONLY.isdisjoint(usage) or _RESPONSES_ONLY.isdisjoint(usage):  # nearly always
        stated = any(usage.get(key) is not None for key in _RESPONSES_ONLY)
        return openai_responses.SHAPE if stated else anthropic.SHAPE
    responses = [key for key in _RESPONSES_ONLY & usage.keys() if usage[key] is not None]
    anthropics = [key for key in _ANTHROPIC_ONLY & usage.keys() if usage[key]]
    if responses and anthropics:
        keys = f"{min(responses)} (OpenAI Responses) and {min(anthropics)} (Anthropic)"
        raise AmbiguousShape(f"usage has both {keys}: does its input include the cache?", dict(usage))
    return openai_responses.SHAPE if responses else anthropic.SHAPE


def read_usage_object(usage: object, shape: str | None = None) -> Reading:
    """Read a usage object of any shape, or of one that the caller knows.

    Raises:
        UnknownShape, AmbiguousShape: see `detect_shape`.
        NoUsage: when it is null.
        BadUsage, Contradiction: when its counts are broken or disagree.
    """
    if usage is None:
        raise NoUsage("usage is null; a streamed answer reports it in its last chunk only", None)
    if type(usage) is not dict and not isinstance(usage, Mapping):
        raise BadUsage(f"usage is {snippet(usage)}; it must be an object", usage)
    if shape is not None and shape not in SHAPES:
        raise UnknownShape(f"there is no shape {shape!r}; there are {', '.join(SHAPES)}", shape)
    return (SHAPES[shape] if shape else detect_shape(usage)).read(usage)
