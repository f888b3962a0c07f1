"""`meterbridge deposit`, `thaw`, `withdraw` and `escrow`: what a payer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.keys import FromOption, KeystoreOption, PasswordFileOption, find_sender
from meterbridge.entrypoints.cli.running import (
    DEFAULT_LEDGER,
    DEFAULT_RPC,
    JsonOption,
    LedgerOption,
    RpcOption,
    command,
)
from meterbridge.entrypoints.cli.settling import FromBlockOption
from meterbridge.entrypoints.cli.workspace import NotOne, TariffOption, splitter_at, splitter_of, workspace

if TYPE_CHECKING:
    from meterbridge.adapters.chain import Sender, SplitterClient
    from meterbridge.domain.splits import Split
    from meterbridge.domain.tariffs import Tariff

AmountArgument = Annotated[int, typer.Argument(min=0, help="Base units of the token.")]
ContractOption = Annotated[
    str | None,
    typer.Option(
        "--contract", metavar="ADDRESS", help="The splitter, if you have no ledger: payers have none."
    ),
]


@command
def deposit(
    amount: AmountArgument,
    payer: Annotated[
        str | None, typer.Option("--payer", metavar="ADDRESS", help="Whose account; the sender's by default.")
    ] = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    contract: ContractOption = None,
    from_block: FromBlockOption = 0,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Approve an amount and deposit it under a tariff.

    All of it is at risk to the tariff's meter, and nothing else is.

    Example: meterbridge deposit 25000000 --contract 0x5FbD… --tariff 0x569886d4 --keystore payer.json
    """
    from meterbridge.adapters.chain import TokenClient
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.units import AssetAmount
    from meterbridge.entrypoints.cli.output import Output

    output, by = Output(as_json), find_sender(keystore, password_file, sender)
    client, terms, split = find_terms(ledger, tariff, rpc, contract, from_block, by)
    account = Address.parse(payer) if payer else by.address
    token = TokenClient(client.gateway, split.asset)
    token.approve(client.address, AssetAmount(amount))
    receipt = client.deposit(terms, split, account, AssetAmount(amount))
    balance = client.escrow(terms.id, account).balance
    output.say(f"The account of {account} now holds {balance} base units of {split.asset}.")
    output.result(
        {"payer": str(account), "balance": str(balance), "transaction": f"0x{receipt.tx_hash.hex()}"}
    )


@command
def thaw(
    amount: AmountArgument,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    contract: ContractOption = None,
    from_block: FromBlockOption = 0,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Set how much of your balance is thawing.

    Raising it starts its clock anew, lowering it does not, 0 ends it.

    Example: meterbridge thaw 10000000 --keystore payer.json
    """
    from meterbridge.domain.units import AssetAmount
    from meterbridge.entrypoints.cli.output import Output

    output, by = Output(as_json), find_sender(keystore, password_file, sender)
    client, terms, _ = find_terms(ledger, tariff, rpc, contract, from_block, by)
    client.thaw(terms, AssetAmount(amount))
    found = client.thawing(terms.id, by.address)
    output.say(f"{found.amount} base units can be withdrawn from {found.end} on (seconds since 1970).")
    output.result({"payer": str(by.address), "thawing": str(found.amount), "end": found.end})


@command
def withdraw(
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    contract: ContractOption = None,
    from_block: FromBlockOption = 0,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Withdraw what has thawed, or what is left of it.

    Needs nothing of the provider.

    Example: meterbridge withdraw --contract 0x5FbD… --tariff 0x569886d4 --keystore payer.json
    """
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.chain_events import Withdrawn

    output, by = Output(as_json), find_sender(keystore, password_file, sender)
    client, terms, split = find_terms(ledger, tariff, rpc, contract, from_block, by)
    receipt = client.withdraw(terms, split)
    paid = sum(event.amount.base_units for event in receipt.events if isinstance(event, Withdrawn))
    output.say(f"{by.address} withdrew {paid} base units of {split.asset}.")
    output.result(
        {"payer": str(by.address), "withdrawn": str(paid), "transaction": f"0x{receipt.tx_hash.hex()}"}
    )


@command
def escrow(
    payer: Annotated[str, typer.Argument(help="The payer's address, or its customer name in a ledger.")],
    contract: ContractOption = None,
    from_block: FromBlockOption = 0,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Show a payer's account: its balance, draws and thaw.

    Example: meterbridge escrow 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC
    """
    from meterbridge.domain.addresses import Address
    from meterbridge.entrypoints.cli.output import Output

    output = Output(as_json)
    client, terms, split = find_terms(ledger, tariff, rpc, contract, from_block, None)
    if contract is None and not payer.startswith("0x"):
        with workspace(ledger) as opened:
            account = opened.account(opened.tariff(tariff), payer).key.payer
    else:
        account = Address.parse(payer)
    found, thawing = client.escrow(terms.id, account), client.thawing(terms.id, account)
    values = {
        "balance": str(found.balance),
        "settled": str(found.settled),
        "sealed_at": str(found.sealed_at),
        "thawing": str(thawing.amount),
        "thaw_end": str(thawing.end),
    }
    output.table(f"{account}, base units of {split.asset}", ["", ">"], list(values.items()))
    output.result({"payer": str(account), **values})


def find_terms(
    ledger: str, tariff: str | None, rpc: str, contract: str | None, from_block: int, sender: Sender | None
) -> tuple[SplitterClient, Tariff, Split]:
    """Find a tariff and its split in the ledger or, for a payer that has none, in the contract's events."""
    from meterbridge.domain.addresses import Address
    from meterbridge.services.chain_events import (
        AccountOpened,
        SplitAnnounced,
        SplitPublished,
        TariffPublished,
    )

    if contract is None:
        with workspace(ledger) as opened:
            record = opened.tariff(tariff)
        return splitter_of(rpc, record.domain, sender), record.tariff, record.split
    client = splitter_at(rpc, Address.parse(contract), sender)
    digits = (tariff or "").lower().removeprefix("0x")
    tariffs: dict[bytes, Tariff] = {}
    splits: dict[bytes, Split] = {}
    for event in client.events(from_block, client.newest_block()):
        if isinstance(event, (TariffPublished, AccountOpened)) and event.tariff_id.hex().startswith(digits):
            tariffs[event.tariff_id] = event.tariff
        if isinstance(event, (SplitPublished, SplitAnnounced, AccountOpened)) and event.split is not None:
            splits[event.split.id] = event.split
    found = [t for t in tariffs.values() if t.split_id in splits]
    if len(found) != 1:
        known = ", ".join(f"0x{t.id.hex()[:12]}" for t in found) or "none"
        raise NotOne(
            f"--tariff {tariff or '(none given)'} fits {len(found)} published tariffs: {known}", tariff
        )
    return client, found[0], splits[found[0].split_id]
