"""What a payer does: deposit, check what it is charged, and take back what is left. No provider is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from meterbridge.domain.addresses import Address
from meterbridge.domain.currency import Currency
from meterbridge.domain.units import AssetAmount
from meterbridge.library.connecting import (
    DEFAULT_RPC,
    Key,
    Node,
    NoKey,
    account_of,
    currency_of,
    digits_of,
    signer_of,
    splitter,
    token_of,
)
from meterbridge.library.deposits import PERMIT_SECONDS, SignedDeposit, deposit

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.adapters.chain.history import History, Published
    from meterbridge.domain.tariffs import Tariff
    from meterbridge.services.account_audit import AccountAudit
    from meterbridge.services.billing import Bill
    from meterbridge.services.chain_events import Receipt, Settled
    from meterbridge.services.ports import StatementSigner
    from meterbridge.services.proofs import ReceiptProof, VerifiedReceipt


@dataclass(frozen=True, slots=True)
class PayerAccount:
    """A payer's escrow under one tariff.

    Attributes:
        balance: what can still be drawn or thawed.
        settled: all that was ever drawn.
        sealed_at: time of the newest statement that was settled, seconds since 1970; 0 for none.
        thawing: how much of the balance can be withdrawn from `thaw_end` on.
        thaw_end: seconds since 1970.
    """

    balance: AssetAmount
    settled: AssetAmount
    sealed_at: int
    thawing: AssetAmount
    thaw_end: int


@dataclass(frozen=True, slots=True)
class CheckedBill:
    """A bill that was proven from its receipts, beside what the chain says.

    Attributes:
        bill: what the statement asks, and of what it consists.
        drawn: what was drawn from the account by now, by this and other statements.
        due: what this statement may still draw.
    """

    bill: Bill
    drawn: AssetAmount
    due: AssetAmount


class Payer:
    """A payer's account under one tariff; all that it takes, the contract's own events tell.

    with Payer.connect(contract=SPLITTER, tariff=TARIFF, rpc=URL, key=key) as payer:
        payer.deposit(payer.currency.amount("25.00"))
        print(payer.currency.text(payer.account().balance))
    """

    def __init__(
        self,
        client: SplitterClient,
        terms: Published,
        address: Address,
        signer: StatementSigner | None,
        history: History,
    ) -> None:
        """Use `connect`."""
        self._client, self._terms, self._signer, self._history = client, terms, signer, history
        self._token = token_of(client, terms.split.asset)
        self._address, self._currency = address, currency_of(client, terms.split.asset)

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
    ) -> Self:
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
        from meterbridge.adapters.chain.history import History

        account = account_of(key, payer, "payer")
        client = splitter(rpc, contract, key)
        history = History(client, from_block)
        terms = history.terms(digits_of(tariff))
        return cls(client, terms, account, signer_of(key), history)

    @property
    def address(self) -> Address:
        """Whose account or share it is."""
        return self._address

    @property
    def currency(self) -> Currency:
        """How the token writes its amounts."""
        return self._currency

    @property
    def tariff(self) -> Tariff:
        """The tariff under which the account is."""
        return self._terms.tariff

    def wallet(self) -> AssetAmount:
        """Return what the payer holds of the token, outside the contract."""
        return self._token.balance_of(self._address)

    def account(self) -> PayerAccount:
        """Return the account as it is after the newest block."""
        block = self._client.newest_block()
        escrow = self._client.escrow(self.tariff.id, self._address, block=block)
        thaw = self._client.thawing(self.tariff.id, self._address, block=block)
        return PayerAccount(escrow.balance, escrow.settled, escrow.sealed_at, thaw.amount, thaw.end)

    def deposit(self, amount: AssetAmount) -> Receipt:
        """Deposit into the account: by permit (EIP-2612) where token and key can, else by approval.

        All of it is at risk to the tariff's meter, and nothing else is.

        Raises:
            Refusal: when token or contract refuses; nothing was deposited.
        """
        deadline = self._client.now() + PERMIT_SECONDS
        terms = (self.tariff, self._terms.split)
        return deposit(
            self._client, self._token, terms, self._address, amount, signer=self._signer, deadline=deadline
        )

    def sign_deposit(self, amount: AssetAmount, *, valid_for: int = PERMIT_SECONDS) -> SignedDeposit:
        """Sign a deposit that anyone may submit (EIP-3009): the payer needs no money for gas.

        Args:
            amount: exactly what will be deposited.
            valid_for: seconds from now.

        Raises:
            NoKey: when there is no key that signs.
            WrongChain, Refusal: when the token has no such signatures.
        """
        if self._signer is None:
            raise NoKey("an account of the node signs no deposits; give a key that signs here")
        until = self._client.now() + valid_for
        given = self._token.sign_deposit(
            self._signer, self._client.address, self.tariff.id, amount, valid_before=until
        )
        return SignedDeposit(self.tariff, self._terms.split, self._signer.address, amount, given)

    def thaw(self, amount: AssetAmount) -> PayerAccount:
        """Set how much of the balance is thawing; after the tariff's thaw period it can be withdrawn.

        Raising it starts its clock anew, lowering it does not, zero ends it.
        """
        self._client.thaw(self.tariff, amount)
        return self.account()

    def withdraw(self) -> AssetAmount:
        """Withdraw what has thawed, or what is left of it; return how much that was.

        Raises:
            Refusal: when nothing is thawing, or not for long enough.
        """
        from meterbridge.services.chain_events import Withdrawn

        receipt = self._client.withdraw(self.tariff, self._terms.split)
        return AssetAmount.total(event.amount for event in receipt.events if isinstance(event, Withdrawn))

    def statements(self) -> list[Settled]:
        """Return every statement that was settled against the account, as the contract tells it."""
        return list(self._history.settlements(self.tariff.id, self._address))

    def audit(self) -> AccountAudit:
        """Replay all that ever happened to the account by the rules, and compare it with the contract."""
        from meterbridge.services.account_audit import audit_account

        block = self._client.newest_block()
        events = [e for e in self._history.account(self.tariff.id, self._address) if e.at.block <= block]
        escrow = self._client.escrow(self.tariff.id, self._address, block=block)
        return audit_account(events, self.tariff, escrow, block)

    def bill(self, folder: str | Path) -> CheckedBill:
        """Prove the newest statement from the payer's complete logs, every receipt of them.

        Args:
            folder: what the provider handed over (`Provider.hand_over`, `meterbridge hand-over`).

        Raises:
            NothingHandedOver: when tariff or statement is missing.
            BadBill, BadSegment, BadSignature: when the statement does not follow from the receipts.
            NotOnChain: when the provider does not let its signer sign.
        """
        from meterbridge.adapters.segments import FolderSegments
        from meterbridge.library.handing_over import newest_statement, tariff_in
        from meterbridge.services.billing import bill
        from meterbridge.services.confirming import require_authorised

        path = Path(folder)
        segments = FolderSegments(path / "segments")
        record = tariff_in(segments, self.tariff.id)
        signed = newest_statement(path, record.id, self._address)
        found = bill(record, segments, self._address, signed, contracts=self._client)
        require_authorised(self._client, self.tariff.provider, found.signer, found.sealed_at)
        drawn = self._client.escrow(record.id, self._address).settled
        return CheckedBill(found, drawn, found.price.minus_or_zero(drawn))

    def verify(self, proof: ReceiptProof | str | Path) -> VerifiedReceipt:
        """Check the worked proof of one call of this payer, and that the chain knows its statement.

        Raises:
            BadProof, BadSignature: naming the first step that does not hold.
            NotOnChain: when the signer was not authorised, or the statement is not settled.
        """
        from meterbridge.domain.errors import BadProof
        from meterbridge.library.proofs import verify_on_chain

        verified = verify_on_chain(self._client, self._history, proof)
        if (verified.account.tariff_id, verified.account.payer) != (self.tariff.id, self._address):
            raise BadProof(f"the proof is about an account of {verified.account.payer}", verified.account)
        return verified

    def close(self) -> None:
        """End; nothing is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
