"""Worked proofs and statements, from files or from memory, held against the chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.adapters.chain.history import History
    from meterbridge.domain.statements import SignedStatement
    from meterbridge.services.proofs import ReceiptProof, VerifiedReceipt


def read_proof(proof: ReceiptProof | str | Path) -> ReceiptProof:
    """Return a worked proof, read where a file was named.

    Raises:
        BadJsonFile, BadDocument: when the file is none.
    """
    if not isinstance(proof, (str, Path)):
        return proof
    from meterbridge.adapters.json_files import read_json
    from meterbridge.services.proof_json import proof_from_json

    return proof_from_json(read_json(Path(proof)))


def write_proof(proof: ReceiptProof, path: str | Path) -> Path:
    """Write a worked proof, readable by its owner only: it shows the blind of the payer's logs."""
    from meterbridge.adapters.json_files import write_json
    from meterbridge.services.proof_json import proof_to_json

    write_json(Path(path), proof_to_json(proof), mode=0o600)
    return Path(path)


def read_statement(statement: SignedStatement | str | Path) -> SignedStatement:
    """Return a signed statement, read where a file was named.

    Raises:
        BadJsonFile, BadDocument, BadStatement: when the file is none.
    """
    if not isinstance(statement, (str, Path)):
        return statement
    from meterbridge.adapters.statement_files import read_statement as read

    return read(Path(statement))


def verify_on_chain(
    client: SplitterClient, history: History, proof: ReceiptProof | str | Path
) -> VerifiedReceipt:
    """Check a proof from end to end, and that the chain knows its statement.

    Raises:
        BadProof, BadSignature, BadTariff: naming the first step that does not hold.
        WrongChain: when it is about another contract.
        NotOnChain: when the signer was not authorised, or the statement is not settled.
    """
    from meterbridge.services.chain_errors import WrongChain
    from meterbridge.services.confirming import confirm
    from meterbridge.services.proofs import verify_proof

    given = read_proof(proof)
    domain = given.statement.domain
    if domain != client.domain:
        raise WrongChain(f"the proof is about {domain.verifying_contract} on chain {domain.chain_id}", domain)
    verified = verify_proof(given, client)
    confirm(client, history, given, verified)
    return verified
