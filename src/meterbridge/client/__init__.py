"""A typed client of the metering service; `meterbridge.Client` and `meterbridge.AsyncClient`."""

from meterbridge.client.asynchronous import AsyncClient
from meterbridge.client.errors import ClientError, Refused, ServiceDown, SpoolFull
from meterbridge.client.synchronous import Client
from meterbridge.client.wire import Credit, JsonRecord, Receipts, RefusedEvent, Retries, UsageRecord

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Credit",
    "JsonRecord",
    "Receipts",
    "Refused",
    "RefusedEvent",
    "Retries",
    "ServiceDown",
    "SpoolFull",
    "UsageRecord",
]
