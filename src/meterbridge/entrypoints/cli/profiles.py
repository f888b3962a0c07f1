"""`meterbridge profiles`: what is taken into account on each chain."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from meterbridge.entrypoints.cli.running import JsonOption, command

ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Chain profile; without it the one of the chain that the node is on.",
    ),
]
ProfilesOption = Annotated[
    Path | None,
    typer.Option(
        "--profiles",
        metavar="FILE",
        envvar="METERBRIDGE_PROFILES",
        help="Your own profiles; what they do not say stays.",
    ),
]


@command
def profiles(
    name: Annotated[str | None, typer.Argument(help="Only this profile.")] = None,
    own: ProfilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the chain profiles: confirmations, caps and fee policy of each chain.

    They stand in one file, with what each value means: profiles.toml in the package, whose path is shown.

    Try:

      meterbridge profiles base

      meterbridge profiles --profiles my-chains.toml
    """
    from meterbridge.adapters import profiles as adapter
    from meterbridge.entrypoints.cli.output import Output

    output, found = Output(as_json), adapter.load_profiles(own)
    if name is not None and name not in found:
        raise adapter.BadProfile(f"there is no profile {name!r}; there are: {', '.join(found)}", name)
    shown = [profile for profile in found.values() if name in (None, profile.name)]
    for profile in shown:
        values = dataclasses.asdict(profile)
        rows = [(key, _shown(value)) for key, value in values.items() if key not in ("name", "title")]
        output.table(f"{profile.name}: {profile.title}", ["", ">"], rows)
    output.say(f"The file: {Path(adapter.__file__).parents[1] / 'profiles.toml'}")
    if own is not None:
        output.say(f"On top of it: {own}")
    output.result({"profiles": {profile.name: dataclasses.asdict(profile) for profile in shown}})


def _shown(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
