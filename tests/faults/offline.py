"""The tariff of the stage on a contract that nobody deployed: for what needs no chain."""

from __future__ import annotations

from faults.stage import record_of
from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Domain
from meterbridge.services.records import TariffRecord


def offline_record() -> TariffRecord:
    """Return a tariff that can be stated under, and settled nowhere."""
    return record_of(Domain(31337, Address(b"\x41" * 20)), Address(b"\x31" * 20))
