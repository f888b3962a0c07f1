"""A made-up usage log: the shapes of three providers, several customers, the same lines on every machine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Final

from meterbridge.adapters.formats.times import EPOCH

CUSTOMERS: Final = ((58, "acme"), (29, "globex"), (13, "initech"))
"""Who calls, with how many percent of the calls."""
PROVIDERS: Final = ((45, "openai"), (35, "anthropic"), (20, "gemini"))
MODELS: Final = {
    "openai": ((60, "gpt-5-mini"), (40, "gpt-5")),
    "anthropic": ((70, "claude-sonnet-4-5"), (30, "claude-haiku-4-5")),
    "gemini": ((80, "gemini-2.5-flash"), (20, "gemini-2.5-pro")),
}
START_MS: Final = 1_767_571_200_000
"""2026-01-05 00:00:00 UTC, a Monday."""
CACHE_BLOCK: Final = 128
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps would make one a line

Quantiles = tuple[tuple[int, int], ...]
PROMPT: Final[Quantiles] = (
    *((0, 30), (100, 180), (250, 420), (500, 870)),
    *((750, 1500), (900, 2340), (970, 3860), (1000, 6890)),
)
"""Per mille of the calls, and the tokens that many stay below: 1,180 on average."""
ANSWER: Final[Quantiles] = (
    *((0, 1), (100, 12), (250, 40), (500, 110)),
    *((750, 230), (900, 420), (970, 700), (1000, 1500)),
)
"""187 on average; with the prompts that makes 1,366 a call, as in a public trace of conversations."""
PAUSE_MS: Final[Quantiles] = ((0, 1), (500, 2000), (900, 9000), (1000, 20_000))


def make_sample_log(rows: int, seed: int = 1) -> Iterator[str]:
    """Make a usage log as NDJSON lines with their newlines; `rows` and `seed` alone decide every byte.

    OpenAI calls stand in CloudEvents envelopes, Anthropic and Gemini calls in plain records. The payers are
    `acme`, `globex` and `initech`; the buckets used are `input`, `cache_read`, `cache_write_5m`,
    `cache_write_1h`, `output`, `reasoning`, `image_input`, `tool_prompt` and `tool_requests`.

    Args:
        rows: how many calls.
        seed: another seed, another log.
    """
    dice = _Dice(seed)
    now = START_MS
    for number in range(1, rows + 1):
        now += dice.quantile(PAUSE_MS)
        provider = dice.pick(PROVIDERS)
        call = _Call(number, dice.pick(CUSTOMERS), dice.pick(MODELS[provider]), _iso(now), dice)
        record = {"openai": call.openai, "anthropic": call.anthropic, "gemini": call.gemini}[provider]()
        yield f"{_encode(record)}\n"


class _Dice:
    """Draws by whole numbers: `random()` is the one method whose sequence Python promises for ever."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, bound: int) -> int:
        return int(self._random.random() * bound)

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def pick(self, weighted: tuple[tuple[int, str], ...]) -> str:
        drawn = self.below(100)
        for weight, name in weighted:
            drawn -= weight
            if drawn < 0:
                return name
        raise AssertionError(f"the weights of {weighted} do not make 100")

    def quantile(self, table: Quantiles) -> int:
        drawn = self.below(1_000_000)
        for (low, least), (high, most) in pairwise(table):
            if drawn < high * 1000:
                return least + (most - least) * (drawn - low * 1000) // ((high - low) * 1000)
        raise AssertionError(f"the quantiles of {table} do not reach 1000")

    def share(self, whole: int, percent_most: int) -> int:
        """Draw a part of a whole."""
        return whole * self.below(percent_most + 1) // 100


class _Call:
    """One call, before a provider words it."""

    def __init__(self, number: int, customer: str, model: str, time: str, dice: _Dice) -> None:
        self.customer, self.model, self.time, self.dice = customer, model, time, dice
        self.prompt, self.answer = dice.quantile(PROMPT), dice.quantile(ANSWER)
        self.id = f"{number:07d}-{dice.below(2**32):08x}"
        cached = dice.share(self.prompt, 90) if dice.chance(35) else 0
        self.cached = cached // CACHE_BLOCK * CACHE_BLOCK
        self.reasoning = dice.share(self.answer, 80) if dice.chance(25) else 0

    def openai(self) -> dict[str, object]:
        usage = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answer,
            "total_tokens": self.prompt + self.answer,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        return {
            "specversion": "1.0",
            "id": f"chatcmpl-{self.id}",
            "source": "gateway/openai",
            "type": "ai.usage",
            "subject": self.customer,
            "time": self.time,
            "data": {"model": self.model, "stream": self.dice.chance(70), "usage": usage},
        }

    def anthropic(self) -> dict[str, object]:
        fresh = self.prompt - self.cached
        written = self.dice.share(fresh, 80) if self.dice.chance(20) else 0
        long_lived = self.dice.share(written, 100) if self.dice.chance(30) else 0
        usage: dict[str, object] = {
            "input_tokens": fresh - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": self.cached,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written - long_lived,
                "ephemeral_1h_input_tokens": long_lived,
            },
            "output_tokens": self.answer,
            "service_tier": "standard",
        }
        if self.dice.chance(4):
            usage["server_tool_use"] = {
                "web_search_requests": 1 + self.dice.below(3),
                "web_fetch_requests": 0,
            }
        return {
            "id": f"msg_{self.id}",
            "time": self.time,
            "customer": self.customer,
            "model": self.model,
            "stream": self.dice.chance(80),
            "usage": usage,
        }

    def gemini(self) -> dict[str, object]:
        tools = self.dice.share(self.prompt, 30) if self.dice.chance(5) else 0
        images = self.dice.share(self.prompt - self.cached - tools, 60) if self.dice.chance(8) else 0
        asked = self.prompt - tools
        cached = min(self.cached, asked - images)
        kinds = [{"modality": "TEXT", "tokenCount": asked - images}]
        if images:
            kinds.append({"modality": "IMAGE", "tokenCount": images})
        usage: dict[str, object] = {
            "promptTokenCount": asked,
            "candidatesTokenCount": self.answer - self.reasoning,
            "totalTokenCount": self.prompt + self.answer,
            "promptTokensDetails": kinds,
        }
        optional = {"thoughtsTokenCount": self.reasoning, "toolUsePromptTokenCount": tools}
        usage |= {key: number for key, number in optional.items() if number}
        if cached:
            usage["cachedContentTokenCount"] = cached
            usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": cached}]
        return {
            "responseId": self.id,
            "createTime": self.time,
            "customer": self.customer,
            "modelVersion": self.model,
            "usageMetadata": usage,
        }


def _iso(millis: int) -> str:
    moment = EPOCH + timedelta(milliseconds=millis)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
