"""A ledger folder as commands and library open it, and the contract that a tariff names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meterbridge.domain.errors import MeterbridgeError

if TYPE_CHECKING:
    from meterbridge.adapters.chain import Sender, SplitterClient
    from meterbridge.adapters.ledger import SqlLedger
    from meterbridge.adapters.segments import FolderSegments
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.statements import Domain
    from meterbridge.services.records import AccountRecord, TariffRecord


class NoLedger(MeterbridgeError):
    """There is no ledger in the folder."""


class NotOne(MeterbridgeError):
    """What was named is not there, or could be several."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open ledger folder."""

    folder: Path
    ledger: SqlLedger
    segments: FolderSegments

    def tariff(self, wanted: str | None) -> TariffRecord:
        """Return the tariff whose id begins with `wanted`; without it, the only one.

        Raises:
            NotOne: when there is none or several.
        """
        found = beginning_with(wanted, self.ledger.tariffs())
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"0x{record.id.hex()[:12]}" for record in self.ledger.tariffs()) or "none"
        raise NotOne(
            f"--tariff {wanted or '(none given)'} fits {len(found)} tariffs; there are: {known}", wanted
        )

    def account(self, record: TariffRecord, wanted: str) -> AccountRecord:
        """Return the account of a customer name or a payer's address.

        Raises:
            NotOne: when there is none.
        """
        accounts = self.ledger.accounts(record.id)
        for account in accounts:
            if wanted in (account.customer, str(account.key.payer), str(account.key.payer).lower()):
                return account
        known = ", ".join(account.customer or str(account.key.payer) for account in accounts) or "none"
        raise NotOne(f"there is no account {wanted!r} under this tariff; there are: {known}", wanted)

    def names(self, record: TariffRecord) -> dict[Address, str]:
        """Return a name for each payer: the customer's, or the address."""
        return {a.key.payer: a.customer or str(a.key.payer) for a in self.ledger.accounts(record.id)}


def beginning_with(wanted: str | None, records: Iterable[TariffRecord]) -> list[TariffRecord]:
    """Return the tariffs whose id begins with `wanted`, hex digits with or without 0x; all, without it."""
    digits = (wanted or "").lower().removeprefix("0x")
    return [record for record in records if record.id.hex().startswith(digits)]


@contextmanager
def workspace(folder: str | Path, *, create: bool = False) -> Iterator[Workspace]:
    """Open a ledger folder.

    Raises:
        NoLedger: when there is none, unless it is to be created.
    """
    from meterbridge.adapters.ledger import DATABASE_NAME, open_ledger, segments_beside

    path = Path(folder)
    if not create and not (path / DATABASE_NAME).exists():
        raise NoLedger(
            f"there is no ledger in {path}; `meterbridge init` makes one, --ledger names one", folder
        )
    path.mkdir(parents=True, exist_ok=True)
    with open_ledger(path) as ledger:
        yield Workspace(path, ledger, segments_beside(ledger, path))


def splitter_at(rpc: str, contract: Address, sender: Sender | None = None) -> SplitterClient:
    """Return a client of the contract at an address."""
    from meterbridge.adapters.chain import Gateway, SplitterClient
    from meterbridge.adapters.devnet import connect

    return SplitterClient(Gateway(connect(rpc), sender), contract)


def splitter_of(rpc: str, domain: Domain, sender: Sender | None = None) -> SplitterClient:
    """Return a client of the contract that a tariff or a statement names.

    Raises:
        WrongChain: when the node is on another chain.
    """
    from meterbridge.services.chain_errors import WrongChain

    client = splitter_at(rpc, domain.verifying_contract, sender)
    found = client.gateway.chain_id()
    if found != domain.chain_id:
        raise WrongChain(f"the node is on chain {found}; {domain.chain_id} is meant", found)
    return client
