"""`meterbridge quarantine`: events that contradict stored ones wait here for a person."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meterbridge.entrypoints.cli.running import DEFAULT_LEDGER, JsonOption, LedgerOption, command
from meterbridge.entrypoints.cli.serve import DatabaseOption, require_extra

if TYPE_CHECKING:
    from meterbridge.adapters.intake.quarantine import QuarantinedEvent

app = typer.Typer(no_args_is_help=True, help="Decide on events that came twice with different contents.")
Number = Annotated[int, typer.Argument(help="The number that `list` shows.", min=1)]
Note = Annotated[str | None, typer.Option("--note", help="Why; kept with the decision.")]


@app.command("list")
@command
def list_held(
    state: Annotated[str, typer.Option(help="held, released or rejected.")] = "held",
    after: Annotated[int, typer.Option(help="Only numbers above this one.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 100,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List quarantined events with both versions.

    Example: meterbridge quarantine list --ledger books
    """
    require_extra()
    from meterbridge.adapters.intake.decisions import decision_json
    from meterbridge.adapters.intake.quarantine import Quarantine
    from meterbridge.entrypoints.api.serving import open_database
    from meterbridge.entrypoints.cli.output import Output

    found = Quarantine(open_database(ledger, database)[1]).page(None, state, after, limit)
    items = [decision_json(event) for event in found]
    output = Output(as_json)
    rows = [
        (str(i["number"]), i["source"], i["event_id"], _told(i["stored"]), _told(i["incoming"]))
        for i in items
    ]
    output.table(f"Quarantine: {state}", (">number", "source", "event", "stored", "incoming"), rows)
    output.result({"events": items})


@app.command()
@command
def release(
    number: Number,
    note: Note = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide that the incoming version is right: the stored charge is corrected to it.

    Example: meterbridge quarantine release 7 --note "the first report was cut off"
    """
    _decide(number, note, ledger, database, as_json, released=True)


@app.command()
@command
def reject(
    number: Number,
    note: Note = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide that the stored version is right: the incoming one is never counted.

    Example: meterbridge quarantine reject 7
    """
    _decide(number, note, ledger, database, as_json, released=False)


def _decide(
    number: int, note: str | None, ledger: str, database: str | None, as_json: bool, *, released: bool
) -> None:
    require_extra()
    from pathlib import Path

    from meterbridge.adapters.intake import decisions
    from meterbridge.adapters.intake.quarantine import Quarantine
    from meterbridge.adapters.segments import FolderSegments
    from meterbridge.entrypoints.api.serving import open_database
    from meterbridge.entrypoints.cli.output import Output

    book, base = open_database(ledger, database)
    quarantine, now = Quarantine(base), int(time.time() * 1000)
    event: QuarantinedEvent = quarantine.get(number)
    if released:
        segments = FolderSegments(Path(ledger) / "segments")
        decisions.release(book, segments, quarantine, event, note, now)
    else:
        decisions.reject(quarantine, event, note, now)
    output = Output(as_json)
    output.say(f"Event {number} is {'released' if released else 'rejected'}.")
    output.result(decisions.decision_json(quarantine.get(number)))


def _told(version: dict[str, Any]) -> str:
    return json.dumps(version.get("buckets", version.get("usage")))
