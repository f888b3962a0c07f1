"""What the routes stand on, built once at the edge; and who is asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from meterbridge.adapters.intake.api_keys import ApiKey, ApiKeys, BadApiKey, Scope
from meterbridge.adapters.intake.known import KnownTariff
from meterbridge.adapters.intake.quarantine import Quarantine
from meterbridge.adapters.intake.rate_limit import RateLimit
from meterbridge.adapters.intake.recorder import Recorder
from meterbridge.entrypoints.api.bodies import Bodies
from meterbridge.entrypoints.api.observed import Metrics
from meterbridge.entrypoints.api.problems import Problem
from meterbridge.entrypoints.api.settings import Settings
from meterbridge.services.credit import Escrows
from meterbridge.services.ledger_errors import UnknownTariff
from meterbridge.services.ports import Ledger, Segments, StatementSigner
from meterbridge.services.proving import Prover

_PROVERS_KEPT: Final = 16
"""Tariffs; the shares of a hundred thousand parties take 50 MB."""


@dataclass(slots=True)
class Deps:
    """Everything that a running service uses.

    Attributes:
        signer: signs statements; without one the service seals and never signs.
        escrows: what is secured on chain; without it `credit` answers 503.
        now: seconds since 1970.
        close: closes the database, at the very end.
        prover: proves receipts of a tariff, by its id; what all its proofs share is read once.
        chain_metrics: what the ledger knows of deliveries, of the contract as it was followed, and of alerts,
            in Prometheus' text format.
    """

    ledger: Ledger
    segments: Segments
    keys: ApiKeys
    quarantine: Quarantine
    recorder: Recorder
    settings: Settings
    signer: StatementSigner | None = None
    escrows: Escrows | None = None
    now: Callable[[], float] = time.time
    close: Callable[[], None] = lambda: None
    chain_metrics: Callable[[], str] = lambda: ""
    metrics: Metrics = field(default_factory=Metrics)
    parsing: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="parse")
    )
    bodies: Bodies = field(init=False)
    rate: RateLimit = field(init=False)
    prover: Callable[[bytes], Prover] = field(init=False)
    worker: Any = None

    def __post_init__(self) -> None:
        self.bodies = Bodies(self.settings.body_bytes, self.settings.inflight_bytes)
        self.rate = RateLimit(self.settings.events_per_second, self.settings.burst_events)
        self.prover = lru_cache(_PROVERS_KEPT)(partial(Prover, self.ledger, self.segments))

    def tariff_of(self, key: ApiKey, named: str | None) -> KnownTariff:
        """Return the tariff that a request means: the one it names, the key's, or the provider's only one.

        Raises:
            UnknownTariff: also where the tariff is another provider's.
            Problem: when it names none and there are several.
        """
        if named is not None:
            return self.own_tariff(key, tariff_id_of(named))
        if key.tariff_id is not None:
            return self.own_tariff(key, key.tariff_id)
        own = [record for record in self.recorder.tariffs() if record.provider == key.provider]
        if len(own) != 1:
            raise Problem(
                422,
                "which-tariff",
                f"the provider has {len(own)} tariffs here; name one with ?tariff=0x… or give the key one",
            )
        return own[0]

    def own_tariff(self, key: ApiKey, tariff_id: bytes) -> KnownTariff:
        """Return a tariff of the key's provider; another provider's looks like none."""
        record = self.recorder.tariff(tariff_id)
        if record.provider != key.provider:
            raise UnknownTariff(f"the ledger knows no tariff 0x{tariff_id.hex()}; add it first", tariff_id)
        return record


def tariff_id_of(text: str) -> bytes:
    """Read 32 bytes in hex, as a request names a tariff or a receipt."""
    digits = text.removeprefix("0x")
    if len(digits) != 64 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise UnknownTariff(f"{text[:80]!r} is no id; it takes 0x and 64 hexadecimal digits", text)
    return bytes.fromhex(digits)


def deps_of(request: Request) -> Deps:
    """Return the application's dependencies."""
    deps: Deps = request.app.state.deps
    return deps


async def _deps(request: Request) -> Deps:
    return deps_of(request)  # async, so that no thread is taken for it


_bearer = HTTPBearer(auto_error=False, description="An API key, `mb_<id>_<secret>`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def key_of(request: Request, text: str | None, scope: Scope) -> ApiKey:
    """Return the key that a request carries.

    Raises:
        BadApiKey: when there is none, or it is not valid.
        Problem: when it lacks the scope.
    """
    if text is None:
        raise BadApiKey("an API key is missing: Authorization: Bearer mb_…")
    keys = deps_of(request).keys
    key = keys.remembered(text)  # no thread and no database for a key that was seen a moment ago
    if key is None:
        key = await asyncio.get_running_loop().run_in_executor(None, keys.authenticate, text)
    request.scope["meterbridge.key"] = key.key_id
    if scope not in key.scopes:
        raise Problem(403, "forbidden", f"this API key lacks the scope {scope.value!r}")
    return key


async def ingest_key(request: Request) -> ApiKey:
    """Return the key of a request that brings usage; FastAPI would double the cost of a small one."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    return await key_of(request, text.strip() if kind.lower() == "bearer" else None, Scope.INGEST)


def _key_with(scope: Scope) -> Callable[..., Awaitable[ApiKey]]:
    async def authenticate(request: Request, credentials: Credentials) -> ApiKey:
        return await key_of(request, None if credentials is None else credentials.credentials, scope)

    return authenticate


DepsHere = Annotated[Deps, Depends(_deps)]
ReadKey = Annotated[ApiKey, Depends(_key_with(Scope.READ))]
OperateKey = Annotated[ApiKey, Depends(_key_with(Scope.OPERATE))]
