"""Token buckets: how fast one key may send."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_KEYS_MAX: Final = 10_000


class RateLimit:
    """One bucket per key: `rate` events a second on average, `burst` at once.

    Each process keeps its own buckets: with n processes a key may send n times as fast.
    """

    def __init__(self, rate: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with full buckets."""
        self.rate: Final = rate
        self.burst: Final = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str, events: int) -> float:
        """Take `events` from a key's bucket; return 0, or the seconds to wait, and then nothing was taken.

        A request above the burst is let through when the bucket is full, and leaves it in debt: the average
        holds, and no request is impossible for ever.
        """
        now = self._clock()
        level, since = self._buckets.get(key, (float(self.burst), now))
        level = min(float(self.burst), level + (now - since) * self.rate)
        if level < min(events, self.burst):
            self._buckets[key] = (level, now)
            return (min(events, self.burst) - level) / self.rate
        if len(self._buckets) >= _KEYS_MAX and key not in self._buckets:
            self._buckets.clear()  # only real keys get here; so many at once are not worth remembering
        self._buckets[key] = (level - events, now)
        return 0.0
