"""What can go wrong between here and the contract, as exceptions.

Each custom error of the contract has one exception of the same name here, with the same values; a test walks
the ABI to prove it. They are raised by the adapter that talks to the chain, and by services that see the same
cause before anything is sent: who catches `SealedInFuture` need not care who noticed. A refusal means that
nothing on the chain has changed.
"""

from __future__ import annotations

from typing import ClassVar

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError


class ChainError(MeterbridgeError):
    """Something about the chain stands in the way."""


class ChainUnavailable(ChainError):
    """The node does not answer, or answers with something else than an answer."""


class WrongChain(ChainError):
    """What was made for one contract or chain is used with another."""


class TransactionUnresolved(ChainError):
    """A transaction was sent and no receipt came in time; look for it before sending it anew."""


class TransactionReverted(ChainError):
    """A transaction was mined and failed, and running it again does not show why."""


class Refusal(ChainError):
    """The contract, or a token that it calls, refuses; nothing has changed.

    Subclasses declare the values that the error carries as annotations; each is an attribute of that name.

    Attributes:
        value: all of them, by name.
    """

    message: ClassVar[str]

    def __init__(self, **values: object) -> None:
        """Keep the values, and say in plain words what they mean."""
        wanted = self.fields()
        if set(values) != set(wanted):
            raise TypeError(f"{type(self).__name__} carries {list(wanted)}, not {list(values)}")
        self.__dict__.update(values)
        shown = {k: f"0x{v.hex()}" if isinstance(v, bytes) else v for k, v in values.items()}
        super().__init__(self.message.format(**shown), values)

    @classmethod
    def fields(cls) -> dict[str, str]:
        """Return the names of the values in the order of the error, with their types."""
        return {name: kind for name, kind in cls.__annotations__.items() if not kind.startswith("ClassVar")}


class UnknownRefusal(Refusal):
    """A revert with data that neither the contract's nor the token's ABI explains."""

    message = "the call was refused with data that is not understood: {data}"
    data: bytes


class RefusedWithReason(Refusal):
    """A revert with a text, as older tokens give it."""

    message = "the call was refused: {reason}"
    reason: str


class Panicked(Refusal):
    """A Solidity panic: a fault in the called contract."""

    message = "the called contract failed with panic code {code}"
    code: int


# Signers and statements


class ZeroSigner(Refusal):
    """A signer is the zero address."""

    message = "the zero address cannot be a signer; name the address of the meter's key"


class SignerNotAuthorized(Refusal):
    """The provider does not let this signer sign what is sealed at that time (section 8)."""

    message = (
        "{signer} is not authorised by provider {provider} for statements sealed at {sealed_at} "
        "(authorised until {until}; 0 means never); the provider calls setSigner first"
    )
    provider: Address
    signer: Address
    sealed_at: int
    until: int


class InvalidSignature(Refusal):
    """The signature is by somebody else, or over something else."""

    message = (
        "the signature is not by {signer} over digest {digest}: what was signed has been changed, "
        "or another key signed it"
    )
    signer: Address
    digest: bytes


class SealedAtOutOfRange(Refusal):
    """A statement is sealed at 0 or beyond the year 2106."""

    message = "sealedAt is {sealed_at}; it must be from 1 to {limit} (seconds since 1970)"
    sealed_at: int
    limit: int


class SealedInFuture(Refusal):
    """A statement is sealed later than the block that would settle it."""

    message = (
        "the statement is sealed at {sealed_at}, the chain's time is {timestamp}; submit it again "
        "when the chain has reached that time"
    )
    sealed_at: int
    timestamp: int


class TooManyLines(Refusal):
    """A statement has more than 1,000 lines."""

    message = "the statement has {lines} lines; at most {limit} are allowed"
    lines: int
    limit: int


# Tariffs and splits


class ScaleTooLarge(Refusal):
    """A tariff's scale is above 36."""

    message = "the tariff's scale is {scale}; at most {limit} is allowed"
    scale: int
    limit: int


class ThawPeriodTooLong(Refusal):
    """A tariff's thaw period is above 90 days."""

    message = "the tariff's thaw period is {thaw_period} seconds; at most {limit} (90 days) are allowed"
    thaw_period: int
    limit: int


class TermsMismatch(Refusal):
    """A document is not the one that the tariff's terms commit to."""

    message = "the document hashes to {actual}, the tariff's terms are {expected}"
    expected: bytes
    actual: bytes


class SplitMismatch(Refusal):
    """A split is not the one that the tariff or the authorization names."""

    message = "the split has id {actual}; {expected} is named by the tariff or the authorization"
    expected: bytes
    actual: bytes


class NoParties(Refusal):
    """A split is published without parties."""

    message = "a split has at least one party"


class ZeroTotalShares(Refusal):
    """A split has no shares, so that it could never pay out."""

    message = "the split's total of shares is zero; it would never pay out what is given to it"


class ZeroShare(Refusal):
    """A party has a share of zero."""

    message = "the share of {account} is zero; leave the party out or give it a share"
    account: Address


class ZeroRole(Refusal):
    """A party has role 0."""

    message = "the role of {account} is 0; it must be from 1 to 255"
    account: Address


class ShareSumTooLarge(Refusal):
    """Shares add up to more than uint128."""

    message = "the shares add up to {sum}; at most {limit} are allowed"
    sum: int
    limit: int


class ProofLengthMismatch(Refusal):
    """A proof has not one sum for each hash."""

    message = "the proof has {hashes} hashes and {sums} sums; it must have one sum for each hash"
    hashes: int
    sums: int


class RootMismatch(Refusal):
    """The parties, or a proof, lead to another root than the split's."""

    message = "the parties or the proof lead to root {actual}, the split has {expected}"
    expected: bytes
    actual: bytes


class TotalSharesMismatch(Refusal):
    """The parties, or a proof, lead to another sum of shares than the split's."""

    message = "the parties or the proof have {actual} shares in all, the split has {expected}"
    expected: int
    actual: int


# Escrow


class ZeroPayer(Refusal):
    """A deposit is for the zero address."""

    message = "the payer is the zero address; what it is given could never be withdrawn"


class NothingArrived(Refusal):
    """The token moved nothing."""

    message = "no base unit of {asset} arrived; deposit or fund more than zero"
    asset: Address


class AccountFull(Refusal):
    """An account would leave uint112."""

    message = "the account has room for {room} base units more, {arrived} arrived"
    arrived: int
    room: int


class PotFull(Refusal):
    """A pot would leave uint128."""

    message = "the pot has room for {room} base units more, {added} were to be added"
    added: int
    room: int


class ThawExceedsBalance(Refusal):
    """More is to be thawed than is there."""

    message = "{amount} base units cannot be thawed, the balance is {balance}"
    amount: int
    balance: int


class NothingThawing(Refusal):
    """There is no thaw to withdraw from."""

    message = "{payer} has nothing thawing under tariff {tariff_id}; thaw an amount first"
    tariff_id: bytes
    payer: Address


class StillThawing(Refusal):
    """The thaw ends later."""

    message = "the thaw ends at {end} (seconds since 1970); withdraw then or later"
    end: int


# Claims


class NotRegistered(Refusal):
    """A party has not proven its leaf yet."""

    message = (
        "{account} at offset {offset} of split {split_id} has not proven its share yet; "
        "the first claim takes the proof"
    )
    split_id: bytes
    offset: int
    account: Address


class InvalidRecipient(Refusal):
    """A claim would be paid to the zero address or to the contract itself."""

    message = "{recipient} cannot be paid; name an account other than zero and the contract"
    recipient: Address


class AuthorizationExpired(Refusal):
    """A claim authorization is past its deadline."""

    message = "the authorization was for use until {deadline}, it is {timestamp}; sign a new one"
    deadline: int
    timestamp: int


class NothingToClaim(Refusal):
    """There is nothing that a claim authorization could pay; it stays good."""

    message = (
        "there is nothing to pay to {account} at offset {offset} of split {split_id} yet; "
        "the authorization stays good until its deadline"
    )
    split_id: bytes
    offset: int
    account: Address


class InvalidNonce(Refusal):
    """A claim authorization was used, or is not the account's next one."""

    message = (
        "the authorization of {account} has nonce {actual}, the next one is {expected}; "
        "it was used already, or another one was"
    )
    account: Address
    expected: int
    actual: int
