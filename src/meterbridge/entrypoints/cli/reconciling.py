"""`meterbridge reconcile`: ledger, segments and chain against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.following import StartOption
from meterbridge.entrypoints.cli.profiles import ProfileOption, ProfilesOption
from meterbridge.entrypoints.cli.running import (
    DEFAULT_LEDGER,
    DEFAULT_RPC,
    JsonOption,
    LedgerOption,
    command,
)
from meterbridge.entrypoints.cli.serve import DatabaseOption
from meterbridge.entrypoints.cli.settling import RpcsOption

if TYPE_CHECKING:
    from meterbridge.adapters.chain.followed import FollowedSplitter
    from meterbridge.adapters.ledger import SqlLedger
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.following.reconcile import Item, Reconciliation
    from meterbridge.services.ports import Segments

DIFFERS, OPEN = 2, 3


@command
def reconcile(
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 while anything is open, such as before closing.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Leave the segments out.")] = False,
    from_block: StartOption = None,
    rpc: RpcsOption = None,
    profile: ProfileOption = None,
    profiles: ProfilesOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare ledger, segments and chain; end with zero or with a list.

    Logs against their segments, signed lines against settled ones, draws, balances, pots and claims against
    the contract's own views of one block. A difference is something that cannot be while all is in order; an
    open item is on its way, such as a statement that is not settled yet. Exit codes: 0 nothing differs, 2
    something does, 3 with --strict something is open, 1 it could not be found out. Needs no key.

    Try:

      meterbridge reconcile

      meterbridge reconcile --strict --json
    """
    from meterbridge.adapters.ledger import SEGMENTS_NAME
    from meterbridge.adapters.segments import FolderSegments
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.entrypoints.watching import ChainOptions, followed_contracts, open_books

    output = Output(as_json)
    with open_books(ledger, database) as books:
        contracts, _ = followed_contracts(
            ChainOptions(rpc or [DEFAULT_RPC], profile, profiles), books.tariffs()
        )
        segments = None if fast else FolderSegments(Path(ledger) / SEGMENTS_NAME)
        found = [_reconcile(output, books, segments, contract, from_block) for contract in contracts]
    _tell(output, found)
    if any(one.differences for one in found):
        raise typer.Exit(DIFFERS)
    if strict and any(one.open_items for one in found):
        raise typer.Exit(OPEN)


def _reconcile(
    output: Output,
    books: SqlLedger,
    segments: Segments | None,
    contract: FollowedSplitter,
    from_block: int | None,
) -> Reconciliation:
    from meterbridge.services.following.indexer import follow
    from meterbridge.services.following.reconcile import reconcile

    with output.progress("following the chain") as advance:
        follow(contract, books, from_block=from_block, on_progress=lambda *_: advance(1))
    with output.progress("comparing") as advance:
        return reconcile(books, segments, contract, on_progress=lambda _check, n: advance(n))


def _tell(output: Output, found: Sequence[Reconciliation]) -> None:
    for one in found:
        rows = [(row.check, f"{row.compared:,}") for row in one.rows]
        output.table(f"Compared as of block {one.block}", ["", ">compared"], rows)
        for title, items in (("Differences", one.differences), ("On its way", one.open_items)):
            if items:
                lines = [
                    (i.name, i.where, "" if i.amount is None else f"{i.amount.base_units:,}", i.message)
                    for i in items
                ]
                output.table(title, ["", "where", ">base units", ""], lines)
        count = len(one.differences)
        output.say("Nothing differs." if not count else f"{count} differences.")
    output.result({"ok": all(one.ok for one in found), "contracts": [_answer(one) for one in found]})


def _answer(one: Reconciliation) -> dict[str, object]:
    return {
        "block": one.block,
        "compared": {row.check: row.compared for row in one.rows},
        "differences": [_item(item) for item in one.differences],
        "open": [_item(item) for item in one.open_items],
    }


def _item(item: Item) -> dict[str, object]:
    return {
        "name": item.name,
        "where": item.where,
        "message": item.message,
        "amount": None if item.amount is None else str(item.amount),
        "usage": None if item.usage is None else [str(lane) for lane in item.usage.lanes],
    }
