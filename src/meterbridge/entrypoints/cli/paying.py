"""`meterbridge deposit`, `thaw`, `withdraw` and `escrow`: what a payer does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.shared import FINDING, SENDING, Given, with_options
from meterbridge.entrypoints.cli.values import AmountArgument, BaseUnitsOption, Money, money_of, time_text
from meterbridge.entrypoints.cli.workspace import splitter_at, splitter_of, workspace

if TYPE_CHECKING:
    from meterbridge.adapters.chain import Sender, SplitterClient
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.splits import Split
    from meterbridge.domain.tariffs import Tariff


@dataclass(frozen=True, slots=True)
class Found:
    """A tariff on its contract, with the token that is paid."""

    client: SplitterClient
    tariff: Tariff
    split: Split
    money: Money


@with_options(*SENDING, *FINDING)
def deposit(
    given: Given,
    amount: AmountArgument,
    payer: Annotated[
        str | None, typer.Option("--payer", metavar="ADDRESS", help="Whose account; the sender's by default.")
    ] = None,
    base_units: BaseUnitsOption = False,
) -> None:
    """Approve an amount and deposit it under a tariff.

    All of it is at risk to the tariff's meter, and nothing else is.

    Example: meterbridge deposit 25.00 --contract 0x5FbD… --tariff 0x569886d4 --keystore payer.json
    """
    from meterbridge.adapters.chain import TokenClient
    from meterbridge.domain.addresses import Address

    output, by = given.output(), given.by()
    found = find_terms(given, by)
    wanted = found.money.read(amount, base_units=base_units, output=output)
    account = Address.parse(payer) if payer else by.address
    token = TokenClient(found.client.gateway, found.split.asset)
    token.approve(found.client.address, wanted)
    receipt = found.client.deposit(found.tariff, found.split, account, wanted)
    balance = found.client.escrow(found.tariff.id, account).balance
    output.say(
        f"Deposited {found.money.text(wanted)}; the account of {account} now holds "
        f"{found.money.text(balance)} ({balance} base units of {found.split.asset})."
    )
    output.result(
        {
            "payer": str(account),
            "deposited": str(wanted),
            "balance": str(balance),
            "asset": found.money.json(),
            "transaction": f"0x{receipt.tx_hash.hex()}",
        }
    )


@with_options(*SENDING, *FINDING)
def thaw(given: Given, amount: AmountArgument, base_units: BaseUnitsOption = False) -> None:
    """Set how much of your balance is thawing.

    Raising it starts its clock anew, lowering it does not, 0 ends it.

    Example: meterbridge thaw 10.00 --keystore payer.json
    """
    output, by = given.output(), given.by()
    found = find_terms(given, by)
    wanted = found.money.read(amount, base_units=base_units, output=output)
    found.client.thaw(found.tariff, wanted)
    state = found.client.thawing(found.tariff.id, by.address)
    output.say(
        f"{found.money.text(state.amount)} ({state.amount} base units) can be withdrawn from "
        f"{time_text(state.end)} on."
        if state.amount
        else "Nothing is thawing."
    )
    output.result(
        {
            "payer": str(by.address),
            "thawing": str(state.amount),
            "end": state.end,
            "asset": found.money.json(),
        }
    )


@with_options(*SENDING, *FINDING)
def withdraw(given: Given) -> None:
    """Withdraw what has thawed, or what is left of it.

    Needs nothing of the provider.

    Example: meterbridge withdraw --contract 0x5FbD… --tariff 0x569886d4 --keystore payer.json
    """
    from meterbridge.domain.units import AssetAmount
    from meterbridge.services.chain_events import Withdrawn

    output, by = given.output(), given.by()
    found = find_terms(given, by)
    receipt = found.client.withdraw(found.tariff, found.split)
    paid = AssetAmount.total(event.amount for event in receipt.events if isinstance(event, Withdrawn))
    output.say(f"{by.address} withdrew {found.money.text(paid)} ({paid} base units of {found.split.asset}).")
    output.result(
        {
            "payer": str(by.address),
            "withdrawn": str(paid),
            "asset": found.money.json(),
            "transaction": f"0x{receipt.tx_hash.hex()}",
        }
    )


@with_options(*FINDING)
def escrow(
    given: Given,
    payer: Annotated[str, typer.Argument(help="The payer's address, or its customer name in a ledger.")],
) -> None:
    """Show a payer's account: its balance, draws and thaw.

    Example: meterbridge escrow 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC
    """
    output, found = given.output(), find_terms(given, None)
    account = _account(given, payer)
    state = found.client.escrow(found.tariff.id, account)
    thawing = found.client.thawing(found.tariff.id, account)
    money = [("balance", state.balance), ("settled", state.settled), ("thawing", thawing.amount)]
    rows = [(name, found.money.text(amount), str(amount)) for name, amount in money]
    times = [("sealed at", state.sealed_at), ("thaw ends", thawing.end if thawing.amount else 0)]
    rows += [(name, time_text(at) if at else "", "") for name, at in times]
    output.table(str(account), ["", ">", ">base units"], rows)
    output.result(
        {
            "payer": str(account),
            "balance": str(state.balance),
            "settled": str(state.settled),
            "sealed_at": str(state.sealed_at),
            "thawing": str(thawing.amount),
            "thaw_end": str(thawing.end),
            "asset": found.money.json(),
        }
    )


def _account(given: Given, payer: str) -> Address:
    from meterbridge.domain.addresses import Address

    if given.contract is not None or payer.startswith("0x"):
        return Address.parse(payer)
    with workspace(given.ledger) as opened:
        return opened.account(opened.tariff(given.tariff), payer).key.payer


def find_terms(given: Given, sender: Sender | None) -> Found:
    """Find a tariff and its split in the ledger or, for a payer that has none, in the contract's events."""
    from meterbridge.adapters.chain.history import History
    from meterbridge.domain.addresses import Address

    if given.contract is None:
        with workspace(given.ledger) as opened:
            record = opened.tariff(given.tariff)
        client = splitter_of(given.rpc, record.domain, sender)
        return Found(client, record.tariff, record.split, money_of(client, record.split.asset))
    client = splitter_at(given.rpc, Address.parse(given.contract), sender)
    terms = History(client, given.from_block).terms(given.tariff or "")
    return Found(client, terms.tariff, terms.split, money_of(client, terms.split.asset))
