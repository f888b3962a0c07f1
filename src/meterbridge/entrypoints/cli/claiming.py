"""`meterbridge claimable` and `claim`: from the pot to the parties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.shared import FINDING, SENDING, Given, with_options
from meterbridge.entrypoints.cli.values import Money, money_of, named_shortly
from meterbridge.entrypoints.cli.workspace import NotOne, splitter_at, splitter_of, workspace

if TYPE_CHECKING:
    from meterbridge.adapters.chain import Sender, SplitterClient
    from meterbridge.adapters.chain.history import History
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.splits import PartyTable, ShareProof, Split
    from meterbridge.services.claims import Claim, Claimable

SplitOption = Annotated[
    str | None,
    typer.Option("--split", metavar="ID", help="With --contract: the split, as published on chain."),
]


@dataclass(frozen=True, slots=True)
class _Shares:
    """A split with its parties, on its contract; `names` are what the provider calls them."""

    client: SplitterClient
    split: Split
    table: PartyTable
    money: Money
    names: Mapping[Address, str]


def _shares(given: Given, split: str | None, sender: Sender | None = None) -> _Shares:
    """Find a split in the ledger or, for a party that only knows the contract, on the chain."""
    from meterbridge.adapters.chain.history import History
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.splits import PartyTable

    if given.contract is None:
        with workspace(given.ledger) as opened:
            record = opened.tariff(given.tariff)
        client = splitter_of(given.rpc, record.domain, sender)
        money, names = money_of(client, record.split.asset), record.terms().parties
        return _Shares(client, record.split, PartyTable(record.parties), money, names)
    client = splitter_at(given.rpc, Address.parse(given.contract), sender)
    # Anyone may publish a tariff that pays this split: names come from one that is named, or not at all.
    history = History(client, given.from_block)
    found, table = history.parties(split or "")
    names = _names(history, given.tariff) if given.tariff else {}
    return _Shares(client, found, table, money_of(client, found.asset), names)


def _names(history: History, tariff: str) -> Mapping[Address, str]:
    from meterbridge.domain.terms import parse_terms

    document = history.terms(tariff).document
    return {} if document is None else parse_terms(document).parties


@with_options(*FINDING)
def claimable(
    given: Given,
    account: Annotated[
        str | None, typer.Option("--account", metavar="ADDRESS", help="Only this party.")
    ] = None,
    split: SplitOption = None,
) -> None:
    """Show what each party of a split has claimed and can claim.

    Try:

      meterbridge claimable

      meterbridge claimable --contract 0x5FbDB2315678afecb367f032d93F642f64180aa3 --split 0x49f54aae
    """
    from meterbridge.services.claims import claimable as claimable_now

    output, shares = given.output(), _shares(given, split)
    everybody = claimable_now(shares.client, shares.split, shares.table)
    found = [c for c in everybody if account is None or str(c.party.account).lower() == account.lower()]
    if account is not None and not found:
        raise NotOne(f"{account} is no party of split 0x{shares.split.id.hex()}", account)
    output.table(
        f"Split 0x{shares.split.id.hex()[:16]}, in {shares.money.currency.symbol} ({shares.split.asset})",
        ["party", ">share", ">claimed", ">claimable"],
        [_row(shares, c) for c in found],
    )
    output.result(
        {
            "split": f"0x{shares.split.id.hex()}",
            "asset": shares.money.json(),
            "parties": [_claimable_json(shares, c) for c in found],
        }
    )


def _row(shares: _Shares, found: Claimable) -> tuple[str, ...]:
    return (
        named_shortly(found.party.account, shares.names),
        _per_cent(found.party.share, shares.split.total_shares),
        shares.money.number(found.claimed),
        shares.money.number(found.amount),
    )


def _per_cent(share: int, total: int) -> str:
    """Write a share for people: exact where two digits are enough, else marked as about so much."""
    hundredths, rest = divmod(share * 10_000, total)
    return f"{'' if rest == 0 else '~'}{hundredths // 100}.{hundredths % 100:02d} %"


def _claimable_json(shares: _Shares, found: Claimable) -> dict[str, object]:
    return {
        "account": str(found.party.account),
        "name": shares.names.get(found.party.account),
        "role": found.party.role,
        "share": str(found.party.share),
        "offset": str(found.offset),
        "registered": found.registered,
        "entitled": str(found.entitled),
        "claimed": str(found.claimed),
        "claimable": str(found.amount),
    }


@with_options(*SENDING, *FINDING)
def claim(
    given: Given,
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
    split: SplitOption = None,
) -> None:
    """Pay parties what they are entitled to.

    The first time, with the proof of their share. Anyone may trigger a claim to a party's own account.
    The account that pays the gas is --keystore's, or
    with --from one that the node manages.

    Try:

      meterbridge claim --from 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266

      meterbridge claim --keystore me.json --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    """
    output, by = given.output(), given.by()
    mine = str(by.address) if to is not None and account is None else account
    shares = _shares(given, split, by)
    done = [_claim(shares, proof, to) for proof in _proofs(shares, mine)]
    if done:
        output.table(
            f"Claims, in {shares.money.currency.symbol} ({shares.split.asset})",
            ["party", "paid to", ">amount"],
            [_claimed_row(shares, c) for c in done],
        )
    else:
        output.say("Nothing to claim.")
    output.result({"asset": shares.money.json(), "claims": [_claim_json(c) for c in done]})


def _claimed_row(shares: _Shares, done: Claim) -> tuple[str, ...]:
    party, paid_to = (named_shortly(who, shares.names) for who in (done.party.account, done.recipient))
    return (
        party,
        "itself" if done.recipient == done.party.account else paid_to,
        shares.money.number(done.paid),
    )


def _claim_json(done: Claim) -> dict[str, object]:
    return {
        "account": str(done.party.account),
        "recipient": str(done.recipient),
        "paid": str(done.paid),
        "first": done.first,
        "transaction": f"0x{done.receipt.tx_hash.hex()}",
    }


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
