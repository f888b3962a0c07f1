"""What the steps of the demo share: the chain, the keys, the ledger, and a memory that outlives a run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meterbridge.adapters.chain import SplitterClient, TokenClient
from meterbridge.adapters.devnet import Deployment, Devnet
from meterbridge.adapters.json_files import write_json
from meterbridge.adapters.ledger import SqlLedger
from meterbridge.adapters.segments import FolderSegments
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.entrypoints.cli.output import Output
from meterbridge.entrypoints.demo.setting import CUSTOMERS, MEMBERS
from meterbridge.entrypoints.demo.usage import Forecast, UsageLog
from meterbridge.services.records import AccountKey, TariffRecord

MEMORY: Final = "demo.json"
PROVIDER, METER = "provider", "meter"
ROLES: Final = (PROVIDER, METER, *(m.name for m in MEMBERS), *(c.name for c in CUSTOMERS))


class Memory:
    """A small file in the demo's folder: its keys and where its contracts are.

    The keys are made for this demo alone; the file is readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        """Read what an earlier, interrupted run left, or start anew."""
        self._file: Final = folder / MEMORY
        self._values: dict[str, Any] = {}
        if self._file.exists():
            self._values = json.loads(self._file.read_text(encoding="utf-8"))

    @property
    def is_new(self) -> bool:
        """Whether no run has been here before."""
        return not self._values

    def get(self, name: str) -> Any:
        """Return what was kept under a name, or None."""
        return self._values.get(name)

    def keep(self, **values: Any) -> None:
        """Keep values, durably and all at once."""
        self._values.update(values)
        write_json(self._file, self._values, mode=0o600)

    def keys(self) -> dict[str, LocalSigner]:
        """Return one key for everybody who takes part, fresh ones the first time."""
        known = self.get("keys") or {}
        if not known:
            for role in ROLES:
                known[role] = os.urandom(32).hex()
            self.keep(keys=known)
        return {role: LocalSigner.from_hex(known[role]) for role in ROLES}


@dataclass(slots=True)
class World:
    """The demo as it stands between two steps.

    Attributes:
        devnet: the chain.
        chain: the contracts.
        keys: by role, see `ROLES`.
        record: the tariff with its split and document, once it is published.
        plan: what the log will cost, once it was read.
        log: the usage log.
        accounts: each customer's account, once it was opened.
    """

    folder: Path
    output: Output
    memory: Memory
    devnet: Devnet
    chain: Deployment
    keys: Mapping[str, LocalSigner]
    ledger: SqlLedger
    segments: FolderSegments
    log: UsageLog
    record: TariffRecord = field(init=False)
    plan: Forecast = field(init=False)
    accounts: dict[str, AccountKey] = field(default_factory=dict)

    def splitter(self, role: str) -> SplitterClient:
        """Return the contract, sending for somebody."""
        return self.chain.splitter.as_sender(self.devnet.gateway(self.keys[role]))

    def token(self, role: str) -> TokenClient:
        """Return the token, sending for somebody."""
        return self.chain.token.as_sender(self.devnet.gateway(self.keys[role]))

    def address(self, role: str) -> Address:
        """Return somebody's address."""
        return self.keys[role].address

    def name(self, address: Address) -> str:
        """Return who has an address, or the address itself."""
        return next((role for role in ROLES if self.keys[role].address == address), str(address))

    def money(self, amount: AssetAmount) -> str:
        """Write an amount for people, exactly: 1,234.567890."""
        whole, part = divmod(amount.base_units, 10**6)
        return f"{whole:,}.{part:06d}"
