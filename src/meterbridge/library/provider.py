"""What a provider does: publish a tariff, count usage, seal it, sign what payers owe, and draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from meterbridge.domain.units import UINT64_MAX
from meterbridge.library.connecting import (
    DEFAULT_RPC,
    Key,
    Node,
    NoKey,
    address_of,
    digits_of,
    now,
    sender_of,
    signer_of,
    splitter,
    urls_of,
)
from meterbridge.library.metering import MeteredBooks
from meterbridge.library.workspace import Workspace, workspace

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.splits import Party
    from meterbridge.domain.statements import SignedStatement
    from meterbridge.library.deposits import SignedDeposit
    from meterbridge.services.chain_events import Receipt
    from meterbridge.services.credit import Credit
    from meterbridge.services.ports import StatementSigner
    from meterbridge.services.records import TariffRecord
    from meterbridge.services.settlement import Settlement

FOREVER = UINT64_MAX
"""As the `until` of a signer: it may sign until it is retired or revoked."""


class Provider(MeteredBooks):
    """A provider with its ledger folder, on one tariff.

        with Provider.open("books", rpc=URL, key=gas_key, meter=meter_key) as provider:
            provider.record([UsageRecord(id="call-1", payer="acme", usage=answer.usage, time=called_at)])
            provider.seal()
            provider.sign()
            provider.settle()

    Whatever was done is durable when the call returns; doing it again changes nothing.
    """

    def __init__(
        self,
        opened: Workspace,
        record: TariffRecord,
        client: SplitterClient,
        node: tuple[Node, Key | None],
        meter: StatementSigner | None,
        stack: ExitStack,
    ) -> None:
        """Use `publish` the first time, `open` later."""
        super().__init__(opened, record)
        self._client, self._meter, self._stack = client, meter, stack
        self._rpc, self._key = node

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
    ) -> Self:
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
        from meterbridge.library.publishing import publish, tariff_record

        client, provider = splitter(rpc, contract, key), sender_of(key).address
        record = tariff_record(
            client.domain,
            provider,
            address_of(asset),
            parties,
            terms,
            scale=scale,
            thaw_period=thaw_period,
        )
        with ExitStack() as stack:
            opened = stack.enter_context(workspace(folder, create=True))
            publish(client, opened, record)
            made = cls(opened, record, client, (rpc, key), signer_of(meter), stack.pop_all())
        if made._meter is not None and client.signer_until(provider, made._meter.address) == 0:
            made.authorise(made._meter.address)
        return made

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        rpc: Node = DEFAULT_RPC,
        key: Key | None = None,
        meter: Key | None = None,
        tariff: bytes | str | None = None,
    ) -> Self:
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
        from meterbridge.services.chain_errors import WrongChain

        with ExitStack() as stack:
            opened = stack.enter_context(workspace(folder))
            record = opened.tariff(digits_of(tariff))
            client = splitter(rpc, record.domain.verifying_contract, key)
            found = client.gateway.chain_id()
            if found != record.domain.chain_id:
                raise WrongChain(f"the node is on chain {found}; {record.domain.chain_id} is meant", found)
            return cls(opened, record, client, (rpc, key), signer_of(meter), stack.pop_all())

    def authorise(self, signer: Address | str, *, until: int = FOREVER) -> Receipt:
        """Let a key, or a contract, sign statements.

        Args:
            signer: the meter's address.
            until: the last time that it may sign for, seconds since 1970. Now retires it and keeps what it
                sealed before; 0 revokes all of it.
        """
        return self._client.set_signer(address_of(signer), until)

    def sign(self, *, sealed_at: int | None = None) -> list[SignedStatement]:
        """Sign what every account has used by now; none where nothing has changed.

        Each statement is also a file in the folder's `statements`, for anyone to submit.

        Args:
            sealed_at: its time, seconds since 1970; now by default. Later than any of its accounts' last one.

        Raises:
            NoKey: when no key was given that signs.
        """
        from meterbridge.adapters.statement_files import keep_statement
        from meterbridge.services.statements import make_statements

        if self._meter is None:
            raise NoKey("no key to sign statements with; give Provider.open(meter=…)")
        at = now() if sealed_at is None else sealed_at
        made = make_statements(self._opened.ledger, self._record, at, self._meter, contracts=self._client)
        for signed in made:
            keep_statement(self._opened.folder, signed)
        return made

    def settle(self, *, timeout: float = 600.0, confirmations: int | None = None) -> list[Settlement]:
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
        from meterbridge.library.settlers import SettleConfig
        from meterbridge.library.settling import settle_open

        if self._key is None:
            raise NoKey("no key to pay the gas with; give Provider.open(key=…)")
        decided = {} if confirmations is None else {"confirmations": confirmations, "finality": None}
        config = SettleConfig(urls_of(self._rpc), decided=decided)
        ledger, domain = self._opened.ledger, self._record.domain
        return settle_open(config, ledger, domain, sender_of(self._key), timeout=timeout)

    def credit(self, payer: Address | str, *, margin: int | None = None) -> Credit:
        """Tell how far a payer may be served: what is secured on chain less what is not settled yet.

        Args:
            payer: an address or a customer name.
            margin: seconds within which what is served now will be settled; nine tenths of the thaw period,
                at most an hour, by default.
        """
        from meterbridge.services.credit import credit, read_secured, usual_margin

        account = self._opened.account(self._record, str(payer)).key.payer
        ahead = usual_margin(3600, self.tariff) if margin is None else margin
        found = read_secured(self._client, self._record, account, now(), ahead)
        return credit(self._opened.ledger, self._record, account, found)

    def take_deposit(self, deposit: SignedDeposit) -> Receipt:
        """Submit a deposit that a payer signed, and pay its gas."""
        return deposit.submit(self._client)

    def close(self) -> None:
        """Close the ledger."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
