"""What most commands open first: a ledger folder, a tariff in it, and its contract on a chain."""

from __future__ import annotations

from typing import Annotated

import typer

from meterbridge.library.workspace import NoLedger, NotOne, Workspace, splitter_at, splitter_of, workspace

__all__ = [
    "NoLedger",
    "NotOne",
    "TariffOption",
    "Workspace",
    "splitter_at",
    "splitter_of",
    "workspace",
]

TariffOption = Annotated[
    str | None,
    typer.Option("--tariff", "-t", metavar="ID", help="The tariff's id or its first digits, if several."),
]
