"""Whose log an event belongs to."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Final

from sqlalchemy.exc import IntegrityError

from meterbridge.adapters.intake.known import KnownTariff
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.services.ledger_errors import Conflict, UnknownAccount
from meterbridge.services.ports import Ledger
from meterbridge.services.records import AccountKey, AccountRecord

_REFRESH_SECONDS: Final = 1.0


class Accounts:
    """Finds accounts by address or customer name; opens one for an address that comes for the first time."""

    def __init__(self, ledger: Ledger) -> None:
        """Start knowing nobody."""
        self._ledger = ledger
        self._known: dict[tuple[bytes, str], AccountRecord] = {}
        self._refreshed: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def of(self, tariff: KnownTariff, payer: str | None) -> AccountRecord:
        """Return the account of a payer under a tariff.

        Raises:
            UnknownAccount: when nobody is named, or a customer that the ledger does not know.
        """
        if payer is None:
            raise UnknownAccount(
                "the event names no payer; put an address or a customer's name in `subject`", None
            )
        found = self._known.get((tariff.id, payer))
        return found if found is not None else self._find(tariff, payer)

    def _find(self, tariff: KnownTariff, payer: str) -> AccountRecord:
        try:
            address = Address.parse(payer)
        except OutOfBounds as error:
            if payer.startswith("0x"):
                raise UnknownAccount(str(error), payer) from error
            return self._customer(tariff, payer)
        with self._lock:
            account = self._open(AccountKey(tariff.record.domain, tariff.id, address))
            self._known[tariff.id, payer] = account
        return account

    def _open(self, key: AccountKey) -> AccountRecord:
        try:
            return self._shared(self._ledger.account(key))
        except UnknownAccount:
            pass
        try:
            return self._shared(self._ledger.open_account(key, secrets.token_bytes(DIGEST_BYTES)))
        except (Conflict, IntegrityError):  # another process opened it this very moment, with its own blind
            return self._shared(self._ledger.account(key))

    def _shared(self, account: AccountRecord) -> AccountRecord:
        """Keep one object an account, however it is written: `0xABC…`, `0xabc…` or its customer's name."""
        return self._known.setdefault((account.key.tariff_id, str(account.key.payer)), account)

    def _customer(self, tariff: KnownTariff, name: str) -> AccountRecord:
        with self._lock:
            now = time.monotonic()
            if now >= self._refreshed.get(tariff.id, 0.0):  # unknown names must not cost a query each
                self._refreshed[tariff.id] = now + _REFRESH_SECONDS
                for account in self._ledger.accounts(tariff.id):
                    if account.customer is not None:
                        self._known[tariff.id, account.customer] = self._shared(account)
            found = self._known.get((tariff.id, name))
        if found is None:
            raise UnknownAccount(
                f"no account of this tariff has the customer name {name[:80]!r}; open one or send an address",
                name,
            )
        return found
