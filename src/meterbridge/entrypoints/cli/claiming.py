"""`meterbridge claimable` and `claim`: from the pot to the parties."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    from meterbridge.domain.splits import PartyTable, ShareProof, Split
    from meterbridge.services.claims import Claim, Claimable

ContractOption = Annotated[
    str | None,
    typer.Option("--contract", metavar="ADDRESS", help="The splitter, if you have no ledger of it."),
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", metavar="ID", help="With --contract: the split, as published on chain."),
]


@dataclass(frozen=True, slots=True)
class _Shares:
    """A split with its parties, on its contract."""

    client: SplitterClient
    split: Split
    table: PartyTable


@contextmanager
def _shares(
    ledger: str,
    tariff: str | None,
    rpc: str,
    contract: str | None,
    split: str | None,
    from_block: int,
    sender: Sender | None = None,
) -> Iterator[_Shares]:
    """Find a split in the ledger or, for a party that only knows the contract, on the chain."""
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.splits import PartyTable

    if contract is not None:
        client = splitter_at(rpc, Address.parse(contract), sender)
        yield _published(client, split, from_block)
        return
    with workspace(ledger) as opened:
        record = opened.tariff(tariff)
        client = splitter_of(rpc, record.domain, sender)
        yield _Shares(client, record.split, PartyTable(record.parties))


def _published(client: SplitterClient, wanted: str | None, from_block: int) -> _Shares:
    from meterbridge.domain.splits import PartyTable
    from meterbridge.services.chain_events import SplitPublished

    digits = (wanted or "").lower().removeprefix("0x")
    found = {
        event.split_id: event
        for event in client.events(from_block, client.newest_block())
        if isinstance(event, SplitPublished) and event.split_id.hex().startswith(digits)
    }
    if len(found) != 1:
        known = ", ".join(f"0x{split_id.hex()[:12]}" for split_id in found) or "none"
        raise NotOne(
            f"--split {wanted or '(none given)'} fits {len(found)} published splits: {known}", wanted
        )
    (event,) = found.values()
    return _Shares(client, event.split, PartyTable(event.parties))


@command
def claimable(
    account: Annotated[
        str | None, typer.Option("--account", metavar="ADDRESS", help="Only this party.")
    ] = None,
    contract: ContractOption = None,
    split: SplitOption = None,
    from_block: FromBlockOption = 0,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Show what each party of a split has claimed and can claim.

    Try:

      meterbridge claimable

      meterbridge claimable --contract 0x5FbDB2315678afecb367f032d93F642f64180aa3 --split 0x49f54aae
    """
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.claims import claimable as claimable_now

    output = Output(as_json)
    with _shares(ledger, tariff, rpc, contract, split, from_block) as shares:
        all_parties = claimable_now(shares.client, shares.split, shares.table)
    found = [c for c in all_parties if account is None or str(c.party.account).lower() == account.lower()]
    if account is not None and not found:
        raise NotOne(f"{account} is no party of split 0x{shares.split.id.hex()}", account)
    rows = [
        (
            str(c.party.account),
            str(c.party.role),
            f"{c.party.share:,}",
            f"{c.claimed.base_units:,}",
            f"{c.amount.base_units:,}",
        )
        for c in found
    ]
    output.table(
        f"Split 0x{shares.split.id.hex()[:16]}, base units of {shares.split.asset}",
        ["party", ">role", ">share", ">claimed", ">claimable"],
        rows,
    )
    output.result({"split": f"0x{shares.split.id.hex()}", "parties": [_claimable_json(c) for c in found]})


def _claimable_json(found: Claimable) -> dict[str, object]:
    return {
        "account": str(found.party.account),
        "role": found.party.role,
        "share": str(found.party.share),
        "offset": str(found.offset),
        "registered": found.registered,
        "entitled": str(found.entitled),
        "claimed": str(found.claimed),
        "claimable": str(found.amount),
    }


@command
def claim(
    account: Annotated[
        str | None,
        typer.Option(
            "--account", metavar="ADDRESS", help="Only this party; all that have something otherwise."
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="ADDRESS", help="Pay somebody else; only the party itself may, with its key."
        ),
    ] = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    contract: ContractOption = None,
    split: SplitOption = None,
    from_block: FromBlockOption = 0,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Pay parties what they are entitled to.

    The first time, with the proof of their share. Anyone may trigger a claim to a party's own account.
    The account that pays the gas is --keystore's, or
    with --from one that the node manages.

    Try:

      meterbridge claim --from 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266

      meterbridge claim --keystore me.json --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    """
    from meterbridge.entrypoints.cli.output import Output

    output, by = Output(as_json), find_sender(keystore, password_file, sender)
    mine = str(by.address) if to is not None and account is None else account
    with _shares(ledger, tariff, rpc, contract, split, from_block, by) as shares:
        done = [_claim(shares, proof, to) for proof in _proofs(shares, mine)]
    rows = [(str(c.party.account), str(c.recipient), f"{c.paid.base_units:,}") for c in done]
    if rows:
        output.table(f"Claims, base units of {shares.split.asset}", ["party", "paid to", ">amount"], rows)
    else:
        output.say("Nothing to claim.")
    output.result(
        {
            "claims": [
                {
                    "account": str(c.party.account),
                    "recipient": str(c.recipient),
                    "paid": str(c.paid),
                    "first": c.first,
                    "transaction": f"0x{c.receipt.tx_hash.hex()}",
                }
                for c in done
            ]
        }
    )


def _proofs(shares: _Shares, account: str | None) -> list[ShareProof]:
    from meterbridge.services.claims import claimable as claimable_now

    found = claimable_now(shares.client, shares.split, shares.table)
    if account is None:
        return [shares.table.proof(i) for i, c in enumerate(found) if c.amount]
    mine = [i for i, c in enumerate(found) if str(c.party.account).lower() == account.lower()]
    if not mine:
        raise NotOne(f"{account} is no party of split 0x{shares.split.id.hex()}", account)
    # A party that has nothing to claim yet may still register.
    return [shares.table.proof(i) for i in mine if found[i].amount or not found[i].registered]


def _claim(shares: _Shares, proof: ShareProof, to: str | None) -> Claim:
    from meterbridge.domain.addresses import Address
    from meterbridge.services.claims import claim as claim_own
    from meterbridge.services.claims import claim_to

    if to is None:
        return claim_own(shares.client, shares.split, proof)
    return claim_to(shares.client, shares.split, proof, Address.parse(to))
