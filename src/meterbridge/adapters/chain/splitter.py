"""The client of one SettlementSplitter: every function of its ABI, typed."""

from __future__ import annotations

from collections.abc import Sequence

from meterbridge.adapters.chain import calls
from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.adapters.chain.calls import Permit, TransferAuthorization
from meterbridge.adapters.chain.events import decode_events
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.views import SplitterViews
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, ShareProof, Split
from meterbridge.domain.statements import ClaimAuthorization, SignedStatement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import TransactionReverted
from meterbridge.services.chain_events import Receipt


class SplitterClient(SplitterViews):
    """Reads one SettlementSplitter, and sends it transactions in the name of the gateway's sender.

    Each sending method waits until its transaction is mined and returns the receipt with decoded events. A
    call that the contract would refuse raises the `Refusal` of the same name before anything is sent.
    """

    @classmethod
    def deploy(cls, gateway: Gateway) -> SplitterClient:
        """Deploy a new contract of this release."""
        return cls(gateway, deploy(gateway, "SettlementSplitter"))

    def as_sender(self, gateway: Gateway) -> SplitterClient:
        """Return a client of the same contract for another sender."""
        return SplitterClient(gateway, self.address)

    def send(self, call: bytes, *, listed: bool = False) -> bytes:
        """Send calldata of `adapters.chain.calls`; return the transaction's hash without waiting.

        Args:
            call: the calldata.
            listed: attach an access list where that is cheaper: for what calls a token.
        """
        return self.gateway.send(self.address, call, listed=listed)

    def wait(self, tx_hash: bytes) -> Receipt:
        """Wait until a transaction is mined; return what the contract said in it."""
        mined = self.gateway.wait(tx_hash)
        events = tuple(decode_events(mined["logs"], self.address))
        return Receipt(tx_hash, mined["blockNumber"], mined["gasUsed"], events)

    def transact(self, call: bytes) -> Receipt:
        """Send calldata and wait."""
        return self.wait(self.send(call))

    def pay(self, call: bytes) -> Receipt:
        """Send calldata of what pays tokens out, and wait."""
        return self.wait(self.send(call, listed=True))

    def multicall(self, calls_: Sequence[bytes]) -> Receipt:
        """Make several calls of `adapters.chain.calls` in one transaction; all of them succeed or none."""
        return self.transact(calls.multicall(calls_))

    # The provider

    def set_signer(self, signer: Address, until: int) -> Receipt:
        """Let `signer` sign what is sealed at or before `until`; now retires it, 0 revokes it."""
        return self.transact(calls.set_signer(signer, until))

    def publish_split(self, split: Split, parties: Sequence[Party]) -> Receipt:
        """Emit the parties of a split, proven on chain."""
        return self.transact(calls.publish_split(split, parties))

    def announce_split(self, split: Split, uri: str) -> Receipt:
        """Emit where the parties of a large split are to be found."""
        return self.transact(calls.announce_split(split, uri))

    def publish_tariff(self, tariff: Tariff, document: bytes) -> Receipt:
        """Emit a tariff and its document, proven on chain."""
        return self.transact(calls.publish_tariff(tariff, document))

    # Payers

    def deposit(self, tariff: Tariff, split: Split, payer: Address, amount: AssetAmount) -> Receipt:
        """Pull an approved amount from the sender into the payer's account."""
        return self.transact(calls.deposit(tariff, split, payer, amount))

    def deposit_with_permit(
        self, tariff: Tariff, split: Split, payer: Address, amount: AssetAmount, permit: Permit
    ) -> Receipt:
        """Pull an amount that the sender permits by signature (EIP-2612)."""
        return self.transact(calls.deposit_with_permit(tariff, split, payer, amount, permit))

    def deposit_with_authorization(
        self,
        tariff: Tariff,
        split: Split,
        payer: Address,
        amount: AssetAmount,
        given: TransferAuthorization,
    ) -> Receipt:
        """Receive an amount that the payer authorised by signature (EIP-3009); anyone may send this."""
        return self.transact(calls.deposit_with_authorization(tariff, split, payer, amount, given))

    def thaw(self, tariff: Tariff, amount: AssetAmount) -> Receipt:
        """Set how much of the sender's balance is thawing; 0 ends the thaw."""
        return self.transact(calls.thaw(tariff, amount))

    def withdraw(self, tariff: Tariff, split: Split) -> Receipt:
        """Pay the sender what it thawed."""
        return self.pay(calls.withdraw(tariff, split))

    # Settlement

    def send_settle(self, tariff: Tariff, signed: SignedStatement) -> bytes:
        """Send a statement; return the transaction's hash without waiting."""
        return self.send(calls.settle(tariff, signed))

    def settle(self, tariff: Tariff, signed: SignedStatement) -> Receipt:
        """Draw what a signed statement says."""
        return self.wait(self.send_settle(tariff, signed))

    def fund(self, split: Split, amount: AssetAmount) -> Receipt:
        """Add an approved amount of the sender's to a pot."""
        return self.transact(calls.fund(split, amount))

    # Parties

    def claim_first(self, split: Split, proof: ShareProof) -> Receipt:
        """Prove a party's share, register it, and pay its account what it is entitled to."""
        return self.pay(calls.claim_first(split, proof))

    def claim(self, split: Split, offset: int, account: Address) -> Receipt:
        """Pay a registered party's account; anyone may send this."""
        return self.pay(calls.claim(split, offset, account))

    def claim_to(self, split: Split, offset: int, recipient: Address) -> Receipt:
        """Pay the sender's own stake to a recipient."""
        return self.pay(calls.claim_to(split, offset, recipient))

    def claim_with_authorization(
        self, split: Split, authorization: ClaimAuthorization, signature: bytes
    ) -> Receipt:
        """Pay a party's stake to the recipient that it authorised; anyone may send this."""
        return self.pay(calls.claim_with_authorization(split, authorization, signature))


def deploy(gateway: Gateway, name: str) -> Address:
    """Deploy a contract of this release that takes no constructor arguments; return its address."""
    tx_hash = gateway.send(None, load_artifact(name).bytecode)
    created = gateway.wait(tx_hash)["contractAddress"]
    if created is None:
        raise TransactionReverted(f"transaction 0x{tx_hash.hex()} made no contract", tx_hash)
    return Address.parse(created)
