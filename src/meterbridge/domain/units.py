"""Usage and assets: two worlds that never mix (protocol, sections 1, 2 and 6).

`UsageVector` counts what a model read and wrote. `AssetAmount` is money in ERC-20 base units. Neither
can be added to, compared with or converted into the other, or into a bare number; `price_down` is the
only way from the one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final, Self

from meterbridge.domain.errors import BadTariff, LaneOverflow, OutOfBounds

LANES: Final = 8
LANES_PER_WORD: Final = 4
USAGE_BYTES: Final = 64
INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)
UINT64_MAX: Final = 2**64 - 1
UINT112_MAX: Final = 2**112 - 1
UINT128_MAX: Final = 2**128 - 1
UINT256_MAX: Final = 2**256 - 1
SCALE_MAX: Final = 36
_EIGHT_LANES: Final = Struct(">8q")


def require_int(name: str, value: object, low: int, high: int) -> int:
    """Return `value` if it is an integer from `low` to `high`, bools and floats excluded.

    Raises:
        OutOfBounds: naming the field, the value and the range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise OutOfBounds(f"{name} must be a whole number, not {value!r}", value)
    if not low <= value <= high:
        raise OutOfBounds(f"{name} is {value}; it must be from {low} to {high}", value)
    return value


@dataclass(frozen=True, slots=True)
class UsageVector:
    """Eight meters, each an int64 lane; meter 0 first (section 2).

    Raises:
        LaneOverflow: when a lane is, or by adding would be, outside int64.
    """

    lanes: tuple[int, int, int, int, int, int, int, int]

    def __post_init__(self) -> None:
        if len(self.lanes) != LANES:
            raise OutOfBounds(f"usage has {len(self.lanes)} lanes; it must have {LANES}", self.lanes)
        for index, lane in enumerate(self.lanes):
            if isinstance(lane, bool) or not isinstance(lane, int):
                raise OutOfBounds(f"usage lane {index} must be a whole number, not {lane!r}", lane)
            if not INT64_MIN <= lane <= INT64_MAX:
                raise LaneOverflow(f"usage lane {index} is {lane}; it must fit a signed 64-bit integer", lane)

    @classmethod
    def of(cls, lanes: Iterable[int]) -> Self:
        """Build from eight integers."""
        return cls(tuple(lanes))  # type: ignore[arg-type]  # the length is checked at construction

    @classmethod
    def zero(cls) -> Self:
        """Return the usage of nothing."""
        return cls((0,) * 8)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the 64 big-endian bytes of leaves, nodes and statements."""
        if len(data) != USAGE_BYTES:
            raise OutOfBounds(f"usage is {len(data)} bytes; it must be {USAGE_BYTES}", data)
        return cls(_EIGHT_LANES.unpack(data))

    @classmethod
    def from_words(cls, words: tuple[int, int]) -> Self:
        """Read the `uint256[2]` of calldata and events."""
        return cls.from_bytes(b"".join(pack_word(word) for word in words))

    def to_bytes(self) -> bytes:
        """Return 64 bytes, big-endian, meter 0 first."""
        return _EIGHT_LANES.pack(*self.lanes)

    def to_words(self) -> tuple[int, int]:
        """Return the same 64 bytes as the `uint256[2]` of calldata and events."""
        data = self.to_bytes()
        return int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")

    def has_negative_lane(self) -> bool:
        """Tell whether any lane is below zero, as only a net of charges and credits may be."""
        return any(lane < 0 for lane in self.lanes)

    def __add__(self, other: UsageVector) -> UsageVector:
        if not isinstance(other, UsageVector):
            return NotImplemented
        return UsageVector.of(a + b for a, b in zip(self.lanes, other.lanes, strict=True))

    def __sub__(self, other: UsageVector) -> UsageVector:
        if not isinstance(other, UsageVector):
            return NotImplemented
        return UsageVector.of(a - b for a, b in zip(self.lanes, other.lanes, strict=True))

    def __bool__(self) -> bool:
        return any(self.lanes)


@dataclass(frozen=True, slots=True, order=True)
class AssetAmount:
    """ERC-20 base units, from 0 to 2**256 - 1. Adds to, and compares with, amounts only.

    Raises:
        OutOfBounds: when the amount is, or by adding or subtracting would be, out of range.
    """

    base_units: int

    def __post_init__(self) -> None:
        require_int("asset amount", self.base_units, 0, UINT256_MAX)

    @classmethod
    def zero(cls) -> Self:
        """Return no money."""
        return cls(0)

    @classmethod
    def total(cls, amounts: Iterable[AssetAmount]) -> AssetAmount:
        """Add amounts up; the total of none is zero."""
        result = AssetAmount(0)
        for amount in amounts:
            result = result + amount
        return result

    def __add__(self, other: AssetAmount) -> AssetAmount:
        if not isinstance(other, AssetAmount):
            return NotImplemented
        return AssetAmount(self.base_units + other.base_units)

    def __sub__(self, other: AssetAmount) -> AssetAmount:
        if not isinstance(other, AssetAmount):
            return NotImplemented
        return AssetAmount(self.base_units - other.base_units)

    def minus_or_zero(self, other: AssetAmount) -> AssetAmount:
        """Return the difference, or zero where `other` is the larger."""
        return AssetAmount(max(0, self.base_units - other.base_units))

    def __bool__(self) -> bool:
        return self.base_units > 0

    def __str__(self) -> str:
        return str(self.base_units)


@dataclass(frozen=True, slots=True)
class Rates:
    """What a unit of each meter costs: eight uint64, in base units per 10**scale (section 6)."""

    lanes: tuple[int, int, int, int, int, int, int, int]

    def __post_init__(self) -> None:
        if len(self.lanes) != LANES:
            raise BadTariff(f"a tariff has {LANES} rates, not {len(self.lanes)}", self.lanes)
        for index, rate in enumerate(self.lanes):
            if isinstance(rate, bool) or not isinstance(rate, int) or not 0 <= rate <= UINT64_MAX:
                raise BadTariff(f"rate {index} is {rate!r}; it must be a whole number below 2**64", rate)

    @classmethod
    def of(cls, lanes: Iterable[int]) -> Self:
        """Build from eight integers."""
        return cls(tuple(lanes))  # type: ignore[arg-type]  # the length is checked at construction

    @classmethod
    def from_words(cls, words: tuple[int, int]) -> Self:
        """Read the `uint256[2]` of a tariff in calldata."""
        data = b"".join(pack_word(word) for word in words)
        return cls.of(int.from_bytes(data[i : i + 8], "big") for i in range(0, USAGE_BYTES, 8))

    def to_words(self) -> tuple[int, int]:
        """Return the `uint256[2]` of a tariff in calldata; meter 0 stands highest in word 0."""
        data = b"".join(rate.to_bytes(8, "big") for rate in self.lanes)
        return int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")


def pack_word(word: int) -> bytes:
    """Return a uint256 as its 32 big-endian bytes."""
    return require_int("word", word, 0, UINT256_MAX).to_bytes(32, "big")


def price_down(usage: UsageVector, rates: Rates, scale: int) -> AssetAmount:
    """Price cumulative usage: max(0, sum of usage[i] * rates[i]) / 10**scale, rounded down (section 6).

    The only function that turns usage into an amount. The result can exceed 128 bits.

    Raises:
        BadTariff: when scale is not from 0 to 36.
    """
    if not isinstance(usage, UsageVector) or not isinstance(rates, Rates):
        raise TypeError(f"price_down takes a UsageVector and Rates, not {usage!r} and {rates!r}")
    if isinstance(scale, bool) or not isinstance(scale, int) or not 0 <= scale <= SCALE_MAX:
        raise BadTariff(f"scale is {scale!r}; it must be from 0 to {SCALE_MAX}", scale)
    exact = sum(lane * rate for lane, rate in zip(usage.lanes, rates.lanes, strict=True))
    return AssetAmount(max(0, exact) // 10**scale)
