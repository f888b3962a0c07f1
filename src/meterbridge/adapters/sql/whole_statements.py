"""A stored statement with all its lines, read as columns: a thousand lines take a few milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, LargeBinary, select, type_coerce

from meterbridge.adapters.sql.database import SqlRow, SqlSelect
from meterbridge.adapters.sql.registry import ACCOUNTS
from meterbridge.adapters.sql.statements import LINES, STATEMENTS
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import LaneOverflow
from meterbridge.domain.keccak import keccak256_rows
from meterbridge.domain.statements import Domain, Line, SignedStatement, Statement
from meterbridge.domain.units import UsageVector

_HEAD_PREFIX: Final = b"\x03"
_LOGS: Final = ("charges", "credits")
Sums = npt.NDArray[np.int64]


def read_statement(
    connection: Connection, domain: Domain, tariff_id: bytes, digest: bytes
) -> SignedStatement | None:
    """Return a statement by its digest, or None where the ledger does not have it."""
    rows = connection.execute(_lines_of(digest)).all()
    if not rows:
        return None
    usages = _net(rows)
    heads = keccak256_rows(_head_rows(rows))
    lines = tuple(
        Line(Address(bytes(row.payer)), UsageVector(tuple(usage)), head.tobytes())
        for row, usage, head in zip(rows, usages.tolist(), heads, strict=True)
    )
    statement = Statement(tariff_id, rows[0].sealed_at, lines)
    return SignedStatement(domain, statement, Address(bytes(rows[0].signer)), bytes(rows[0].signature))


def _lines_of(digest: bytes) -> SqlSelect:
    # The sums as plain bytes: a vector for each would take longer than everything else here.
    sums = (type_coerce(LINES.c[f"{log}_sum"], LargeBinary).label(f"{log}_sum") for log in _LOGS)
    others = (LINES.c[f"{log}_{part}"] for log in _LOGS for part in ("size", "hash"))
    return (
        select(STATEMENTS.c.sealed_at, STATEMENTS.c.signer, STATEMENTS.c.signature, ACCOUNTS.c.payer)
        .add_columns(*others, *sums)
        .join(LINES, LINES.c.statement == STATEMENTS.c.id)
        .join(ACCOUNTS, ACCOUNTS.c.id == LINES.c.account)
        .where(STATEMENTS.c.digest == digest)
        .order_by(LINES.c.position)
    )


def _net(rows: Sequence[SqlRow]) -> Sums:
    """Return (n, 8) lanes of charges less credits.

    Raises:
        LaneOverflow: when a lane leaves int64.
    """
    charges, credits_ = (
        np.frombuffer(b"".join(bytes(getattr(row, f"{log}_sum")) for row in rows), dtype=">i8")
        .astype(np.int64)
        .reshape(-1, 8)
        for log in _LOGS
    )
    net = charges - credits_
    # Two's complement wraps: then the difference lies on the wrong side of where it began.
    if ((credits_ > 0) & (net > charges) | (credits_ < 0) & (net < charges)).any():
        raise LaneOverflow("a lane of a statement's line leaves int64", None)
    return net


def _head_rows(rows: Sequence[SqlRow]) -> npt.NDArray[np.uint8]:
    """Return what each head is the hash of (protocol, section 4), as (n, 209) bytes."""
    packed = b"".join(
        _HEAD_PREFIX
        + row.charges_size.to_bytes(8, "big")
        + bytes(row.charges_hash)
        + bytes(row.charges_sum)
        + row.credits_size.to_bytes(8, "big")
        + bytes(row.credits_hash)
        + bytes(row.credits_sum)
        for row in rows
    )
    return np.frombuffer(packed, dtype=np.uint8).reshape(len(rows), -1)
