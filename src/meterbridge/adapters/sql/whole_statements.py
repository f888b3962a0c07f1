"""A stored statement with all its lines, read as columns: a thousand lines take two milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, LargeBinary, bindparam, select, type_coerce

from meterbridge.adapters.sql.database import SqlSelect
from meterbridge.adapters.sql.registry import ACCOUNTS
from meterbridge.adapters.sql.statements import LINES, STATEMENTS
from meterbridge.domain.addresses import ADDRESS_BYTES, Address
from meterbridge.domain.arrays import Bytes, Ints, joined
from meterbridge.domain.errors import LaneOverflow
from meterbridge.domain.keccak import keccak256_rows
from meterbridge.domain.statements import Domain
from meterbridge.services.settling.parcels import Parcel

_HEAD_PREFIX: Final = 3
_WIDTHS: Final = {"size": 8, "hash": 32, "sum": 64}
_HEAD_BYTES: Final = 1 + 2 * sum(_WIDTHS.values())
_STATEMENT: Final = select(
    STATEMENTS.c.id, STATEMENTS.c.sealed_at, STATEMENTS.c.signer, STATEMENTS.c.signature
).where(STATEMENTS.c.digest == bindparam("digest"))
Column = Sequence[Any]


def read_parcel(connection: Connection, domain: Domain, tariff_id: bytes, digest: bytes) -> Parcel | None:
    """Return a statement by its digest, or None where the ledger does not have it."""
    found = connection.execute(_STATEMENT, {"digest": digest}).one_or_none()
    if found is None:
        return None
    payers, *logs = zip(*connection.execute(_LINES_OF, {"statement": found.id}).all(), strict=True)
    charges, credits_ = logs[:3], logs[3:]
    return Parcel(
        domain=domain,
        tariff_id=tariff_id,
        sealed_at=found.sealed_at,
        digest=digest,
        signer=Address(bytes(found.signer)),
        signature=bytes(found.signature),
        payers=joined(payers, ADDRESS_BYTES),
        usage=_net(charges[2], credits_[2]),
        heads=keccak256_rows(_head_rows(charges, credits_)),
    )


def _lines_of() -> SqlSelect:
    # The sums as plain bytes: a vector for each would take longer than everything else here.
    cells = [
        type_coerce(LINES.c[f"{log}_{part}"], LargeBinary) if part == "sum" else LINES.c[f"{log}_{part}"]
        for log in ("charges", "credits")
        for part in _WIDTHS
    ]
    return (
        select(ACCOUNTS.c.payer, *cells)
        .select_from(LINES)
        .join(ACCOUNTS, ACCOUNTS.c.id == LINES.c.account)
        .where(LINES.c.statement == bindparam("statement"))
        .order_by(LINES.c.position)
    )


_LINES_OF: Final = _lines_of()


def _net(charges: Column, credits_: Column) -> Ints:
    """Return (n, 8) lanes of charges less credits.

    Raises:
        LaneOverflow: when a lane leaves int64.
    """
    added, taken = (
        np.frombuffer(b"".join(sums), dtype=">i8").astype(np.int64).reshape(-1, 8)
        for sums in (charges, credits_)
    )
    net: npt.NDArray[np.int64] = added - taken
    # Two's complement wraps: then the difference lies on the wrong side of where it began.
    if ((taken > 0) & (net > added) | (taken < 0) & (net < added)).any():
        raise LaneOverflow("a lane of a statement's line leaves int64", None)
    return net


def _head_rows(*logs: Sequence[Column]) -> Bytes:
    """Return what each head is the hash of (protocol, section 4), as (n, 209) bytes."""
    rows = np.empty((len(logs[0][0]), _HEAD_BYTES), dtype=np.uint8)
    rows[:, 0] = _HEAD_PREFIX
    at = 1
    for sizes, hashes, sums in logs:
        rows[:, at : at + 8] = np.array(sizes, dtype=">u8").view(np.uint8).reshape(-1, 8)
        rows[:, at + 8 : at + 40] = joined(hashes, _WIDTHS["hash"])
        rows[:, at + 40 : at + 104] = joined(sums, _WIDTHS["sum"])
        at += sum(_WIDTHS.values())
    return rows
