"""`meterbridge demo`: the main job for real, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterbridge.entrypoints.cli.columns import MapOption, SkipBadOption, parse_map
from meterbridge.entrypoints.cli.keys import KeystoreOption, PasswordFileOption
from meterbridge.entrypoints.cli.running import JsonOption, command


@command
def demo(
    usage: Annotated[
        Path | None,
        typer.Option("--usage", metavar="FILE", help="A usage log instead of one that is made up."),
    ] = None,
    columns: MapOption = None,
    skip_bad: SkipBadOption = False,
    rpc: Annotated[
        str | None,
        typer.Option("--rpc", metavar="URL", help="A node instead of a chain inside this process."),
    ] = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Where ledger, segments, statements and proof are left."),
    ] = Path("demo-out"),
    as_json: JsonOption = False,
) -> None:
    """Do the main job for real: from a usage log to money claimed.

    Runs on a chain inside this process, or with --rpc on a node: with the key of --keystore or
    METERBRIDGE_PRIVATE_KEY, or else the first account that the node itself manages (as anvil does). Test
    tokens only. An interrupted run goes on when it is started again with the same --out.

    Try:

      meterbridge demo

      meterbridge demo --usage calls.csv --map "id=request_id time=ts input=prompt output=answer"

      meterbridge demo --rpc http://127.0.0.1:8545 --out on-anvil --json
    """
    import os

    from meterbridge.entrypoints.cli.keys import KEY_VARIABLE, open_signer
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.entrypoints.demo.run import Options, run

    funded = None
    if rpc is not None and (keystore is not None or os.environ.get(KEY_VARIABLE)):
        funded = open_signer(keystore, password_file)
    output = Output(as_json)
    summary = run(Options(out, usage, parse_map(columns), skip_bad, rpc, funded), output)
    output.say(f"\nEverything is in {out}: ledger.db, segments/, statements/, proofs/.")
    output.result(summary.to_json())
    if not summary.verified:
        raise typer.Exit(1)
