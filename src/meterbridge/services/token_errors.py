"""Refusals of the tokens, and of the library code under the contract, that people meet in practice.

The names are those of ERC-6093 and of OpenZeppelin Contracts. A token may revert with anything else, or with
a text; then it is `RefusedWithReason` or `UnknownRefusal`.
"""

from __future__ import annotations

from meterbridge.domain.addresses import Address
from meterbridge.services.chain_errors import Refusal


class SafeERC20FailedOperation(Refusal):
    """The token answered a transfer with false, or is no token."""

    message = "the token {token} did not do the transfer; is it an ERC-20 token, and not frozen?"
    token: Address


class ReentrancyGuardReentrantCall(Refusal):
    """Somebody called the contract from within one of its own token transfers."""

    message = "the contract was called from within its own token transfer"


class InvalidShortString(Refusal):
    """The contract's name or version cannot be read."""

    message = "the contract's EIP-712 name or version cannot be read"


class StringTooLong(Refusal):
    """A name or version is too long for its slot; it can only happen at deployment."""

    message = "'{str}' is too long for an EIP-712 name or version"
    str: str


class ERC20InsufficientBalance(Refusal):
    """The sender has less of the token than it is to give."""

    message = "{sender} has {balance} base units of the token, {needed} are needed"
    sender: Address
    balance: int
    needed: int


class ERC20InsufficientAllowance(Refusal):
    """The contract may pull less of the token than it is to."""

    message = "{spender} may take {allowance} base units of the token, {needed} are needed; approve it first"
    spender: Address
    allowance: int
    needed: int


class ERC2612ExpiredSignature(Refusal):
    """A permit is past its deadline."""

    message = "the permit was for use until {deadline}; sign a new one"
    deadline: int


class ERC2612InvalidSigner(Refusal):
    """A permit is signed by somebody else, or over something else."""

    message = "the permit recovers to {signer}, the tokens belong to {owner}"
    signer: Address
    owner: Address


class ERC3009InvalidSignature(Refusal):
    """A transfer authorization is signed by somebody else, or over something else."""

    message = "the transfer authorization is not signed by the payer over these values"


class ERC3009UsedAuthorization(Refusal):
    """A transfer authorization was used or cancelled."""

    message = "the transfer authorization {nonce} of {authorizer} was used or cancelled already"
    authorizer: Address
    nonce: bytes


class ERC3009InvalidAuthorizationTime(Refusal):
    """A transfer authorization is used too early or too late."""

    message = "the transfer authorization is for use after {valid_after} and before {valid_before}"
    valid_after: int
    valid_before: int
