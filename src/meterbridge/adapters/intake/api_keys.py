"""API keys: who may do what, for which provider.

A key is `mb_<id>_<secret>`: a public id that finds its row and 256 random bits. The row keeps BLAKE2b of the
secret. Slow hashes such as Argon2 protect passwords that people choose; against 256 random bits guessing is
hopeless at any speed, and a slow hash would cost every request 50 ms.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, insert, or_, select, update

from meterbridge.adapters.sql.database import Database
from meterbridge.adapters.tables.base import table_of
from meterbridge.adapters.tables.service import ApiKeyRow
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError

_KEYS: Final = table_of(ApiKeyRow)
_PATTERN: Final = re.compile(r"mb_([a-z0-9]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
CACHE_SECONDS: Final = 5.0
"""How long a process may go on honouring a key after another process revoked it."""
_CACHED_MAX: Final = 10_000


class BadApiKey(MeterbridgeError):
    """No key, a malformed one, or one that is unknown, expired or revoked; they all look the same outside."""


class UnknownApiKey(MeterbridgeError):
    """There is no key with this id."""


class Scope(StrEnum):
    """What a key may do: send usage, read what was metered, or decide and correct."""

    INGEST = "ingest"
    READ = "read"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored.

    Attributes:
        provider: whose tariffs it reaches; no other provider's.
        tariff_id: where events go when a request names no tariff; None for the provider's only one.
        expires_at, revoked_at: seconds since 1970, or None.
    """

    key_id: str
    provider: Address
    tariff_id: bytes | None
    scopes: frozenset[Scope]
    name: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def usable(self, now: float) -> bool:
        """Tell whether it is neither expired nor revoked."""
        ends = [end for end in (self.expires_at, self.revoked_at) if end is not None]
        return all(now < end for end in ends)


class ApiKeys:
    """The keys in a ledger's database."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """Take the database; `clock` gives seconds since 1970."""
        self._database = database
        self._clock = clock
        self._cache: dict[str, tuple[float, bytes, ApiKey]] = {}

    def create(
        self,
        provider: Address,
        scopes: Iterable[Scope],
        *,
        name: str = "",
        tariff_id: bytes | None = None,
        expires_at: int | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key and return its text, which nothing shows again, with what is stored."""
        key_id = "".join(secrets.choice(_ALPHABET) for _ in range(12))
        secret = secrets.token_urlsafe(32)
        granted = frozenset(scopes)
        if not granted:
            raise BadApiKey("a key needs a scope: ingest, read or operate", None)
        key = ApiKey(key_id, provider, tariff_id, granted, name, int(self._clock()), expires_at)
        with self._database.write() as connection:
            connection.execute(
                insert(_KEYS).values(
                    key_id=key_id,
                    secret_hash=_hash(secret),
                    provider=provider.raw,
                    tariff_id=tariff_id,
                    scopes=" ".join(sorted(granted)),
                    name=name,
                    created_at=key.created_at,
                    expires_at=expires_at,
                )
            )
        return f"mb_{key_id}_{secret}", key

    def authenticate(self, text: str) -> ApiKey:
        """Return the key that a request carries.

        Raises:
            BadApiKey: without saying what is wrong with it.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise BadApiKey("this is no API key; it looks like mb_<id>_<secret>")
        now = self._clock()
        found = self._lookup(match[1], now)
        if found is None or not hmac.compare_digest(found[0], _hash(match[2])) or not found[1].usable(now):
            raise BadApiKey("the API key is unknown, expired or revoked")
        return found[1]

    def remembered(self, text: str) -> ApiKey | None:
        """Return a valid key that was seen a moment ago, without asking the database."""
        cached = self._cache.get(text[3:15])
        if cached is None or not self._clock() < cached[0]:
            return None
        return self.authenticate(text)

    def listed(self, provider: Address | None = None) -> list[ApiKey]:
        """Return all keys, or one provider's, oldest first."""
        query = select(_KEYS).order_by(_KEYS.c.created_at, _KEYS.c.key_id)
        if provider is not None:
            query = query.where(_KEYS.c.provider == provider.raw)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(query)]

    def revoke(self, key_id: str, *, at: int | None = None) -> None:
        """End a key now or, for a rotation, at a later time; an earlier end stays.

        Raises:
            UnknownApiKey: naming it.
        """
        when = int(self._clock()) if at is None else at
        with self._database.write() as connection:
            changed = connection.execute(
                update(_KEYS)
                .where(_KEYS.c.key_id == key_id)
                .where(or_(_KEYS.c.revoked_at.is_(None), _KEYS.c.revoked_at > when))
                .values(revoked_at=when)
            ).rowcount
            known = connection.execute(select(_KEYS.c.key_id).where(_KEYS.c.key_id == key_id)).first()
        self._cache.pop(key_id, None)
        if not changed and known is None:
            raise UnknownApiKey(f"there is no API key {key_id!r}; see `meterbridge apikeys list`", key_id)

    def rotate(self, key_id: str, *, grace: int) -> tuple[str, ApiKey]:
        """Make a key with the same rights; the old one works for `grace` more seconds."""
        old = next((key for key in self.listed() if key.key_id == key_id), None)
        if old is None or not old.usable(self._clock()):
            raise UnknownApiKey(f"there is no usable API key {key_id!r} to rotate", key_id)
        made = self.create(
            old.provider, old.scopes, name=old.name, tariff_id=old.tariff_id, expires_at=old.expires_at
        )
        self.revoke(key_id, at=int(self._clock()) + grace)
        return made

    def _lookup(self, key_id: str, now: float) -> tuple[bytes, ApiKey] | None:
        cached = self._cache.get(key_id)
        if cached is not None and now < cached[0]:
            return cached[1], cached[2]
        with self._database.read() as connection:
            row = connection.execute(select(_KEYS).where(_KEYS.c.key_id == key_id)).first()
        if row is None:
            return None  # not cached: made-up ids must not fill the memory
        if len(self._cache) >= _CACHED_MAX:
            self._cache.clear()
        self._cache[key_id] = (now + CACHE_SECONDS, bytes(row.secret_hash), _key(row))
        return bytes(row.secret_hash), self._cache[key_id][2]


def _hash(secret: str) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=32, person=b"meterbridge-key").digest()


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        key_id=row.key_id,
        provider=Address(bytes(row.provider)),
        tariff_id=None if row.tariff_id is None else bytes(row.tariff_id),
        scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
