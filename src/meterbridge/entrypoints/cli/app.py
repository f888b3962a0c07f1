"""All commands under one name. Keep this module light: it is loaded for every `--help`."""

from __future__ import annotations

from typing import Annotated

import typer

import meterbridge
from meterbridge.entrypoints.cli import (
    apikeys,
    billing,
    claiming,
    demo,
    deploy,
    deployment,
    devnet,
    following,
    keys,
    metering,
    paying,
    profiles,
    quarantine,
    rebuilding,
    receipts,
    reconciling,
    sealing,
    serve,
    settling,
    setup,
    vectors,
    verifying,
)

app = typer.Typer(
    name="meterbridge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: drawing boxes around it takes as long as all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Settlement bridge between metered AI usage and the parties it pays.\n\nTry it: meterbridge demo",
)
app.command()(demo.demo)
app.command()(setup.init)
app.command()(setup.signer)
app.add_typer(setup.accounts, name="account")
app.command()(paying.deposit)
app.command()(paying.escrow)
app.command(name="import")(metering.import_)
app.command()(sealing.seal)
app.command()(metering.statement)
app.command()(settling.settle)
app.command()(following.watch)
app.command()(reconciling.reconcile)
app.command()(claiming.claimable)
app.command()(claiming.claim)
app.command()(paying.thaw)
app.command()(paying.withdraw)
app.command()(receipts.receipts)
app.command()(verifying.prove)
app.command()(verifying.verify)
app.command()(rebuilding.rebuild)
app.command(name="hand-over")(billing.hand_over)
app.command()(billing.bill)
app.command()(serve.serve)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(apikeys.app, name="apikeys")
app.command()(deploy.deploy)
app.add_typer(deployment.app, name="deployment")
app.command()(devnet.devnet)
app.command()(profiles.profiles)
app.add_typer(keys.app, name="keys")
app.add_typer(vectors.app, name="vectors")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meterbridge {meterbridge.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that come before any command."""
