"""What a contributor does: check what a call paid, submit statements, and claim its share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from meterbridge.domain.addresses import Address
from meterbridge.domain.currency import Currency
from meterbridge.library.connecting import (
    DEFAULT_RPC,
    Key,
    Node,
    NoKey,
    account_of,
    address_of,
    currency_of,
    digits_of,
    signer_of,
    splitter,
)
from meterbridge.library.workspace import NotOne

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.adapters.chain.history import History
    from meterbridge.domain.splits import Party, PartyTable, Split
    from meterbridge.domain.statements import SignedStatement
    from meterbridge.services.claims import Claim, Claimable, SignedClaim
    from meterbridge.services.ports import StatementSigner
    from meterbridge.services.proofs import ReceiptProof, VerifiedReceipt
    from meterbridge.services.settlement import Settlement


class NotAParty(NotOne):
    """An account has no share in a split."""


class Contributor:
    """A party of a split: the model's maker, an owner of compute or of data, a channel, a service.

    with Contributor.connect(contract=SPLITTER, split=SPLIT, rpc=URL, key=key) as me:
        for place in me.claimable():
            print(me.currency.text(place.amount))
        me.claim()
    """

    def __init__(
        self,
        client: SplitterClient,
        split: Split,
        table: PartyTable,
        address: Address,
        signer: StatementSigner | None,
        history: History,
    ) -> None:
        """Use `connect`."""
        self._client, self._split, self._table = client, split, table
        self._signer, self._history = signer, history
        self._address, self._currency = address, currency_of(client, split.asset)
        self._places = [i for i, party in enumerate(table.parties) if party.account == address]
        if not self._places:
            raise NotAParty(f"{address} is no party of split 0x{split.id.hex()}", str(address))

    @classmethod
    def connect(
        cls,
        *,
        contract: Address | str,
        split: bytes | str | None = None,
        parties: Sequence[Party] | None = None,
        asset: Address | str | None = None,
        key: Key | None = None,
        account: Address | str | None = None,
        rpc: Node = DEFAULT_RPC,
        from_block: int = 0,
    ) -> Self:
        """Find a split on chain.

        Args:
            contract: the splitter.
            split: its id or the first digits of it; None where only one was ever published.
            parties: all of them in order, where they are too many to be published on chain; with `asset`.
            asset: the token of such a split.
            key: who sends and pays the gas; None for looking only.
            account: the party; the key's by default. Anyone may trigger a claim to a party's own account.
            rpc: the node.
            from_block: the block that deployed the contract, or any before it.

        Raises:
            NotPublished: when no event names the split, or several fit.
            NotAParty: when the account has no share in it.
            NoKey: when neither key nor account is given.
        """
        from meterbridge.adapters.chain.history import History
        from meterbridge.domain.splits import PartyTable

        mine = account_of(key, account, "party")
        client = splitter(rpc, contract, key)
        history = History(client, from_block)
        if parties is not None and asset is not None:
            table = PartyTable(parties)
            found = table.split(address_of(asset))
            if not found.id.hex().startswith(digits_of(split)):
                raise NotAParty(f"these parties are those of split 0x{found.id.hex()}", found.id)
        else:
            found, table = history.parties(digits_of(split))
        return cls(client, found, table, mine, signer_of(key), history)

    @property
    def address(self) -> Address:
        """Whose account or share it is."""
        return self._address

    @property
    def currency(self) -> Currency:
        """How the token writes its amounts."""
        return self._currency

    @property
    def split(self) -> Split:
        """The split; its `id` is its key everywhere."""
        return self._split

    def claimable(self) -> tuple[Claimable, ...]:
        """Tell for each of one's places in the split what was claimed and can be claimed."""
        from meterbridge.services.claims import claimable

        everybody = claimable(self._client, self._split, self._table)
        return tuple(everybody[i] for i in self._places)

    def claim(self) -> tuple[Claim, ...]:
        """Pay one's own account all that it is entitled to.

        The first claim of each place proves its share, also while there is nothing to pay yet; later ones
        need no proof. Where there is nothing to do, nothing is sent.
        """
        from meterbridge.services.claims import claim

        due = [
            c for c in zip(self._places, self.claimable(), strict=True) if c[1].amount or not c[1].registered
        ]
        return tuple(claim(self._client, self._split, self._table.proof(i)) for i, _ in due)

    def claim_to(self, recipient: Address | str) -> tuple[Claim, ...]:
        """Pay what one is entitled to somebody else; only the party's own key may, after a first claim.

        Raises:
            NotRegistered: when there was no first claim yet.
            InvalidRecipient: when the recipient is the contract itself.
        """
        from meterbridge.services.claims import claim_to

        due = [i for i, c in zip(self._places, self.claimable(), strict=True) if c.amount]
        to = address_of(recipient)
        return tuple(claim_to(self._client, self._split, self._table.proof(i), to) for i in due)

    def authorize(self, recipient: Address | str, *, deadline: int, place: int = 0) -> SignedClaim:
        """Sign that the next claim goes to a recipient: whoever holds this may submit it, once.

        Args:
            recipient: who will be paid.
            deadline: until when it is good, seconds since 1970.
            place: which of one's places in the split, from 0.

        Raises:
            NoKey: when there is no key that signs.
        """
        from meterbridge.services.claims import authorize

        if self._signer is None:
            raise NoKey("an account of the node signs no claims; give a key that signs here")
        proof = self._table.proof(self._places[place])
        to = address_of(recipient)
        return authorize(self._client, self._split, proof, to, self._signer, deadline=deadline)

    def claim_with(self, signed: SignedClaim) -> Claim:
        """Submit a claim that its party signed, and pay its gas; anyone may.

        Raises:
            NotRegistered: when the party has not claimed before.
            Refusal: when it was used, has expired, or is not signed by the party.
        """
        from meterbridge.services.claims import claim_with_authorization

        places = {
            (party.account, offset): i
            for i, (party, offset) in enumerate(zip(self._table.parties, self._table.offsets(), strict=True))
        }
        given = signed.authorization
        place = places.get((given.account, given.offset))
        if place is None:
            raise NotAParty(f"{given.account} has no share from {given.offset} on", str(given.account))
        return claim_with_authorization(self._client, self._split, self._table.proof(place), signed)

    def verify(self, proof: ReceiptProof | str | Path) -> VerifiedReceipt:
        """Check the worked proof of one call, down to one's own part of its price, and ask the chain.

        Args:
            proof: a proof, or the file that holds it.

        Raises:
            BadProof, BadSignature: naming the first step that does not hold.
            NotAParty: when the part that it shows is another party's, or of another split.
            NotOnChain: when the signer was not authorised, or the statement is not settled.
        """
        from meterbridge.library.proofs import read_proof, verify_on_chain

        given = read_proof(proof)
        verified = verify_on_chain(self._client, self._history, given)
        if given.split != self._split or verified.share.party.account != self._address:
            raise NotAParty(
                f"the proof shows the part of {verified.share.party.account} in split "
                f"0x{given.split.id.hex()}; ask for one with your own place in the split",
                str(verified.share.party.account),
            )
        return verified

    def submit(self, statement: SignedStatement | str | Path) -> Settlement:
        """Submit a signed statement that one holds: nobody needs the provider to be paid.

        Args:
            statement: a statement, or the file that holds it.

        Raises:
            BadSignature, SignerNotAuthorized, SealedInFuture, Refusal: nothing was sent.
            NotPublished: when the chain knows nothing of its tariff.
        """
        from meterbridge.library.proofs import read_statement
        from meterbridge.services.settlement import submit

        signed = read_statement(statement)
        return submit(self._client, None, self._history.tariff(signed.statement.tariff_id), signed)

    def close(self) -> None:
        """End; nothing is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
