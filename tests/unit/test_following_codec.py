"""Whatever the contract can say is stored in parts, money and usage apart, and comes back as it was."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, Split
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, Rates, UsageVector
from meterbridge.services import chain_events
from meterbridge.services.chain_events import ChainEvent, LogPlace
from meterbridge.services.following.codec import put_together, take_apart

CLASSES = [
    kind
    for kind in vars(chain_events).values()
    if isinstance(kind, type) and issubclass(kind, ChainEvent) and kind is not ChainEvent
]
digests = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20).map(Address)
shares = st.integers(1, 2**128 - 1)
splits = st.builds(Split, addresses, digests, shares)
lanes = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=8, max_size=8)
rates = st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=8)
VALUES: dict[str, Any] = {
    "bytes": digests,
    "int": st.integers(0, 2**256 - 1),
    "str": st.text(),
    "Address": addresses,
    "AssetAmount": st.integers(0, 2**256 - 1).map(AssetAmount),
    "UsageVector": lanes.map(UsageVector.of),
    "Split": splits,
    "Split | None": st.none() | splits,
    "Tariff": st.builds(
        Tariff,
        addresses,
        digests,
        rates.map(Rates.of),
        st.integers(0, 36),
        st.integers(0, 7_776_000),
        digests,
    ),
    "tuple[Party, ...]": st.lists(st.builds(Party, addresses, st.integers(1, 255), shares)).map(tuple),
}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_event_comes_back_as_it_was(kind: Any) -> None:
    names = {field.name: str(field.type) for field in fields(kind) if field.name != "at"}
    place = LogPlace(7, 3, bytes([1]) * 32, bytes([2]) * 32)

    @given(st.fixed_dictionaries({name: VALUES[annotation] for name, annotation in names.items()}))
    @settings(max_examples=25, deadline=None)
    def round_trip(values: dict[str, Any]) -> None:
        event = kind(at=place, **values)
        parts = take_apart(event)
        assert put_together(parts) == event
        assert parts.rest.isprintable() or "\n" not in parts.rest
        amounts = [v for v in values.values() if isinstance(v, AssetAmount)]
        usages = [v for v in values.values() if isinstance(v, UsageVector)]
        assert amounts == ([] if parts.amount is None else [parts.amount]), "one amount at most"
        assert usages == ([] if parts.usage is None else [parts.usage]), "one usage at most"

    round_trip()
