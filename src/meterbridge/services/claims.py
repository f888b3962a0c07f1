"""From the pot to the parties (protocol, section 5).

A party's first claim proves its share and registers it; later ones need no proof. Anyone may trigger a claim
to the party's own account. Only the party itself, or whoever holds its signed authorization, may name another
recipient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSplit
from meterbridge.domain.splits import Party, PartyTable, ShareProof, Split, entitled_down
from meterbridge.domain.statements import ClaimAuthorization
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import InvalidRecipient, NotRegistered
from meterbridge.services.chain_events import Claimed, Receipt
from meterbridge.services.chain_ports import ClaimsPort, Stake, StakeKey
from meterbridge.services.ports import StatementSigner


@dataclass(frozen=True, slots=True)
class Claimable:
    """What one party of a split can claim.

    Attributes:
        party: its leaf.
        offset: where its interval begins.
        registered: whether it has proven its share.
        entitled: what it was ever entitled to.
        claimed: what it was paid of that.
        amount: what it would be paid now.
    """

    party: Party
    offset: int
    registered: bool
    entitled: AssetAmount
    claimed: AssetAmount
    amount: AssetAmount


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim that was made.

    Attributes:
        party: who claimed.
        recipient: who was paid.
        paid: how much; zero where there was nothing to claim.
        first: whether the party proved its share with it.
        receipt: the transaction.
    """

    party: Party
    recipient: Address
    paid: AssetAmount
    first: bool
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class SignedClaim:
    """A party's signed permission to pay its next claim to somebody else."""

    authorization: ClaimAuthorization
    signature: bytes


def claimable(chain: ClaimsPort, split: Split, table: PartyTable) -> tuple[Claimable, ...]:
    """Tell for each party of a split what it can claim, all as of the same block.

    Raises:
        BadSplit: when the parties are not those of the split.
    """
    _require_parties(split, table)
    block = chain.newest_block()
    pot = chain.pot(split.id, block=block)
    keys = [
        StakeKey(split.id, offset, party.account)
        for party, offset in zip(table.parties, table.offsets(), strict=True)
    ]
    stakes = chain.stakes(keys, block=block)
    return tuple(
        _claimable(split, party, key, pot, stake)
        for party, key, stake in zip(table.parties, keys, stakes, strict=True)
    )


def claim(chain: ClaimsPort, split: Split, proof: ShareProof) -> Claim:
    """Pay a party's own account; the first time, prove its share as well. Anyone may.

    Raises:
        BadProof: when the proof does not lead to the split; nothing was sent.
    """
    offset = proof.verify(split)
    party = proof.party
    first = not _is_registered(chain, split, offset, party.account)
    receipt = chain.claim_first(split, proof) if first else chain.claim(split, offset, party.account)
    return Claim(party, party.account, _paid(receipt, split, offset, party.account), first, receipt)


def claim_all(chain: ClaimsPort, split: Split, table: PartyTable) -> tuple[Claim, ...]:
    """Make a claim for every party that has something to claim; return those claims.

    Raises:
        BadSplit: when the parties are not those of the split.
    """
    open_claims = claimable(chain, split, table)
    return tuple(
        claim(chain, split, table.proof(index)) for index, found in enumerate(open_claims) if found.amount
    )


def claim_to(chain: ClaimsPort, split: Split, proof: ShareProof, recipient: Address) -> Claim:
    """Pay the sender's own stake to another recipient; the party must be registered.

    Raises:
        BadProof: when the proof does not lead to the split.
        NotRegistered: when it has not claimed before; the first claim goes to its own account.
    """
    offset = proof.verify(split)
    receipt = chain.claim_to(split, offset, recipient)
    return Claim(proof.party, recipient, _paid(receipt, split, offset, proof.party.account), False, receipt)


def authorize(
    chain: ClaimsPort,
    split: Split,
    proof: ShareProof,
    recipient: Address,
    signer: StatementSigner,
    *,
    deadline: int,
) -> SignedClaim:
    """Sign, as a party, that its next claim goes to `recipient`; whoever holds this may submit it once.

    Args:
        chain: the contract, for its domain and the party's nonce.
        split: of which split.
        proof: the party's proof.
        recipient: who is paid.
        signer: the party's key, or an owner's whom its contract accepts (ERC-1271).
        deadline: until when it is good, seconds since 1970.

    Raises:
        BadProof: when the proof does not lead to the split.
        InvalidRecipient: when the recipient is the contract itself, which is never paid.
    """
    if recipient == chain.domain.verifying_contract:
        raise InvalidRecipient(recipient=recipient)
    account = proof.party.account
    authorization = ClaimAuthorization(
        split.id, proof.verify(split), account, recipient, chain.nonce(account), deadline
    )
    return SignedClaim(authorization, signer.sign_digest(authorization.digest(chain.domain)))


def claim_with_authorization(
    chain: ClaimsPort, split: Split, proof: ShareProof, signed: SignedClaim
) -> Claim:
    """Pay a party's stake to the recipient that it authorised. Anyone may.

    Raises:
        BadProof: when the proof does not lead to the split.
        NotRegistered: when it has not claimed before; nothing was sent.
        Refusal: when the authorization was used, has expired, or is not signed by the party.
    """
    offset = proof.verify(split)
    given = signed.authorization
    if not _is_registered(chain, split, offset, given.account):
        raise NotRegistered(split_id=split.id, offset=offset, account=given.account)
    receipt = chain.claim_with_authorization(split, given, signed.signature)
    paid = _paid(receipt, split, given.offset, given.account)
    return Claim(proof.party, given.recipient, paid, False, receipt)


def _require_parties(split: Split, table: PartyTable) -> None:
    if (table.root.hash, table.root.shares) != (split.root, split.total_shares):
        raise BadSplit("the parties are not those of the split", split.root)


def _claimable(split: Split, party: Party, key: StakeKey, pot: AssetAmount, stake: Stake) -> Claimable:
    entitled = entitled_down(pot, party.share, split.total_shares)
    amount = entitled - stake.claimed
    return Claimable(party, key.offset, stake.share > 0, entitled, stake.claimed, amount)


def _is_registered(chain: ClaimsPort, split: Split, offset: int, account: Address) -> bool:
    return chain.stakes([StakeKey(split.id, offset, account)])[0].share > 0


def _paid(receipt: Receipt, split: Split, offset: int, account: Address) -> AssetAmount:
    return AssetAmount.total(_claims_of(receipt.events, split.id, offset, account))


def _claims_of(events: Sequence[object], split_id: bytes, offset: int, account: Address) -> list[AssetAmount]:
    wanted = (split_id, offset, account)
    return [
        event.amount
        for event in events
        if isinstance(event, Claimed) and (event.split_id, event.offset, event.account) == wanted
    ]
