"""`meterbridge hand-over` and `bill`: a payer's complete logs, and the bill proven from them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.shared import LEDGER, ContractOption, FromBlockOption, Given, with_options
from meterbridge.entrypoints.cli.values import Money, time_text
from meterbridge.entrypoints.cli.workspace import NotOne, workspace
from meterbridge.library.workspace import beginning_with

if TYPE_CHECKING:
    from meterbridge.library.payer import CheckedBill
    from meterbridge.services.account_audit import AccountAudit
    from meterbridge.services.records import TariffRecord


@with_options(*LEDGER)
def hand_over(
    given: Given,
    payer: Annotated[str, typer.Argument(help="The payer's address, or its customer name.")],
    folder: Annotated[Path, typer.Argument(help="Where to; made if there is none.")],
) -> None:
    """Write a payer's complete logs and statements into a folder, with which it proves its bill.

    It holds the secret blind of the payer's logs: give it to the payer only. Doing so again adds what is new.

    Example: meterbridge hand-over acme for-acme
    """
    from meterbridge.library.handing_over import hand_over as hand_over_now

    output = given.output()
    with workspace(given.ledger) as opened:
        record = opened.tariff(given.tariff)
        account = opened.account(record, payer)
        hand_over_now(opened, record, account, folder)
    tariff, contract = f"0x{record.id.hex()}", str(record.domain.verifying_contract)
    output.say(f"{folder} is for {account.customer or account.key.payer}, to be checked with:")
    output.say(f"  meterbridge bill {folder} --payer {account.key.payer} --contract {contract}")
    output.result(
        {
            "folder": str(folder),
            "payer": str(account.key.payer),
            "tariff": tariff,
            "contract": contract,
        }
    )


@with_options("tariff", "rpc")
def bill(
    given: Given,
    folder: Annotated[Path, typer.Argument(help="What the provider handed over.")],
    payer: Annotated[str, typer.Option("--payer", metavar="ADDRESS", help="Whose bill.")],
    contract: ContractOption = None,
    from_block: FromBlockOption = 0,
) -> None:
    """Prove a payer's bill from every receipt, and hold it against the chain.

    Receipts lead to batches, logs, the head, the signed statement and its price; the chain is asked whether
    the signer was authorised, and all that ever happened to the account is replayed. Exit code 1 at the first
    thing that does not hold.

    Example: meterbridge bill for-acme --payer 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC --contract 0x5FbD…
    """
    from meterbridge.library.payer import Payer

    output = given.output()
    record = _tariff(folder, given.tariff)
    where = contract or str(record.domain.verifying_contract)
    with Payer.connect(
        contract=where, tariff=record.id, payer=payer, rpc=given.rpc, from_block=from_block
    ) as mine:
        checked, audit = mine.bill(folder), mine.audit()
        money = Money(record.split.asset, mine.currency)
    if audit.findings:
        raise NotOne(f"the account does not add up: {'; '.join(audit.findings)}", audit.findings)
    output.table(
        f"{payer}: everything holds, up to {time_text(checked.bill.sealed_at)}",
        ["", ">"],
        _rows(checked, audit, money),
    )
    output.result(_answer(checked, audit, money))


def _tariff(folder: Path, wanted: str | None) -> TariffRecord:
    """Return the tariff that was handed over; the one that is named, where there are several."""
    from meterbridge.adapters.segments import FolderSegments

    known = list(FolderSegments(folder / "segments").tariffs())
    found = beginning_with(wanted, known)
    if len(found) != 1:
        there = ", ".join(f"0x{record.id.hex()[:12]}" for record in known) or "none"
        raise NotOne(
            f"--tariff {wanted or '(none given)'} fits {len(found)} tariffs in {folder}: {there}", wanted
        )
    return found[0]


def _rows(checked: CheckedBill, audit: AccountAudit, money: Money) -> list[tuple[str, str]]:
    found = checked.bill
    batches = [batch for batch in found.batches if batch.receipts]
    period = ""
    if batches:
        ends = min(batch.first_at for batch in batches), max(batch.last_at for batch in batches)
        period = " to ".join(datetime.fromtimestamp(end // 1000, UTC).date().isoformat() for end in ends)
    return [
        ("calls proven", f"{found.receipts:,}"),
        ("credits proven", f"{found.credits:,}"),
        ("calls made", period),
        *((f"  {use.meter}", f"{use.units:,}") for use in found.meters),
        ("price of all of it", money.text(found.price)),
        ("drawn by now", money.text(checked.drawn)),
        ("still due", money.text(checked.due)),
        ("deposited", money.text(audit.arrived)),
        ("withdrawn", money.text(audit.withdrawn)),
        ("balance", money.text(audit.balance)),
    ]


def _answer(checked: CheckedBill, audit: AccountAudit, money: Money) -> dict[str, object]:
    found = checked.bill
    return {
        "payer": str(found.account.payer),
        "tariff": f"0x{found.account.tariff_id.hex()}",
        "sealed_at": found.sealed_at,
        "signer": str(found.signer),
        "receipts": found.receipts,
        "credits": found.credits,
        "meters": {use.meter: str(use.units) for use in found.meters},
        "price": str(found.price),
        "drawn": str(checked.drawn),
        "due": str(checked.due),
        "deposited": str(audit.arrived),
        "withdrawn": str(audit.withdrawn),
        "balance": str(audit.balance),
        "asset": money.json(),
    }
