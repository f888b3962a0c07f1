"""The ways into escrow: a signature that pulls the tokens, or an approval where the token has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Split
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import ChainUnavailable, Refusal, WrongChain

if TYPE_CHECKING:
    from meterbridge.adapters.chain import Permit, SplitterClient, TokenClient, TransferAuthorization
    from meterbridge.services.chain_events import Receipt
    from meterbridge.services.ports import StatementSigner

PERMIT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class SignedDeposit:
    """A deposit that its payer signed (EIP-3009): anyone may submit it, once, and pay the gas.

    Attributes:
        payer: whose tokens and whose account; nobody else's can be credited with it.
        amount: exactly what will be deposited.
    """

    tariff: Tariff
    split: Split
    payer: Address
    amount: AssetAmount
    authorization: TransferAuthorization

    def submit(self, client: SplitterClient) -> Receipt:
        """Submit it in the name of a client's sender."""
        return client.deposit_with_authorization(
            self.tariff, self.split, self.payer, self.amount, self.authorization
        )


def deposit(
    client: SplitterClient,
    token: TokenClient,
    terms: tuple[Tariff, Split],
    payer: Address,
    amount: AssetAmount,
    *,
    signer: StatementSigner | None,
    deadline: int,
) -> Receipt:
    """Deposit the sender's tokens: in one transaction where token and key can, else after an approval.

    Raises:
        Refusal: when the token or the contract refuses.
    """
    tariff, split = terms
    sender = client.gateway.sender
    if sender is not None and token.allowance(sender.address, client.address) < amount:
        permit = None if signer is None else _permit(token, signer, client.address, amount, deadline)
        if permit is not None:
            return client.deposit_with_permit(tariff, split, payer, amount, permit)
        token.approve(client.address, amount)
    return client.deposit(tariff, split, payer, amount)


def _permit(
    token: TokenClient, signer: StatementSigner, spender: Address, amount: AssetAmount, deadline: int
) -> Permit | None:
    """Return a permit (EIP-2612), or None where the token knows none or signs in a way of its own."""
    try:
        return token.sign_permit(signer, spender, amount, deadline=deadline)
    except (Refusal, ChainUnavailable, WrongChain):
        return None
