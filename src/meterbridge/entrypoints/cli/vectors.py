"""`meterbridge vectors check`: for people who write another implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterbridge.entrypoints.cli.running import JsonOption, command

app = typer.Typer(
    no_args_is_help=True,
    help="Work with files of protocol vectors.\n\nExample: meterbridge vectors check vectors.json",
)
SHOWN = 20


@app.callback()
def _group() -> None:
    """Keep `check` a subcommand while it is the only one."""


@app.command()
@command
def check(
    file: Annotated[Path, typer.Argument(help="A vectors file in the format of protocol-v1.json.")],
    as_json: JsonOption = False,
) -> None:
    """Recompute every case of a vectors file and say what differs.

    Exit code 0 if everything agrees and everything that must be refused is; 1 otherwise.

    Example: meterbridge vectors check tests/vectors/protocol-v1.json
    """
    import json

    from meterbridge.domain.strict_json import require_shallow
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.conformance import BadVectorsFile, check_vectors

    try:
        text = file.read_text(encoding="utf-8-sig")
        require_shallow(text)
        vectors = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadVectorsFile(f"{file} is no JSON: {error}", str(file)) from error
    report = check_vectors(vectors)
    output = Output(as_json)
    rows = [(section, f"{count:,}") for section, count in report.checked.items()]
    output.table(f"{file.name}: what was recomputed", ["section", ">comparisons"], rows)
    differences = [(d.where, d.expected[:70], d.found[:70]) for d in report.differences]
    if differences:
        output.table("What differs", ["where", "in the file", "recomputed"], differences[:SHOWN])
        if len(differences) > SHOWN:
            output.say(f"... and {len(differences) - SHOWN} more; --json lists all of them")
    else:
        output.say("Everything agrees, and all that must be refused is refused.")
    output.result(
        {
            "ok": report.ok,
            "checked": report.checked,
            "differences": [
                {"where": d.where, "expected": d.expected, "found": d.found} for d in report.differences
            ],
        }
    )
    if not report.ok:
        raise typer.Exit(1)
