"""Strict reading of JSON that Meterbridge wrote: exact keys, exact types, one spelling for each value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, TypeVar

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.strict_json import BadJson, load_strict
from meterbridge.domain.units import LANES, UINT64_MAX, UsageVector

T = TypeVar("T")
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*", re.ASCII)
_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]{0,77}", re.ASCII)


class BadDocument(MeterbridgeError):
    """A JSON document lacks a key, has one too many, or spells a value in another way than we do."""


def canonical_json(value: object) -> bytes:
    """Return JSON with sorted keys and no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def load_json(data: bytes | str) -> object:
    """Parse JSON; see `domain.strict_json`.

    Raises:
        BadDocument: saying what is wrong.
    """
    try:
        return load_strict(data)
    except BadJson as error:
        raise BadDocument(str(error), error.value) from error


def hex_of(data: bytes) -> str:
    """Return `0x` and lower-case digits."""
    return "0x" + data.hex()


def lanes_of(usage: UsageVector) -> list[str]:
    """Return eight decimal strings: JSON numbers lose what exceeds 53 bits."""
    return [str(lane) for lane in usage.lanes]


class Fields:
    """One JSON object, read key by key.

    Every method raises `BadDocument`, naming the place, when the value is not of its kind.
    """

    def __init__(self, where: str, value: object, keys: Iterable[str]) -> None:
        """Take an object that must have exactly these keys."""
        self._where: Final = where
        if not isinstance(value, Mapping):
            raise BadDocument(f"{where} must be a JSON object, not {value!r}", value)
        expected = set(keys)
        unknown, missing = sorted(map(str, set(value) - expected)), sorted(expected - set(value))
        if unknown or missing:
            raise BadDocument(f"{where} has unknown keys {unknown} and lacks {missing}", value)
        self._values: Final[Mapping[str, Any]] = value

    def _fail(self, key: str, wanted: str) -> NoReturn:
        value = self._values[key]
        raise BadDocument(f"{self._where}.{key} is {value!r}; it must be {wanted}", value)

    def constant(self, key: str, expected: str) -> None:
        """Require one fixed text."""
        if self._values[key] != expected:
            self._fail(key, repr(expected))

    def text(self, key: str) -> str:
        """Return a text that UTF-8 can spell: JSON can hold halves of characters."""
        value = self._values[key]
        if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
            self._fail(key, "a text of whole characters")
        return value

    def whole(self, key: str, low: int = 0, high: int = UINT64_MAX) -> int:
        """Return a JSON number without fraction."""
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._fail(key, f"a whole number from {low} to {high}")
        return value

    def decimal(self, key: str) -> int:
        """Return a whole number that stands as a decimal string."""
        value = self._values[key]
        if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
            self._fail(key, "a whole number as a string of digits")
        return int(value)

    def data(self, key: str, length: int | None = DIGEST_BYTES) -> bytes:
        """Return bytes that stand as `0x` and lower-case digits."""
        value = self._values[key]
        if isinstance(value, str) and _HEX.fullmatch(value):
            found = bytes.fromhex(value[2:])
            if length is None or len(found) == length:
                return found
        return self._fail(key, f"0x and {'' if length is None else f'{2 * length} '}lower-case hex digits")

    def address(self, key: str) -> Address:
        """Return an address, which must have its checksum."""
        address = Address(self._address_bytes(key))
        if str(address) != self._values[key]:
            self._fail(key, f"{address}, with this checksum")
        return address

    def _address_bytes(self, key: str) -> bytes:
        value = self._values[key]
        if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{40}", value, re.ASCII):
            return bytes.fromhex(value[2:])
        return self._fail(key, "an address: 0x and 40 hex digits")

    def lanes(self, key: str) -> tuple[int, ...]:
        """Return eight whole numbers that stand as decimal strings."""
        value = self._values[key]
        good = isinstance(value, list) and len(value) == LANES
        if not good or not all(isinstance(v, str) and _DECIMAL.fullmatch(v) for v in value):
            self._fail(key, f"{LANES} whole numbers as strings of digits")
        return tuple(int(v) for v in value)

    def usage(self, key: str) -> UsageVector:
        """Return eight lanes."""
        return UsageVector.of(self.lanes(key))

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """Return None for null, and what `read` gives for anything else."""
        return None if self._values[key] is None else read(key)

    def nested(self, key: str, keys: Iterable[str]) -> Fields:
        """Return a nested object with exactly these keys."""
        return Fields(f"{self._where}.{key}", self._values[key], keys)

    def raw(self, key: str) -> object:
        """Return a value as it stands."""
        return self._values[key]

    def objects(self, key: str, keys: Iterable[str]) -> list[Fields]:
        """Return a list of objects with exactly these keys."""
        value, wanted = self._values[key], set(keys)
        if not isinstance(value, list):
            self._fail(key, "a list")
        return [Fields(f"{self._where}.{key}[{i}]", entry, wanted) for i, entry in enumerate(value)]

    def list_of_data(self, key: str, length: int = DIGEST_BYTES) -> list[bytes]:
        """Return a list of bytes."""
        value = self._values[key]
        if not isinstance(value, list):
            self._fail(key, "a list")
        by_index = {str(index): entry for index, entry in enumerate(value)}
        entries = Fields(f"{self._where}.{key}", by_index, by_index)
        return [entries.data(index, length) for index in by_index]
