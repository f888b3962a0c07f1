"""Prices of many lines at once: what `units.price_down` says of each (protocol, section 6)."""

from __future__ import annotations

from typing import Final

import numpy as np

from meterbridge.domain.arrays import Ints
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import INT64_MAX

_DIGITS_OF_INT64: Final = 18


def prices_down(tariff: Tariff, usage: Ints) -> list[int]:
    """Price cumulative usage line by line, each price rounded down.

    Takes (n, 8) lanes; returns n amounts in base units of the asset.
    """
    rates, scale = tariff.rates.lanes, tariff.scale
    largest = _largest(usage)
    if sum(lane * rate for lane, rate in zip(largest, rates, strict=True)) > INT64_MAX:
        return _prices_of_any_size(usage, rates, scale)
    # No sum on the way can leave int64. A rate that does belongs to a meter that nobody used.
    used = [index for index, lane in enumerate(largest) if lane and rates[index]]
    exact = usage[:, used] @ np.array([rates[index] for index in used], dtype=np.int64)
    if scale > _DIGITS_OF_INT64:
        return [0] * len(usage)
    down: list[int] = (np.maximum(exact, 0) // 10**scale).tolist()
    return down


def _largest(usage: Ints) -> list[int]:
    """Return how far each lane is from zero at most; of the least int64 that is no int64."""
    if not len(usage):
        return [0] * usage.shape[1]
    highest, lowest = usage.max(axis=0).tolist(), usage.min(axis=0).tolist()
    return [max(high, -low) for high, low in zip(highest, lowest, strict=True)]


def _prices_of_any_size(usage: Ints, rates: tuple[int, ...], scale: int) -> list[int]:
    unit = 10**scale
    return [
        max(0, sum(lane * rate for lane, rate in zip(row, rates, strict=True))) // unit
        for row in usage.tolist()
    ]
