"""A callback for LiteLLM.

    import litellm
    from meterbridge.integrations.litellm import MeterbridgeLogger
    litellm.callbacks = [MeterbridgeLogger(Client(url, key, spool=folder))]

Only fields that are named below leave the process: never messages, answers, headers or keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litellm.integrations.custom_logger import CustomLogger

from meterbridge.client import Client, JsonRecord
from meterbridge.integrations.background import Background

_FIELDS: Final = (
    *("id", "call_type", "cache_hit", "status", "response_cost", "startTime", "endTime", "model"),
    *("custom_llm_provider", "prompt_tokens", "completion_tokens", "total_tokens", "end_user"),
)
_METADATA: Final = (
    *("usage_object", "user_api_key_end_user_id", "user_api_key_team_id", "user_api_key_org_id"),
)


class MeterbridgeLogger(CustomLogger):  # type: ignore[misc]  # LiteLLM ships no types for it
    """Reports each finished call once, streamed or not; retries of LiteLLM are calls of their own."""

    def __init__(self, client: Client, *, source: str = "litellm") -> None:
        """Send through `client`, from a thread of its own."""
        super().__init__()
        self._background = Background(client)
        self._source = source

    def log_success_event(self, kwargs: Any, *_others: Any, **_named: Any) -> None:
        """Called by LiteLLM in a thread, once a call is complete."""
        self._report(kwargs)

    async def async_log_success_event(self, kwargs: Any, *_others: Any, **_named: Any) -> None:
        """Called by LiteLLM for calls that are awaited."""
        self._report(kwargs)

    def close(self) -> None:
        """Send what was reported, or leave it in the spool."""
        self._background.close()

    def _report(self, kwargs: Mapping[str, Any]) -> None:
        payload = kwargs.get("standard_logging_object")
        if payload is None:
            return  # in the middle of a stream, whose usage comes at its end
        record = record_of(payload) | {"source": self._source}
        record["end_user"] = record["end_user"] or kwargs.get(
            "user"
        )  # the proxy names one, the library's `user`
        self._background.put(JsonRecord(record))


def record_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what metering needs of LiteLLM's standard logging payload."""
    metadata = payload.get("metadata") or {}
    record = {name: payload.get(name) for name in _FIELDS}
    record["metadata"] = {name: metadata[name] for name in _METADATA if metadata.get(name) is not None}
    return record
