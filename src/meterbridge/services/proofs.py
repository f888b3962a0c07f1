"""From a receipt to the payouts it paid for: worked proofs (protocol, sections 3 to 8), made by `proving`.

A proof stands on its own. `verify_proof` needs no ledger, no network and no clock, and takes nothing on trust
but the key that signed the statement: whether the provider had authorised that key is on the chain
(`signerUntil`), and the result names what to ask for.

A proof shows the blind of its account's logs, with which its holder can test guesses of other receipts' ids:
give it to whoever may know that (payer, provider, auditor). Amounts are those of this receipt alone, rounded
down; what is drawn follows from the cumulative usage, so small receipts add up to what their roundings hide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadProof
from meterbridge.domain.receipts import VOID_SOURCE, Receipt, details_hash, receipt_id
from meterbridge.domain.splits import ShareProof, Split, entitled_down
from meterbridge.domain.statements import LINES_MAX, Domain, Line, statement_hash
from meterbridge.domain.sum_tree import Head, LogState, Sibling, SumNode, log_element, verify_inclusion
from meterbridge.domain.tariffs import Tariff, terms_hash
from meterbridge.domain.terms import parse_terms
from meterbridge.domain.units import AssetAmount
from meterbridge.services.records import AccountKey, LogKind
from meterbridge.services.signers import ContractSigners, require_signature


@dataclass(frozen=True, slots=True)
class ProvenReceipt:
    """A receipt with what its hashes hide.

    Attributes:
        details: None where the receipt has none.
    """

    receipt: Receipt
    blind: bytes
    source: str
    event_id: str
    details: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The way from one item to the root of a tree."""

    index: int
    size: int
    path: tuple[Sibling, ...]


@dataclass(frozen=True, slots=True)
class StatementProof:
    """A signed statement of which only one line is shown; the others by their hashes.

    Attributes:
        line: index of the line.
        line_hashes: EIP-712 struct hashes of all lines.
    """

    domain: Domain
    sealed_at: int
    payer: Address
    line: int
    line_hashes: tuple[bytes, ...]
    signer: Address
    signature: bytes


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """Everything between a receipt and a party's part of its price.

    Attributes:
        kind: which of the account's logs holds it.
        batch: from the receipt to `batch_root`.
        element: from the batch to its log.
        head: both logs, as the statement's line commits to them.
        document: the bytes behind the tariff's terms.
        share: the party whose part is shown.
        price: of this receipt alone, rounded down; for a credit, what is taken back.
        part: the party's part of that price, rounded down.
    """

    kind: LogKind
    proven: ProvenReceipt
    batch: Inclusion
    batch_root: SumNode
    element: Inclusion
    head: Head
    statement: StatementProof
    tariff: Tariff
    document: bytes
    split: Split
    share: ShareProof
    price: AssetAmount
    part: AssetAmount


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a proof has shown.

    Attributes:
        account: who pays whom under which tariff, on which contract.
        signer: who signed; the provider must have authorised it until `sealed_at` or later.
        offset: where the party's interval of the split begins.
    """

    account: AccountKey
    kind: LogKind
    proven: ProvenReceipt
    sealed_at: int
    signer: Address
    provider: Address
    price: AssetAmount
    share: ShareProof
    offset: int
    part: AssetAmount


def state_of(head: Head, kind: LogKind) -> LogState:
    """Return the state of one of the logs behind a head."""
    return head.charges if kind is LogKind.CHARGES else head.credits


def verify_proof(proof: ReceiptProof, contracts: ContractSigners | None = None) -> VerifiedReceipt:
    """Check a proof from end to end, offline unless a contract signed the statement.

    Args:
        proof: what is to be shown.
        contracts: asks contract signers; None takes the signatures of keys only.

    Raises:
        BadProof: naming the first step that does not hold.
        BadSignature: when the statement is not signed by its signer.
        BadTariff: when the tariff's rates are not the prices of its document.
        ProtocolError: when a value is out of range.
    """
    _verify_receipt(proof.kind, proof.proven)
    receipt, state = proof.proven.receipt, state_of(proof.head, proof.kind)
    verify_inclusion(receipt.node(), proof.batch.index, proof.batch.size, proof.batch.path, proof.batch_root)
    element = log_element(proof.batch.size, proof.batch_root)
    if proof.element.size != state.size:
        raise BadProof(f"the log has {state.size} batches, not {proof.element.size}", proof.element.size)
    verify_inclusion(element, proof.element.index, state.size, proof.element.path, state.root)
    _verify_statement(proof, contracts)
    offset = _verify_amounts(proof)
    statement = proof.statement
    return VerifiedReceipt(
        account=AccountKey(statement.domain, proof.tariff.id, statement.payer),
        kind=proof.kind,
        proven=proof.proven,
        sealed_at=statement.sealed_at,
        signer=statement.signer,
        provider=proof.tariff.provider,
        price=proof.price,
        share=proof.share,
        offset=offset,
        part=proof.part,
    )


def _verify_receipt(kind: LogKind, proven: ProvenReceipt) -> None:
    expected = receipt_id(proven.blind, proven.source, proven.event_id)
    if proven.receipt.id != expected:
        raise BadProof(f"the id of this event is 0x{expected.hex()}, not the receipt's", proven.receipt.id)
    if (proven.source == VOID_SOURCE) != (kind is LogKind.CREDITS):
        raise BadProof(f"a receipt of source {proven.source!r} has no place in the {kind} log", proven.source)
    if details_hash(proven.details) != proven.receipt.details:
        raise BadProof("the details are not those whose hash the receipt holds", proven.details)


def _verify_statement(proof: ReceiptProof, contracts: ContractSigners | None) -> None:
    said = proof.statement
    if len(said.line_hashes) > LINES_MAX or len(set(said.line_hashes)) != len(said.line_hashes):
        raise BadProof(
            f"a statement of {len(said.line_hashes)} lines, or with the same line twice, can never settle",
            len(said.line_hashes),
        )
    line = Line(said.payer, proof.head.usage(), proof.head.hash()).struct_hash()
    if not 0 <= said.line < len(said.line_hashes) or said.line_hashes[said.line] != line:
        raise BadProof(f"line {said.line} of the statement says something else of {said.payer}", line)
    digest = said.domain.digest(statement_hash(proof.tariff.id, said.sealed_at, said.line_hashes))
    require_signature(said.signer, digest, said.signature, contracts)


def _verify_amounts(proof: ReceiptProof) -> int:
    """Check tariff, split, share and both amounts; return the party's offset."""
    if terms_hash(proof.document) != proof.tariff.terms:
        raise BadProof("the document is not the one whose hash the tariff holds", proof.tariff.terms)
    parse_terms(proof.document).require_rates(proof.tariff)
    if proof.split.id != proof.tariff.split_id:
        raise BadProof("the split is not the one that the tariff pays", proof.split)
    offset = proof.share.verify(proof.split)
    price = proof.tariff.price_down(proof.proven.receipt.usage)
    part = entitled_down(price, proof.share.party.share, proof.split.total_shares)
    if (price, part) != (proof.price, proof.part):
        raise BadProof(
            f"the price is {price} and the part {part}, not {proof.price} and {proof.part}", (price, part)
        )
    return offset
