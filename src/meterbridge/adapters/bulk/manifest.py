"""What a seal says of itself: its batches, in a Parquet file, with whose they are and where they stand.

With the parts it is enough to rebuild the ledger, blinds included, so it is for the provider only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meterbridge.adapters.bulk.files import sync
from meterbridge.adapters.bulk.layout import MANIFEST, batch_name
from meterbridge.adapters.bulk.stores import SealFiles
from meterbridge.domain.addresses import Address
from meterbridge.domain.arrays import Ints
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.statements import Domain
from meterbridge.domain.sum_tree import SumNode
from meterbridge.domain.units import LANES, UsageVector
from meterbridge.services.bulk.plan import SealPlan
from meterbridge.services.bulk.ports import SealedBatch
from meterbridge.services.ledger_errors import BadSegment
from meterbridge.services.records import AccountKey, AccountRecord, BatchRecord, LogKey, LogKind

FORMAT: Final = "meterbridge/seal/2"
_META_KEY: Final = b"meterbridge"
_SUMS: Final = tuple(f"sum_{lane}" for lane in range(LANES))
_SCHEMA: Final = pa.schema(
    [
        pa.field("account", pa.int64(), nullable=False),
        pa.field("payer", pa.string(), nullable=False),
        pa.field("customer", pa.string()),
        pa.field("blind", pa.binary(32), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("root", pa.binary(32), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in _SUMS),
        pa.field("first_row", pa.int64(), nullable=False),
        pa.field("nodes_at", pa.int64(), nullable=False),
        pa.field("first_time", pa.int64(), nullable=False),
        pa.field("last_time", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One seal, as it was read.

    Attributes:
        name: of the seal.
        domain: the contract that settles its tariff.
        tariff_id: 32 bytes.
        sealed_at: milliseconds since 1970.
        part_rows: (parts + 1,) the first row of each part, and how many there are in all.
        accounts: (b,) the account of each batch, as the index of events numbers it.
        sizes: (b,) receipts of each batch.
        first_rows: (b,) where they begin among all rows.
        nodes_at: (b,) word at which its region in the file of nodes begins, or -1.
        first_times: (b,) milliseconds since 1970.
        last_times: likewise.
    """

    name: str
    domain: Domain
    tariff_id: bytes
    sealed_at: int
    part_rows: Ints
    accounts: Ints
    sizes: Ints
    first_rows: Ints
    nodes_at: Ints
    first_times: Ints
    last_times: Ints
    _table: Any

    def number_of(self, payer: Address) -> int | None:
        """Return the number of a payer's batch, or None where it has none."""
        index = pc.index(self._table["payer"], str(payer)).as_py()
        return None if index < 0 else int(index)

    def account(self, number: int) -> AccountRecord:
        """Return whose batch it is."""
        key = AccountKey(self.domain, self.tariff_id, Address.parse(self._cell("payer", number)))
        return AccountRecord(key, self._cell("blind", number), self._cell("customer", number))

    def batch(self, number: int) -> BatchRecord:
        """Return a batch as an element of its log."""
        root = SumNode(self._cell("root", number), UsageVector.of(self._cell(s, number) for s in _SUMS))
        log = LogKey(self.account(number).key, LogKind.CHARGES)
        size = int(self.sizes[number])
        return BatchRecord(log, self._cell("seq", number), size, root, batch_name(self.name, number))

    def _cell(self, column: str, number: int) -> Any:
        return self._table[column][number].as_py()


@dataclass(frozen=True, slots=True)
class SealHeader:
    """What all batches of a seal share; as in `Manifest`."""

    domain: Domain
    tariff_id: bytes
    sealed_at: int
    part_rows: Sequence[int]


def write_manifest(
    path: Path,
    header: SealHeader,
    plan: SealPlan,
    accounts: Sequence[AccountRecord],
    payers: Sequence[str],
    batches: Sequence[SealedBatch],
) -> None:
    """Write the manifest and wait until the disk has it."""
    whose = [accounts[account] for account in plan.accounts.tolist()]
    records = [batch.record for batch in batches]
    lanes = np.array([record.root.sum.lanes for record in records], dtype=np.int64).reshape(-1, LANES)
    columns = [
        plan.accounts,
        [payers[account] for account in plan.accounts.tolist()],
        [account.customer for account in whose],
        [account.blind for account in whose],
        [record.seq for record in records],
        plan.sizes,
        [record.root.hash for record in records],
        *(np.ascontiguousarray(lanes[:, lane]) for lane in range(LANES)),
        plan.first_rows,
        plan.nodes_at,
        [batch.times[0] for batch in batches],
        [batch.times[1] for batch in batches],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    schema = _SCHEMA.with_metadata({_META_KEY: json.dumps(_header_to_json(header)).encode()})
    pq.write_table(pa.table(arrays, schema=schema), path, compression="zstd")
    sync(path)


def read_manifest(files: SealFiles, name: str) -> Manifest:
    """Read a seal's manifest.

    Raises:
        BadSegment: when it is missing or damaged.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(files.whole(MANIFEST))) as file:
            table = file.read()
        if not table.schema.equals(_SCHEMA):
            raise BadSegment(f"the columns of its manifest are {table.schema.names}", name)
        header = _header_from_json(json.loads(table.schema.metadata[_META_KEY]), name)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, MeterbridgeError) as error:
        raise BadSegment(f"seal {name} cannot be read: {error}", name) from error
    return Manifest(
        name=name,
        domain=header.domain,
        tariff_id=header.tariff_id,
        sealed_at=header.sealed_at,
        part_rows=np.array(header.part_rows, dtype=np.int64),
        accounts=table["account"].to_numpy(),
        sizes=table["size"].to_numpy(),
        first_rows=table["first_row"].to_numpy(),
        nodes_at=table["nodes_at"].to_numpy(),
        first_times=table["first_time"].to_numpy(),
        last_times=table["last_time"].to_numpy(),
        _table=table,
    )


def _header_to_json(header: SealHeader) -> dict[str, object]:
    return {
        "format": FORMAT,
        "chainId": str(header.domain.chain_id),
        "verifyingContract": str(header.domain.verifying_contract),
        "tariffId": header.tariff_id.hex(),
        "sealedAt": header.sealed_at,
        "partRows": list(header.part_rows),
    }


def _header_from_json(found: dict[str, Any], name: str) -> SealHeader:
    if found["format"] != FORMAT:
        raise BadSegment(f"its format is {found['format']!r}, not {FORMAT!r}", name)
    domain = Domain(int(found["chainId"]), Address.parse(found["verifyingContract"]))
    return SealHeader(domain, bytes.fromhex(found["tariffId"]), found["sealedAt"], found["partRows"])
