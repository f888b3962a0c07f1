"""What never changes of a tariff, read and reckoned once: ids and documents are too slow for every event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.events import MeterMap
from meterbridge.domain.receipts import LANE_MAX
from meterbridge.domain.units import LANES, UsageVector
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

    def measure(self, buckets: Mapping[str, int]) -> tuple[int, ...]:
        """Count buckets on their meters, as `MeterMap.measure` does, within the bounds of one receipt.

        Raises:
            UnknownBucket: when a bucket has usage and no meter.
            OutOfBounds: when several buckets on one meter exceed what a receipt can hold.
        """
        lanes = [0] * LANES
        meter_of = self.meters.meter_of
        for bucket, count in buckets.items():
            if count:
                meter = meter_of.get(bucket)
                if meter is None:
                    self.meters.measure(buckets)  # it says which
                else:
                    lanes[meter] += count
        for lane in lanes:
            if lane > LANE_MAX:
                raise OutOfBounds(
                    f"a meter counts {lane} in one event; a receipt holds at most {LANE_MAX}", lane
                )
        return tuple(lanes)


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
