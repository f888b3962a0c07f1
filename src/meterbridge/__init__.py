"""Meterbridge: the settlement bridge between metered AI usage and the parties it pays.

    from meterbridge import Provider, Payer, Contributor, Client

A name is loaded when it is first asked for: importing the package itself costs next to nothing. `Client` and
`AsyncClient` talk to a running metering service and need the extra `serve`. See docs/library.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meterbridge.adapters.chain.history import NotPublished as NotPublished
    from meterbridge.adapters.formats import ColumnMap as ColumnMap
    from meterbridge.adapters.kms import KmsSigner as KmsSigner
    from meterbridge.adapters.signers import KeystoreSigner as KeystoreSigner
    from meterbridge.adapters.signers import LocalSigner as LocalSigner
    from meterbridge.client import AsyncClient as AsyncClient
    from meterbridge.client import Client as Client
    from meterbridge.client import UsageRecord as UsageRecord
    from meterbridge.domain.addresses import Address as Address
    from meterbridge.domain.currency import Currency as Currency
    from meterbridge.domain.errors import MeterbridgeError as MeterbridgeError
    from meterbridge.domain.events import UsageEvent as UsageEvent
    from meterbridge.domain.moments import parse_time as parse_time
    from meterbridge.domain.moments import time_text as time_text
    from meterbridge.domain.splits import Party as Party
    from meterbridge.domain.splits import Role as Role
    from meterbridge.domain.statements import SignedStatement as SignedStatement
    from meterbridge.domain.units import AssetAmount as AssetAmount
    from meterbridge.domain.units import UsageVector as UsageVector
    from meterbridge.library.asynchronous import AsyncContributor as AsyncContributor
    from meterbridge.library.asynchronous import AsyncPayer as AsyncPayer
    from meterbridge.library.asynchronous import AsyncProvider as AsyncProvider
    from meterbridge.library.contributor import Contributor as Contributor
    from meterbridge.library.deposits import SignedDeposit as SignedDeposit
    from meterbridge.library.payer import Payer as Payer
    from meterbridge.library.proofs import read_proof as read_proof
    from meterbridge.library.proofs import read_statement as read_statement
    from meterbridge.library.proofs import write_proof as write_proof
    from meterbridge.library.provider import FOREVER as FOREVER
    from meterbridge.library.provider import Provider as Provider
    from meterbridge.services.chain_errors import Refusal as Refusal
    from meterbridge.services.claims import SignedClaim as SignedClaim

__version__ = "0.1.0"

_HOME: Final = {
    "Address": "domain.addresses",
    "AssetAmount": "domain.units",
    "AsyncClient": "client",
    "AsyncContributor": "library.asynchronous",
    "AsyncPayer": "library.asynchronous",
    "AsyncProvider": "library.asynchronous",
    "Client": "client",
    "ColumnMap": "adapters.formats",
    "Contributor": "library.contributor",
    "Currency": "domain.currency",
    "FOREVER": "library.provider",
    "KeystoreSigner": "adapters.signers",
    "KmsSigner": "adapters.kms",
    "LocalSigner": "adapters.signers",
    "MeterbridgeError": "domain.errors",
    "NotPublished": "adapters.chain.history",
    "Party": "domain.splits",
    "Payer": "library.payer",
    "Provider": "library.provider",
    "Refusal": "services.chain_errors",
    "Role": "domain.splits",
    "SignedClaim": "services.claims",
    "SignedDeposit": "library.deposits",
    "SignedStatement": "domain.statements",
    "UsageEvent": "domain.events",
    "UsageRecord": "client",
    "UsageVector": "domain.units",
    "parse_time": "domain.moments",
    "read_proof": "library.proofs",
    "read_statement": "library.proofs",
    "time_text": "domain.moments",
    "write_proof": "library.proofs",
}
"""Where each public name lives; a test holds it against the imports above."""

__all__ = ["__version__", *_HOME]  # noqa: PLE0604  # all of them are strings


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'meterbridge' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"meterbridge.{_HOME[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
