"""A typed client of the metering service; `meterbridge.Client` and `meterbridge.AsyncClient`."""

from meterbridge.client.asynchronous import AsyncClient
from meterbridge.client.errors import ClientError, Refused, ServiceDown, SpoolFull
from meterbridge.client.synchronous import Client
from meterbridge.client.wire import Credit, Receipts, RefusedEvent, UsageRecord

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Credit",
    "Receipts",
    "Refused",
    "RefusedEvent",
    "ServiceDown",
    "SpoolFull",
    "UsageRecord",
]
