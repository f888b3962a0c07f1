"""The library for code that awaits: written by scripts/twins from the classes of the same names.

Each object has a thread of its own, in which its calls run one after the other: nothing of it blocks the
event loop, and a ledger is never used from two threads. A call that is cancelled goes on to its end there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

from meterbridge.library.connecting import (
    DEFAULT_RPC,
    Key,
    Node,
)
from meterbridge.library.contributor import Contributor
from meterbridge.library.deposits import PERMIT_SECONDS, SignedDeposit
from meterbridge.library.payer import CheckedBill, Payer, PayerAccount
from meterbridge.library.provider import FOREVER, Provider
from meterbridge.library.threads import InThread, Opening
from meterbridge.library.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from meterbridge.adapters.formats import ColumnMap
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.currency import Currency
    from meterbridge.domain.splits import Party, Split
    from meterbridge.domain.statements import SignedStatement
    from meterbridge.domain.tariffs import Tariff
    from meterbridge.domain.units import AssetAmount
    from meterbridge.services.account_audit import AccountAudit
    from meterbridge.services.chain_events import Receipt, Settled
    from meterbridge.services.claims import Claim, Claimable, SignedClaim
    from meterbridge.services.corrections import Correction
    from meterbridge.services.credit import Credit
    from meterbridge.services.metering import ImportReport
    from meterbridge.services.proofs import ReceiptProof, VerifiedReceipt
    from meterbridge.services.records import AccountRecord, BatchRecord, TariffRecord
    from meterbridge.services.settlement import Settlement


class AsyncProvider(InThread[Provider]):
    """`Provider` for code that awaits; see there."""

    @classmethod
    def publish(
        cls,
        folder: str | Path,
        *,
        contract: Address | str,
        asset: Address | str,
        parties: Sequence[Party],
        terms: Mapping[str, object],
        key: Key,
        rpc: Node = DEFAULT_RPC,
        meter: Key | None = None,
        scale: int = 9,
        thaw_period: int = 3600,
    ) -> Opening[Self]:
        """Publish a split and a tariff on chain, and begin a ledger for them.

        Args:
            folder: where the ledger will be, or is: doing this again changes nothing.
            contract: the splitter.
            asset: the token that payers deposit.
            parties: who gets what share, in the order that the root commits to.
            terms: the tariff's document: meters, buckets, prices for people (see docs/guide.md).
            key: the provider, who pays the gas and authorises meters.
            rpc: the node.
            meter: the key that signs statements; it is authorised if it is not yet.
            scale: rates are base units per 10**scale of a meter.
            thaw_period: seconds from thawing to withdrawing.

        Raises:
            BadTariff, BadSplit: when the terms or the parties cannot be used.
            Refusal: when the contract refuses.
        """
        return Opening(
            cls,
            partial(
                Provider.publish,
                folder,
                contract=contract,
                asset=asset,
                parties=parties,
                terms=terms,
                key=key,
                rpc=rpc,
                meter=meter,
                scale=scale,
                thaw_period=thaw_period,
            ),
        )

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        rpc: Node = DEFAULT_RPC,
        key: Key | None = None,
        meter: Key | None = None,
        tariff: bytes | str | None = None,
    ) -> Opening[Self]:
        """Open a ledger folder.

        Args:
            folder: where it is.
            rpc: the node.
            key: who pays the gas of what is sent; None where nothing is.
            meter: the key that signs statements; None where none are signed.
            tariff: its id or the first digits of it, where the ledger has several.

        Raises:
            NoLedger, NotOne: when there is none, or not that tariff.
            WrongChain: when the node is on another chain than the tariff.
        """
        return Opening(cls, partial(Provider.open, folder, rpc=rpc, key=key, meter=meter, tariff=tariff))

    async def authorise(self, signer: Address | str, *, until: int = FOREVER) -> Receipt:
        """Let a key, or a contract, sign statements.

        Args:
            signer: the meter's address.
            until: the last time that it may sign for, seconds since 1970. Now retires it and keeps what it
                sealed before; 0 revokes all of it.
        """
        return await self._call(partial(self._inner.authorise, signer, until=until))

    async def sign(self, *, sealed_at: int | None = None) -> list[SignedStatement]:
        """Sign what every account has used by now; none where nothing has changed.

        Each statement is also a file in the folder's `statements`, for anyone to submit.

        Args:
            sealed_at: its time, seconds since 1970; now by default. Later than any of its accounts' last one.

        Raises:
            NoKey: when no key was given that signs.
        """
        return await self._call(partial(self._inner.sign, sealed_at=sealed_at))

    async def settle(self, *, timeout: float = 600.0, confirmations: int | None = None) -> list[Settlement]:
        """Submit what may still draw something, and see it through until it is final.

        Statements stand in the ledger's outbox with their nonces and signed transactions, so whatever
        happens, the next call goes on, in this process or another, and nothing is drawn twice. All tariffs
        that the ledger has on this contract take part.

        Args:
            timeout: seconds to wait for what is under way; some chains take a quarter of an hour to be final.
            confirmations: blocks until final, instead of what the chain's profile says.

        Raises:
            NoKey: when no key was given that pays the gas.
            NotSettled: when a statement is refused, or not final in time; what is under way goes on later.
        """
        return await self._call(partial(self._inner.settle, timeout=timeout, confirmations=confirmations))

    async def credit(self, payer: Address | str, *, margin: int | None = None) -> Credit:
        """Tell how far a payer may be served: what is secured on chain less what is not settled yet.

        Args:
            payer: an address or a customer name.
            margin: seconds within which what is served now will be settled; nine tenths of the thaw period,
                at most an hour, by default.
        """
        return await self._call(partial(self._inner.credit, payer, margin=margin))

    async def take_deposit(self, deposit: SignedDeposit) -> Receipt:
        """Submit a deposit that a payer signed, and pay its gas."""
        return await self._call(partial(self._inner.take_deposit, deposit))

    @property
    def tariff(self) -> Tariff:
        """The tariff; its `id` is what payers name."""
        return self._inner.tariff

    @property
    def record_of_tariff(self) -> TariffRecord:
        """The tariff with its split, parties and document."""
        return self._inner.record_of_tariff

    @property
    def currency(self) -> Currency:
        """How amounts are written, by the tariff's document."""
        return self._inner.currency

    async def open_account(self, payer: Address | str, *, customer: str | None = None) -> AccountRecord:
        """Meter a payer, with a fresh secret blind; doing so again changes nothing.

        Args:
            payer: whose escrow pays.
            customer: the name under which usage logs know the payer.

        Raises:
            Conflict: when the name is another payer's.
        """
        return await self._call(partial(self._inner.open_account, payer, customer=customer))

    async def accounts(self) -> list[AccountRecord]:
        """Return the payers that are metered."""
        return await self._call(partial(self._inner.accounts))

    async def record(
        self, usage: Iterable[Usage], *, source: str = "log", skip_bad: bool = False
    ) -> ImportReport:
        """Count calls, each once.

        Args:
            usage: `UsageRecord`s as the client of the service takes them, or `UsageEvent`s.
            source: who reports records that do not say so themselves.
            skip_bad: leave out what cannot be used and list it, instead of stopping there.

        Raises:
            BadUsage, UsageConflict: naming the place and the value; what stands before it is stored.
        """
        return await self._call(partial(self._inner.record, usage, source=source, skip_bad=skip_bad))

    async def import_file(
        self,
        path: str | Path,
        *,
        columns: ColumnMap | None = None,
        payer: Address | str | None = None,
        source: str | None = None,
        skip_bad: bool = False,
    ) -> ImportReport:
        """Count the calls of a usage log: CSV, NDJSON or Parquet, also gzipped.

        Args:
            path: the file.
            columns: what its columns mean, where they do not say so themselves.
            payer: who pays for all of it, by address or customer name.
            source: who reports rows that do not say so.
            skip_bad: as in `record`.

        Raises:
            BadFile, BadUsage, UsageConflict: naming the row and the value.
        """
        return await self._call(
            partial(
                self._inner.import_file, path, columns=columns, payer=payer, source=source, skip_bad=skip_bad
            )
        )

    async def correct(
        self, event_id: str, buckets: Mapping[str, int] | None = None, *, reason: str, source: str = "log"
    ) -> Correction:
        """Take a counted call back, and count it anew where there is usage.

        Args:
            event_id: the call's id.
            buckets: what it used in truth, by bucket; None for nothing.
            reason: for people; it becomes part of the receipt.
            source: who reported it.

        Raises:
            UnknownReceipt: when no such call was counted.
            Conflict: when it was corrected in another way.
        """
        return await self._call(partial(self._inner.correct, event_id, buckets, reason=reason, source=source))

    async def seal(self, *, max_receipts: int | None = None) -> list[BatchRecord]:
        """Seal what was counted into batches, one segment each; none where nothing waits."""
        return await self._call(partial(self._inner.seal, max_receipts=max_receipts))

    async def prove(self, event_id: str, *, source: str = "log", party: int = 0) -> ReceiptProof:
        """Return the worked proof of one call, down to a party's part of its price.

        It shows the secret blind of the payer's logs: give it to whoever may know that.

        Args:
            event_id: the call's id.
            source: who reported it.
            party: whose part, by its place in the split.

        Raises:
            UnknownReceipt, NotSealed: when no statement covers it.
        """
        return await self._call(partial(self._inner.prove, event_id, source=source, party=party))

    async def hand_over(self, payer: Address | str, folder: str | Path) -> Path:
        """Write a payer's complete logs and its statements into a folder, with which it proves its bill.

        The folder holds the payer's blind and nothing of other payers but their totals, which are public.
        Doing so again adds what is new.

        Args:
            payer: an address or a customer name.
            folder: where; made if there is none.
        """
        return await self._call(partial(self._inner.hand_over, payer, folder))


class AsyncPayer(InThread[Payer]):
    """`Payer` for code that awaits; see there."""

    @classmethod
    def connect(
        cls,
        *,
        contract: Address | str,
        tariff: bytes | str | None = None,
        key: Key | None = None,
        payer: Address | str | None = None,
        rpc: Node = DEFAULT_RPC,
        from_block: int = 0,
    ) -> Opening[Self]:
        """Find a tariff on chain.

        Args:
            contract: the splitter.
            tariff: its id or the first digits of it; None where only one was ever published.
            key: the payer's; None for looking only.
            payer: whose account; the key's by default.
            rpc: the node.
            from_block: the block that deployed the contract, or any before it.

        Raises:
            NotPublished: when no event names the tariff, or several fit.
            NoKey: when neither key nor payer is given.
        """
        return Opening(
            cls,
            partial(
                Payer.connect,
                contract=contract,
                tariff=tariff,
                key=key,
                payer=payer,
                rpc=rpc,
                from_block=from_block,
            ),
        )

    @property
    def address(self) -> Address:
        """Whose account or share it is."""
        return self._inner.address

    @property
    def currency(self) -> Currency:
        """How the token writes its amounts."""
        return self._inner.currency

    @property
    def tariff(self) -> Tariff:
        """The tariff under which the account is."""
        return self._inner.tariff

    async def wallet(self) -> AssetAmount:
        """Return what the payer holds of the token, outside the contract."""
        return await self._call(partial(self._inner.wallet))

    async def account(self) -> PayerAccount:
        """Return the account as it is after the newest block."""
        return await self._call(partial(self._inner.account))

    async def deposit(self, amount: AssetAmount) -> Receipt:
        """Deposit into the account: by permit (EIP-2612) where token and key can, else by approval.

        All of it is at risk to the tariff's meter, and nothing else is.

        Raises:
            Refusal: when token or contract refuses; nothing was deposited.
        """
        return await self._call(partial(self._inner.deposit, amount))

    async def sign_deposit(self, amount: AssetAmount, *, valid_for: int = PERMIT_SECONDS) -> SignedDeposit:
        """Sign a deposit that anyone may submit (EIP-3009): the payer needs no money for gas.

        Args:
            amount: exactly what will be deposited.
            valid_for: seconds from now.

        Raises:
            NoKey: when there is no key that signs.
            WrongChain, Refusal: when the token has no such signatures.
        """
        return await self._call(partial(self._inner.sign_deposit, amount, valid_for=valid_for))

    async def thaw(self, amount: AssetAmount) -> PayerAccount:
        """Set how much of the balance is thawing; after the tariff's thaw period it can be withdrawn.

        Raising it starts its clock anew, lowering it does not, zero ends it.
        """
        return await self._call(partial(self._inner.thaw, amount))

    async def withdraw(self) -> AssetAmount:
        """Withdraw what has thawed, or what is left of it; return how much that was.

        Raises:
            Refusal: when nothing is thawing, or not for long enough.
        """
        return await self._call(partial(self._inner.withdraw))

    async def statements(self) -> list[Settled]:
        """Return every statement that was settled against the account, as the contract tells it."""
        return await self._call(partial(self._inner.statements))

    async def audit(self) -> AccountAudit:
        """Replay all that ever happened to the account by the rules, and compare it with the contract."""
        return await self._call(partial(self._inner.audit))

    async def bill(self, folder: str | Path) -> CheckedBill:
        """Prove the newest statement from the payer's complete logs, every receipt of them.

        Args:
            folder: what the provider handed over (`Provider.hand_over`, `meterbridge hand-over`).

        Raises:
            NothingHandedOver: when tariff or statement is missing.
            BadBill, BadSegment, BadSignature: when the statement does not follow from the receipts.
            NotOnChain: when the provider does not let its signer sign.
        """
        return await self._call(partial(self._inner.bill, folder))

    async def verify(self, proof: ReceiptProof | str | Path) -> VerifiedReceipt:
        """Check the worked proof of one call of this payer, and that the chain knows its statement.

        Raises:
            BadProof, BadSignature: naming the first step that does not hold.
            NotOnChain: when the signer was not authorised, or the statement is not settled.
        """
        return await self._call(partial(self._inner.verify, proof))


class AsyncContributor(InThread[Contributor]):
    """`Contributor` for code that awaits; see there."""

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
    ) -> Opening[Self]:
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
        return Opening(
            cls,
            partial(
                Contributor.connect,
                contract=contract,
                split=split,
                parties=parties,
                asset=asset,
                key=key,
                account=account,
                rpc=rpc,
                from_block=from_block,
            ),
        )

    @property
    def address(self) -> Address:
        """Whose account or share it is."""
        return self._inner.address

    @property
    def currency(self) -> Currency:
        """How the token writes its amounts."""
        return self._inner.currency

    @property
    def split(self) -> Split:
        """The split; its `id` is its key everywhere."""
        return self._inner.split

    async def claimable(self) -> tuple[Claimable, ...]:
        """Tell for each of one's places in the split what was claimed and can be claimed."""
        return await self._call(partial(self._inner.claimable))

    async def claim(self) -> tuple[Claim, ...]:
        """Pay one's own account all that it is entitled to.

        The first claim of each place proves its share, also while there is nothing to pay yet; later ones
        need no proof. Where there is nothing to do, nothing is sent.
        """
        return await self._call(partial(self._inner.claim))

    async def claim_to(self, recipient: Address | str) -> tuple[Claim, ...]:
        """Pay what one is entitled to somebody else; only the party's own key may, after a first claim.

        Raises:
            NotRegistered: when there was no first claim yet.
            InvalidRecipient: when the recipient is the contract itself.
        """
        return await self._call(partial(self._inner.claim_to, recipient))

    async def authorize(self, recipient: Address | str, *, deadline: int, place: int = 0) -> SignedClaim:
        """Sign that the next claim goes to a recipient: whoever holds this may submit it, once.

        Args:
            recipient: who will be paid.
            deadline: until when it is good, seconds since 1970.
            place: which of one's places in the split, from 0.

        Raises:
            NoKey: when there is no key that signs.
        """
        return await self._call(partial(self._inner.authorize, recipient, deadline=deadline, place=place))

    async def claim_with(self, signed: SignedClaim) -> Claim:
        """Submit a claim that its party signed, and pay its gas; anyone may.

        Raises:
            NotRegistered: when the party has not claimed before.
            Refusal: when it was used, has expired, or is not signed by the party.
        """
        return await self._call(partial(self._inner.claim_with, signed))

    async def verify(self, proof: ReceiptProof | str | Path) -> VerifiedReceipt:
        """Check the worked proof of one call, down to one's own part of its price, and ask the chain.

        Args:
            proof: a proof, or the file that holds it.

        Raises:
            BadProof, BadSignature: naming the first step that does not hold.
            NotAParty: when the part that it shows is another party's, or of another split.
            NotOnChain: when the signer was not authorised, or the statement is not settled.
        """
        return await self._call(partial(self._inner.verify, proof))

    async def submit(self, statement: SignedStatement | str | Path) -> Settlement:
        """Submit a signed statement that one holds: nobody needs the provider to be paid.

        Args:
            statement: a statement, or the file that holds it.

        Raises:
            BadSignature, SignerNotAuthorized, SealedInFuture, Refusal: nothing was sent.
            NotPublished: when the chain knows nothing of its tariff.
        """
        return await self._call(partial(self._inner.submit, statement))
