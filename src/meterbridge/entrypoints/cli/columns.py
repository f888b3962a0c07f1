"""Options of the commands that read usage logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from meterbridge.adapters.formats import ColumnMap

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=COLUMN",
        help='What the columns mean, e.g. --map "id=request_id time=ts payer=customer input=prompt_tokens"; '
        "once with all pairs, or repeated.",
    ),
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Go on after rows that cannot be used, and list them.")
]


def parse_map(pairs: list[str] | None) -> ColumnMap | None:
    """Return the column map of `--map`, if any was given.

    Raises:
        BadColumnMap: naming the pair and what would be right.
    """
    if not pairs:
        return None
    from meterbridge.adapters.formats import ColumnMap

    return ColumnMap.parse(pairs)
