"""Blinds are secrets of provider and payer: nobody else on the machine can read what holds them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from meterbridge.adapters.ledger import open_ledger
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import Domain
from meterbridge.domain.tariffs import terms_document
from meterbridge.domain.terms import tariff_from_document
from meterbridge.services.records import AccountKey, AccountRecord, TariffRecord


@pytest.fixture
def open_to_all() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


def record() -> TariffRecord:
    table = PartyTable([Party(Address(b"\x01" * 20), 1, 1)])
    split = table.split(Address(b"\x02" * 20))
    document = {
        "meterbridge": 1,
        "name": "",
        "currency": {"symbol": "T", "decimals": 6},
        "meters": [{"name": "input", "buckets": ["input"], "price": "1", "per": 1}],
        "text": "",
    }
    tariff = tariff_from_document(document, Address(b"\x03" * 20), split.id, 0, 0)
    return TariffRecord(
        Domain(1, Address(b"\x04" * 20)), tariff, split, table.parties, terms_document(document)
    )


@pytest.mark.usefixtures("open_to_all")
def test_the_ledger_and_its_segments_are_for_their_owner_only(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.add_tariff(record())
        files = [file for file in tmp_path.iterdir() if file.name != "ledger.db.lock"]
        assert {file.name for file in files} >= {"ledger.db", "ledger.db-wal"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    FolderSegments(tmp_path / "segments").put_tariff(record())
    assert stat.S_IMODE((tmp_path / "segments").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "0x" + "11" * 20, "0X1"])
def test_a_customer_is_not_called_like_somebody_elses_address(name: str) -> None:
    key = AccountKey(Domain(1, Address(b"\x04" * 20)), b"\x05" * 32, Address(b"\x06" * 20))
    with pytest.raises(OutOfBounds, match="no customer name"):
        AccountRecord(key, b"\x07" * 32, name)
