"""Counts and texts out of what files and JSON hold, without ever passing through a float."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Any, Final

from meterbridge.adapters.formats.errors import BadUsage
from meterbridge.adapters.formats.rows import snippet
from meterbridge.domain.receipts import LANE_MAX
from meterbridge.domain.strict_json import BadJson, require_shallow

DIGITS: Final = re.compile(r"[0-9]{1,40}")
_WIDE: Final = Context(prec=100, Emax=MAX_EMAX, Emin=MIN_EMIN)
EXPONENT_MAX: Final = 40
"""Beyond it, a number written out would be mostly zeros."""
JSON_EXPONENT_MAX: Final = 400
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
SNIPPET: Final = 200
EMPTY: Final[Mapping[str, object]] = {}
TEXT_CHARS_MAX: Final = 4096
"""Longer than any id, name or model; a longer text is content, or an accident."""


def count(name: str, value: object) -> int:
    """Return a count from 0 to 2**53 - 1, given as a whole number or as its digits in quotes.

    Raises:
        BadUsage: for a negative or absurd number, a fraction (1.0 too), a boolean, or anything else.
    """
    if type(value) is int:
        number = value
    elif isinstance(value, str) and DIGITS.fullmatch(digits := value.strip(" ")):
        number = int(digits)
    else:
        raise BadUsage(f"{name} is {snippet(value)}; a count is a whole number, such as 12", value)
    if number < 0:
        raise BadUsage(f"{name} is {snippet(number)}; a count cannot be negative", value)
    if number > LANE_MAX:
        raise BadUsage(f"{name} is {snippet(number)}; a count is at most {LANE_MAX} (2**53 - 1)", value)
    return number


def tokens(usage: Mapping[str, object], key: str) -> int:
    """Return the count under a key; a missing or null one is zero, as servers leave out what they lack."""
    value = usage.get(key)
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= LANE_MAX:  # nearly always, and much faster
        return value
    return count(key, value)


def nested(usage: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return the object under a key; a missing or null one is empty."""
    value = usage.get(key)
    if value is None:
        return EMPTY
    if type(value) is dict or isinstance(value, Mapping):  # the first is nearly always so, and much faster
        return value
    raise BadUsage(f"{key} is {snippet(value)}; it must be an object", value)


def text(name: str, value: object) -> str:
    """Return a non-empty text; a whole number becomes its digits.

    Raises:
        BadUsage: for anything else, a text of more than 4,096 characters, a control character, or broken
            Unicode.
    """
    if type(value) is str and value.isascii() and value.isprintable() and 0 < len(value) <= TEXT_CHARS_MAX:
        return value  # nearly always
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise BadUsage(f"{name} is {snippet(value)}; it must be a text", value)
    if not value or len(value) > TEXT_CHARS_MAX:
        raise BadUsage(f"{name} has {len(value)} characters; it must have 1 to {TEXT_CHARS_MAX}", value)
    if CONTROL.search(value):
        raise BadUsage(f"{name} is {snippet(value)}; it holds a control character", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadUsage(f"{name} is {snippet(value)}; it is not valid Unicode", value) from error
    return value


def optional_text(name: str, value: object) -> str | None:
    """Return a text, or None for a missing, null or empty one."""
    return None if value is None or value == "" else text(name, value)


def evidence(name: str, value: object) -> str:
    """Return a number that is kept as evidence and never counted, such as a provider's own cost, as its text.

    The text is the same whichever parser the number came through (0.0000525 as a float prints as 5.25e-05),
    so that the same call reported in two ways has the same details.

    Raises:
        BadUsage: when it is no finite number.
    """
    try:
        exact = Decimal(repr(value) if isinstance(value, float) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, InvalidOperation):
        exact = Decimal("nan")
    if isinstance(value, bool) or not exact.is_finite():
        raise BadUsage(f"{name} is {snippet(value)}; it must be a number", value)
    plain = exact.normalize(_WIDE)
    return f"{plain:f}" if abs(plain.adjusted()) <= EXPONENT_MAX else str(plain)


def require_placed(usage: Mapping[str, object], known: Set[str], where: str = "usage") -> None:
    """Refuse numbers above zero under keys that nobody knows: they may be usage, and usage is never dropped.

    Raises:
        BadUsage: naming the key. Texts, flags, nulls and zeros count nothing and pass.
    """
    if usage.keys() <= known:  # nearly always
        return
    for key in usage.keys() - known:
        if _holds_number(usage[key]):
            reason = (
                f"{where} holds {key!r} = {snippet(usage[key])}, which no known shape has; it may be usage"
            )
            raise BadUsage(f"{reason}, so it is not dropped: map it, or remove it", usage[key])


def _holds_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float | Decimal):
        return value != 0
    if isinstance(value, str):
        return DIGITS.fullmatch(value) is not None and int(value) != 0
    if isinstance(value, Mapping):
        return any(_holds_number(inner) for inner in value.values())
    return isinstance(value, list | tuple) and any(_holds_number(inner) for inner in value)


def parse_json(data: str | bytes) -> Any:
    """Parse JSON strictly: fractions stay exact decimals, no NaN, no key twice in one object.

    Raises:
        BadUsage: saying where it breaks.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
        require_shallow(text)
        return _decoder.decode(text)
    except BadUsage:
        raise
    except (BadJson, RecursionError) as error:
        raise BadUsage("the JSON is nested too deeply", data[:SNIPPET]) from error
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} is 0x{error.object[error.start]:02x}; the text must be UTF-8"
        raise BadUsage(reason, data[:SNIPPET]) from error
    except ValueError as error:  # broken JSON, or an integer beyond what Python converts
        raise BadUsage(f"this is not JSON: {error}", data[:SNIPPET]) from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadUsage(f"key {twice!r} stands twice in one object; which of them counts?", twice)
    return fields


def _exact(text: str) -> Decimal:
    """Return a fraction as it is written; one that no double could hold is an accident or an attack."""
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        number = Decimal("nan")
    if not number.is_finite() or abs(number.adjusted()) > JSON_EXPONENT_MAX:
        raise BadUsage(f"the number {snippet(text)} is out of any range", text)
    return number


def _refuse_constant(name: str) -> object:
    raise BadUsage(f"{name} is not a number that JSON allows", name)


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_exact, parse_constant=_refuse_constant
)
