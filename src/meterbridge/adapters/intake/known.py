"""What never changes of a tariff, read and reckoned once: ids and documents are too slow for every event."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from meterbridge.domain.addresses import Address
from meterbridge.domain.events import MeterMap
from meterbridge.domain.units import UsageVector
from meterbridge.services.ports import Ledger
from meterbridge.services.records import TariffRecord

_LIST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class KnownTariff:
    """A tariff with its id and what its document means."""

    id: bytes
    record: TariffRecord
    meters: MeterMap
    headroom: UsageVector

    @property
    def provider(self) -> Address:
        """Whose tariff it is."""
        return self.record.tariff.provider


class KnownTariffs:
    """The ledger's tariffs; one that is added later is found, too."""

    def __init__(self, ledger: Ledger) -> None:
        """Start knowing none."""
        self._ledger = ledger
        self._by_id: dict[bytes, KnownTariff] = {}
        self._listed: tuple[float, list[KnownTariff]] = (0.0, [])

    def known(self, tariff_id: bytes) -> KnownTariff:
        """Return a tariff.

        Raises:
            UnknownTariff: when the ledger has none with this id.
        """
        found = self._by_id.get(tariff_id)
        return found if found is not None else self._keep(self._ledger.tariff(tariff_id))

    def all(self) -> list[KnownTariff]:
        """Return all tariffs, as they were at most two seconds ago."""
        if time.monotonic() >= self._listed[0]:
            known = [self._keep(record) for record in self._ledger.tariffs()]
            self._listed = (time.monotonic() + _LIST_SECONDS, known)
        return self._listed[1]

    def _keep(self, record: TariffRecord) -> KnownTariff:
        tariff_id, terms = record.id, record.terms()
        return self._by_id.setdefault(
            tariff_id, KnownTariff(tariff_id, record, terms.meter_map(), terms.headroom())
        )
