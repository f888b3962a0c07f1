"""Signed statements as files in a ledger's folder, where everybody can fetch them."""

from __future__ import annotations

from pathlib import Path

from meterbridge.adapters.json_files import read_json, write_json
from meterbridge.domain.statements import SignedStatement
from meterbridge.services.exchange import statement_from_json, statement_to_json


def keep_statement(folder: Path, signed: SignedStatement) -> Path:
    """Write a statement below a ledger's folder and return where; doing so again changes nothing."""
    statement = signed.statement
    name = f"{statement.tariff_id.hex()[:8]}-{statement.sealed_at}-{signed.digest().hex()[:16]}.json"
    path = folder / "statements" / name
    write_json(path, statement_to_json(signed))
    return path


def read_statement(path: Path) -> SignedStatement:
    """Read a statement that somebody wrote.

    Raises:
        BadJsonFile, ProtocolError: when it is none.
    """
    return statement_from_json(read_json(path))
