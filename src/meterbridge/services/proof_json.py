"""Worked proofs as JSON; spelling as in `exchange`.

    {"format": "meterbridge/proof/1",
     "log": "charges",
     "receipt": {"blind": "0x…", "source": "gateway", "eventId": "call-17", "id": "0x…",
                 "occurredAt": 1790000000000, "usage": ["1200", …], "details": "0x…"},
     "details": {"model": "…"},                      what "receipt.details" is the hash of, or null
     "batch": {"index": 17, "size": 20, "root": "0x…", "sum": ["…", …], "path": [SIBLING, …]},
     "element": {"index": 3, "size": 4, "path": [SIBLING, …]},
     "head": {"charges": {"size": 4, "root": "0x…", "sum": […]}, "credits": {…}},
     "statement": {"domain": {…}, "sealedAt": 1790000600, "payer": "0x…", "line": 0,
                   "lines": ["0x…", …], "signer": "0x…", "signature": "0x…"},
     "tariff": {…}, "document": "…", "split": {…},
     "share": {"party": {"account": "0x…", "role": 1, "share": "50"}, "offset": "0", "path": [
                 {"side": "right", "hash": "0x…", "shares": "50"}, …]},
     "price": "3600", "part": "1800"}

SIBLING is {"side": "left" or "right", "hash": "0x…", "sum": [eight decimal strings]}, from the leaf up.
`statement.lines` are the EIP-712 struct hashes of all lines; that of `line` follows from payer and head.

How to verify it by hand, in this order: `id` from blind, source and event id; `details` by hash; the
receipt's leaf and `batch.path` to `batch.root`; its element, with `batch.size`, and `element.path` to the log
in `head`; the head's hash and usage into the payer's line; the line hashes, tariff id and time into the
digest; the signature. Then `document` by hash, `split` by its id, `share` to the split's root, and the two
amounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meterbridge.domain.errors import BadProof
from meterbridge.domain.merkle import Side
from meterbridge.domain.receipts import OCCURRED_AT_MAX, Receipt
from meterbridge.domain.splits import ShareNode, ShareProof, ShareSibling
from meterbridge.domain.statements import SEALED_AT_MAX
from meterbridge.domain.sum_tree import Head, LogState, Sibling, SumNode
from meterbridge.domain.units import AssetAmount
from meterbridge.services.json_fields import BadDocument, Fields, hex_of, lanes_of
from meterbridge.services.proofs import Inclusion, ProvenReceipt, ReceiptProof, StatementProof
from meterbridge.services.records import LogKind
from meterbridge.services.struct_json import (
    domain_from_json,
    domain_to_json,
    party_from_json,
    party_to_json,
    split_from_json,
    split_to_json,
    tariff_from_json,
    tariff_to_json,
)

FORMAT: Final = "meterbridge/proof/1"
_KEYS: Final = (
    "format",
    "log",
    "receipt",
    "details",
    "batch",
    "element",
    "head",
    "statement",
    "tariff",
    "document",
    "split",
    "share",
    "price",
    "part",
)
_RECEIPT_KEYS: Final = ("blind", "source", "eventId", "id", "occurredAt", "usage", "details")
_STATEMENT_KEYS: Final = ("domain", "sealedAt", "payer", "line", "lines", "signer", "signature")


def proof_to_json(proof: ReceiptProof) -> dict[str, object]:
    """Return a proof as JSON."""
    return {
        "format": FORMAT,
        "log": proof.kind.value,
        "receipt": _receipt_to_json(proof.proven),
        "details": None if proof.proven.details is None else dict(proof.proven.details),
        "batch": _inclusion_to_json(proof.batch)
        | {"root": hex_of(proof.batch_root.hash), "sum": lanes_of(proof.batch_root.sum)},
        "element": _inclusion_to_json(proof.element),
        "head": {"charges": _log_to_json(proof.head.charges), "credits": _log_to_json(proof.head.credits)},
        "statement": _statement_to_json(proof.statement),
        "tariff": tariff_to_json(proof.tariff),
        "document": proof.document.decode(),
        "split": split_to_json(proof.split),
        "share": _share_to_json(proof.share),
        "price": str(proof.price),
        "part": str(proof.part),
    }


def proof_from_json(value: object) -> ReceiptProof:
    """Read a proof; `verify_proof` tells whether it holds.

    Raises:
        BadDocument: when it is not of the format.
        ProtocolError: when a value is out of range.
    """
    fields = Fields("proof", value, _KEYS)
    fields.constant("format", FORMAT)
    batch = fields.nested("batch", ("index", "size", "root", "sum", "path"))
    head = fields.nested("head", ("charges", "credits"))
    return ReceiptProof(
        kind=_kind(fields),
        proven=_receipt(fields),
        batch=_inclusion(batch),
        batch_root=SumNode(batch.data("root"), batch.usage("sum")),
        element=_inclusion(fields.nested("element", ("index", "size", "path"))),
        head=Head(_log(head, "charges"), _log(head, "credits")),
        statement=_statement(fields),
        tariff=tariff_from_json(fields, "tariff"),
        document=fields.text("document").encode(),
        split=split_from_json(fields, "split"),
        share=_share(fields),
        price=AssetAmount(fields.decimal("price")),
        part=AssetAmount(fields.decimal("part")),
    )


def _kind(fields: Fields) -> LogKind:
    found = fields.text("log")
    if found not in list(LogKind):
        raise BadDocument(f"proof.log is {found!r}; it must be 'charges' or 'credits'", found)
    return LogKind(found)


def _receipt_to_json(proven: ProvenReceipt) -> dict[str, object]:
    receipt = proven.receipt
    return {
        "blind": hex_of(proven.blind),
        "source": proven.source,
        "eventId": proven.event_id,
        "id": hex_of(receipt.id),
        "occurredAt": receipt.occurred_at,
        "usage": lanes_of(receipt.usage),
        "details": hex_of(receipt.details),
    }


def _receipt(parent: Fields) -> ProvenReceipt:
    fields = parent.nested("receipt", _RECEIPT_KEYS)
    details: Any = parent.raw("details")
    # An empty object would hash like no details at all: one spelling only.
    if details is not None and (not isinstance(details, dict) or not details):
        raise BadDocument(
            f"proof.details is {details!r}; it must be an object with content, or null", details
        )
    receipt = Receipt(
        fields.data("id"),
        fields.whole("occurredAt", 0, OCCURRED_AT_MAX),
        fields.usage("usage"),
        fields.data("details"),
    )
    return ProvenReceipt(
        receipt, fields.data("blind"), fields.text("source"), fields.text("eventId"), details
    )


def _inclusion_to_json(inclusion: Inclusion) -> dict[str, object]:
    path = [
        {"side": s.side.value, "hash": hex_of(s.node.hash), "sum": lanes_of(s.node.sum)}
        for s in inclusion.path
    ]
    return {"index": inclusion.index, "size": inclusion.size, "path": path}


def _inclusion(fields: Fields) -> Inclusion:
    path = tuple(
        Sibling(_side(step), SumNode(step.data("hash"), step.usage("sum")))
        for step in fields.objects("path", ("side", "hash", "sum"))
    )
    return Inclusion(fields.whole("index"), fields.whole("size"), path)


def _side(fields: Fields) -> Side:
    found = fields.text("side")
    if found not in ("left", "right"):
        raise BadDocument(f"a sibling stands on side {found!r}; it must be 'left' or 'right'", found)
    return Side(found)


def _log_to_json(log: LogState) -> dict[str, object]:
    return {"size": log.size, "root": hex_of(log.root.hash), "sum": lanes_of(log.root.sum)}


def _log(parent: Fields, key: str) -> LogState:
    fields = parent.nested(key, ("size", "root", "sum"))
    return LogState(fields.whole("size"), SumNode(fields.data("root"), fields.usage("sum")))


def _statement_to_json(said: StatementProof) -> dict[str, object]:
    return {
        "domain": domain_to_json(said.domain),
        "sealedAt": said.sealed_at,
        "payer": str(said.payer),
        "line": said.line,
        "lines": [hex_of(line) for line in said.line_hashes],
        "signer": str(said.signer),
        "signature": hex_of(said.signature),
    }


def _statement(parent: Fields) -> StatementProof:
    fields = parent.nested("statement", _STATEMENT_KEYS)
    return StatementProof(
        domain=domain_from_json(fields),
        sealed_at=fields.whole("sealedAt", 1, SEALED_AT_MAX),
        payer=fields.address("payer"),
        line=fields.whole("line"),
        line_hashes=tuple(fields.list_of_data("lines")),
        signer=fields.address("signer"),
        signature=fields.data("signature", None),
    )


def _share_to_json(share: ShareProof) -> dict[str, object]:
    return {
        "party": party_to_json(share.party),
        "offset": str(share.offset()),
        "path": [_share_step(step) for step in share.path],
    }


def _share_step(step: ShareSibling) -> dict[str, str]:
    return {"side": step.side.value, "hash": hex_of(step.node.hash), "shares": str(step.node.shares)}


def _share(parent: Fields) -> ShareProof:
    fields = parent.nested("share", ("party", "offset", "path"))
    steps: Sequence[Fields] = fields.objects("path", ("side", "hash", "shares"))
    path = tuple(
        ShareSibling(_side(step), ShareNode(step.data("hash"), step.decimal("shares"))) for step in steps
    )
    share = ShareProof(party_from_json(fields, "party"), path)
    if share.offset() != fields.decimal("offset"):
        raise BadProof(f"the party's offset is {share.offset()}, not {fields.text('offset')}", share.offset())
    return share
