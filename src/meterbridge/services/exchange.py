"""What leaves a ledger folder as JSON: signed statements, tariffs with all behind them, worked proofs.

Bytes stand as `0x` and lower-case hex, addresses with their checksum, and whatever may exceed 53 bits as a
decimal string. Reading is strict: exact keys, exact types, one spelling. Reading a file back and writing it
again gives the same file.

A statement:

    {"format": "meterbridge/statement/1",
     "domain": {"name": "Meterbridge", "version": "1", "chainId": 8453, "verifyingContract": "0x…"},
     "tariffId": "0x…", "sealedAt": 1790000000,
     "lines": [{"payer": "0x…", "usage": ["1200", "0", …], "head": "0x…"}],
     "digest": "0x…", "signer": "0x…", "signature": "0x…"}

A tariff: `format` meterbridge/tariff/1, `domain`, `tariffId`, `tariff` and `split` as the contract's structs,
`parties` in published order, `document` as text, exactly as published. Proofs: see `proof_json`.
"""

from __future__ import annotations

from typing import Final

from meterbridge.domain.errors import BadStatement, BadTariff
from meterbridge.domain.statements import SEALED_AT_MAX, Line, SignedStatement, Statement
from meterbridge.services.json_fields import BadDocument, Fields, canonical_json, hex_of, lanes_of, load_json
from meterbridge.services.proof_json import proof_from_json, proof_to_json
from meterbridge.services.records import TariffRecord
from meterbridge.services.struct_json import (
    PARTY_KEYS,
    domain_from_json,
    domain_to_json,
    party_to_json,
    read_party,
    split_from_json,
    split_to_json,
    tariff_from_json,
    tariff_to_json,
)

__all__ = [
    "BadDocument",
    "canonical_json",
    "load_json",
    "proof_from_json",
    "proof_to_json",
    "statement_from_json",
    "statement_to_json",
    "tariff_record_from_json",
    "tariff_record_to_json",
]

STATEMENT_FORMAT: Final = "meterbridge/statement/1"
TARIFF_FORMAT: Final = "meterbridge/tariff/1"
_STATEMENT_KEYS: Final = (
    "format",
    "domain",
    "tariffId",
    "sealedAt",
    "lines",
    "digest",
    "signer",
    "signature",
)
_RECORD_KEYS: Final = ("format", "domain", "tariffId", "tariff", "split", "parties", "document")


def statement_to_json(signed: SignedStatement) -> dict[str, object]:
    """Return a signed statement as JSON, ready for anyone to submit."""
    statement = signed.statement
    return {
        "format": STATEMENT_FORMAT,
        "domain": domain_to_json(signed.domain),
        "tariffId": hex_of(statement.tariff_id),
        "sealedAt": statement.sealed_at,
        "lines": [
            {"payer": str(line.payer), "usage": lanes_of(line.usage), "head": hex_of(line.head)}
            for line in statement.lines
        ],
        "digest": hex_of(signed.digest()),
        "signer": str(signed.signer),
        "signature": hex_of(signed.signature),
    }


def statement_from_json(value: object) -> SignedStatement:
    """Read a signed statement.

    The digest is computed anew; whose signature it is, `domain.signatures` and the contract tell.

    Raises:
        BadDocument: when it is not of the format.
        BadStatement: when a value is out of range, or the digest is that of another statement.
    """
    fields = Fields("statement", value, _STATEMENT_KEYS)
    fields.constant("format", STATEMENT_FORMAT)
    lines = tuple(
        Line(line.address("payer"), line.usage("usage"), line.data("head"))
        for line in fields.objects("lines", ("payer", "usage", "head"))
    )
    signed = SignedStatement(
        domain=domain_from_json(fields),
        statement=Statement(fields.data("tariffId"), fields.whole("sealedAt", 0, SEALED_AT_MAX), lines),
        signer=fields.address("signer"),
        signature=fields.data("signature", None),
    )
    if signed.digest() != fields.data("digest"):
        raise BadStatement(
            f"the statement's digest is {hex_of(signed.digest())}, not {fields.text('digest')}: "
            "it was changed after it was written",
            fields.text("digest"),
        )
    return signed


def tariff_record_to_json(record: TariffRecord) -> dict[str, object]:
    """Return a tariff with its split, parties and document."""
    return {
        "format": TARIFF_FORMAT,
        "domain": domain_to_json(record.domain),
        "tariffId": hex_of(record.id),
        "tariff": tariff_to_json(record.tariff),
        "split": split_to_json(record.split),
        "parties": [party_to_json(party) for party in record.parties],
        "document": record.document.decode(),
    }


def tariff_record_from_json(value: object) -> TariffRecord:
    """Read a tariff with all behind it.

    Raises:
        BadDocument: when it is not of the format.
        BadTariff, BadSplit: when a value is out of range, or a hash is not that of what stands there.
    """
    fields = Fields("tariff file", value, _RECORD_KEYS)
    fields.constant("format", TARIFF_FORMAT)
    record = TariffRecord(
        domain=domain_from_json(fields),
        tariff=tariff_from_json(fields, "tariff"),
        split=split_from_json(fields, "split"),
        parties=tuple(read_party(party) for party in fields.objects("parties", PARTY_KEYS)),
        document=fields.text("document").encode(),
    )
    if record.id != fields.data("tariffId"):
        raise BadTariff(f"the tariff's id is {hex_of(record.id)}, not {fields.text('tariffId')}", record.id)
    return record
