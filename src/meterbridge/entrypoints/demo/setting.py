"""Who takes part in the demo, and on what terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from meterbridge.domain.splits import Role

SEED: Final = 20_000
CALLS: Final = 20_000
ROUNDS: Final = 4
SCALE: Final = 9
HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Member:
    """One party of the demo's split; shares are per mille."""

    name: str
    role: Role
    share: int


MEMBERS: Final = (
    Member("model lab", Role.MODEL, 500),
    Member("compute owner", Role.COMPUTE, 350),
    Member("data owner A", Role.DATA, 100),
    Member("data owner B", Role.DATA, 50),
)


@dataclass(frozen=True, slots=True)
class Customer:
    """One payer of the demo.

    Attributes:
        calls: how many of ten calls are its own where the log does not say who pays.
    """

    name: str
    calls: int


CUSTOMERS: Final = (Customer("acme", 5), Customer("globex", 3), Customer("initech", 2))

DOCUMENT: Final[dict[str, Any]] = {
    "meterbridge": 1,
    "name": "Example LLM, large",
    "currency": {"symbol": "TUSD", "decimals": 6},
    "meters": [
        {"name": "input", "buckets": ["input", "tool_prompt"], "price": "3.00", "per": 1_000_000},
        {"name": "cache read", "buckets": ["cache_read"], "price": "0.30", "per": 1_000_000},
        {
            "name": "cache write",
            "buckets": ["cache_write", "cache_write_5m", "cache_write_1h"],
            "price": "3.75",
            "per": 1_000_000,
        },
        {"name": "output", "buckets": ["output", "reasoning"], "price": "15.00", "per": 1_000_000},
        {"name": "audio input", "buckets": ["audio_input"], "price": "40.00", "per": 1_000_000},
        {"name": "audio output", "buckets": ["audio_output"], "price": "80.00", "per": 1_000_000},
        {
            "name": "images and video",
            "buckets": ["image_input", "image_output", "video_input"],
            "price": "5.00",
            "per": 1_000_000,
        },
        {"name": "tool requests", "buckets": ["tool_requests"], "price": "10.00", "per": 1_000},
    ],
    "text": "Terms of the demo. Prices per million tokens, tool requests per thousand.",
}
