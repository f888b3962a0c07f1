"""Meterbridge: the settlement bridge between metered AI usage and the parties it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meterbridge.client import AsyncClient as AsyncClient
    from meterbridge.client import Client as Client
    from meterbridge.client import UsageRecord as UsageRecord

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the client of the metering service when it is asked for: it needs the extra `serve`."""
    if name in {"AsyncClient", "Client", "UsageRecord"}:
        from meterbridge import client

        return getattr(client, name)
    raise AttributeError(f"module 'meterbridge' has no attribute {name!r}")
