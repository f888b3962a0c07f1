"""Who signed: a key, or a contract that says so (protocol, section 8).

ECDSA is tried first whatever the signer, so that a delegated account still signs with its key; then the
contract at the signer's address is asked (ERC-1271), where there is a chain to ask.
"""

from __future__ import annotations

from typing import Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSignature
from meterbridge.domain.signatures import require_signed_by


class ContractSigners(Protocol):
    """Asks contracts whether they accept a signature; `SplitterClient` does."""

    def accepts_signature(self, signer: Address, digest: bytes, signature: bytes) -> bool:
        """Tell whether `signer` is a contract that accepts the signature (ERC-1271)."""


def require_signature(
    signer: Address, digest: bytes, signature: bytes, contracts: ContractSigners | None = None
) -> None:
    """Check that a signer signed `digest`: by its key or, where there is somebody to ask, as a contract.

    Raises:
        BadSignature: when neither is so.
    """
    try:
        require_signed_by(signer, digest, signature)
    except BadSignature:
        if contracts is None or not contracts.accepts_signature(signer, digest, signature):
            raise
