"""JSON that says one thing only: no key twice, no fraction, no depth that could exhaust the stack."""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from meterbridge.domain.errors import ProtocolError

DEPTH_MAX: Final = 32
# A string that never closes matches up to the end: searching on at each quote would take quadratic time.
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|([\[{])|([\]}])', re.DOTALL)


class BadJson(ProtocolError):
    """A text is no JSON, or not of the strict kind that is exchanged here."""


def load_strict(data: bytes | str) -> object:
    """Parse JSON.

    Raises:
        BadJson: when it is none, a key stands twice in one object, a number is not whole, or it is nested
            deeper than 32.
    """
    try:
        text = data.decode() if isinstance(data, bytes) else data
        require_shallow(text)
        return json.loads(text, object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8, and endless integers
        raise BadJson(f"this is no JSON: {error}", data) from error


def require_shallow(text: str) -> None:
    """Refuse nesting deeper than 32 before it is parsed.

    Where a library has raised Python's own limit, as py-evm does, the parser would crash the process.

    Raises:
        BadJson: when it is nested deeper.
    """
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += 1 if match[1] else -1 if match[2] else 0
        if depth > DEPTH_MAX:
            raise BadJson(f"the JSON is nested deeper than {DEPTH_MAX}", depth)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadJson(f"a key stands twice in one object: {[key for key, _ in pairs]}", pairs)
    return found


def _no_float(text: str) -> NoReturn:
    raise BadJson(f"{text} is not a whole number; decimals stand as strings", text)
