"""What the chain says of a proof that holds in itself: was its signer authorised, and was it settled?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.chain_events import Settled
from meterbridge.services.chain_ports import Escrow
from meterbridge.services.proofs import ReceiptProof, VerifiedReceipt


class NotOnChain(MeterbridgeError):
    """A proof holds in itself, and the chain says something else."""


class ConfirmingPort(Protocol):
    """What it takes of the contract."""

    def signer_until(self, provider: Address, signer: Address, *, block: int | None = None) -> int:
        """Return until when a provider lets a signer sign; 0 for never."""

    def escrow(self, tariff_id: bytes, payer: Address, *, block: int | None = None) -> Escrow:
        """Return a payer's account."""


class Settlements(Protocol):
    """Where settled lines are found."""

    def settlements(self, tariff_id: bytes, payer: Address) -> Iterable[Settled]:
        """Yield each settled line of a payer's account, in order."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the chain says of a proof.

    Attributes:
        until: until when the provider lets the signer sign, seconds since 1970.
        settled: the event that settled just the head of the proof.
    """

    until: int
    settled: Settled


def confirm(
    chain: ConfirmingPort, history: Settlements, proof: ReceiptProof, verified: VerifiedReceipt
) -> Confirmation:
    """Ask the chain about a proof that `verify_proof` has shown to hold.

    Raises:
        NotOnChain: when the provider does not let the signer sign, or nothing settled this head.
    """
    until = require_authorised(chain, verified.provider, verified.signer, verified.sealed_at)
    return Confirmation(until, _settlement_of(chain, history, proof, verified))


def require_authorised(chain: ConfirmingPort, provider: Address, signer: Address, sealed_at: int) -> int:
    """Return until when a provider lets a signer sign.

    Raises:
        NotOnChain: when that is before `sealed_at`, or never.
    """
    until = chain.signer_until(provider, signer)
    # 0 is what every unknown signer has, so it authorises nothing.
    if until == 0 or sealed_at > until:
        raise NotOnChain(f"{provider} lets {signer} sign until {until}, not at {sealed_at}", until)
    return until


def _settlement_of(
    chain: ConfirmingPort, history: Settlements, proof: ReceiptProof, verified: VerifiedReceipt
) -> Settled:
    """Return the event that settled just this head; a later statement settles no earlier one."""
    payer = verified.account.payer
    wanted = (verified.sealed_at, proof.head.hash(), proof.head.usage())
    for event in history.settlements(proof.tariff.id, payer):
        if (event.sealed_at, event.head, event.usage) == wanted:
            return event
    stands = chain.escrow(proof.tariff.id, payer).sealed_at
    raise NotOnChain(
        f"the statement of {verified.sealed_at} was never settled with this head (the account stands at "
        f"{stands}); if it was skipped for a later one, ask for a proof under that one",
        stands,
    )
