"""Chain profiles: what is taken into account on each chain, from one readable file and one of the user's."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.chain_errors import WrongChain

if TYPE_CHECKING:
    from meterbridge.services.settling.policy import Policy

OTHER: Final = "other"
FINALITIES: Final = ("latest", "safe", "finalized")
_LIKE: Final = "like"
_MAY_BE_ZERO: Final = ("tip_floor_wei",)


class BadProfile(MeterbridgeError):
    """A profile has a name or a value that it cannot have, or does not exist."""


@dataclass(frozen=True, slots=True)
class ChainProfile:
    """What is taken into account on a chain; `profiles.toml` says what each value means.

    Raises:
        BadProfile: naming the value that it cannot have.
    """

    name: str
    title: str
    chain_ids: tuple[int, ...]
    block_millis: int
    finality: str
    confirmations: int
    log_range: int
    gas_cap: int
    fee_ceiling_wei: int
    tip_floor_wei: int
    bump_after_seconds: int
    rpc_timeout_seconds: int
    behind_seconds: int

    def __post_init__(self) -> None:
        where = f"profile {self.name!r}"
        if self.finality not in FINALITIES:
            raise BadProfile(
                f"{where}: finality is {self.finality!r}; it must be one of {FINALITIES}", self.finality
            )
        if not isinstance(self.title, str):
            raise BadProfile(f"{where}: title is {self.title!r}; it must be a text", self.title)
        for field in dataclasses.fields(self):
            if field.type != "int":
                continue
            value, least = getattr(self, field.name), 0 if field.name in _MAY_BE_ZERO else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadProfile(
                    f"{where}: {field.name} is {value!r}; it must be a whole number from {least}", value
                )
        if any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in self.chain_ids):
            raise BadProfile(
                f"{where}: chain_ids are {self.chain_ids!r}; they must be whole numbers", self.chain_ids
            )

    def policy(self, **decided: Any) -> Policy:
        """Return the settling policy for this chain; `decided` are the operator's own values."""
        from meterbridge.services.settling.policy import Policy

        usual = {
            "confirmations": self.confirmations,
            "finality": None if self.finality == "latest" else self.finality,
            "fee_ceiling_wei": self.fee_ceiling_wei,
            "tip_floor_wei": self.tip_floor_wei,
            "bump_after_seconds": self.bump_after_seconds,
            "gas_cap": self.gas_cap,
        }
        return Policy(**(usual | decided))

    def following(self) -> dict[str, Any]:
        """Return what `adapters.chain.followed.FollowedSplitter` takes of it."""
        below = self.confirmations - 1 if self.finality == "latest" else 0
        return {"finality": self.finality, "confirmations": below, "log_range": self.log_range}


def load_profiles(own: Path | None = None) -> dict[str, ChainProfile]:
    """Read the profiles of this release, and on top of them those of the user's own file.

    Raises:
        BadProfile: naming the file and what is wrong in it.
    """
    shipped = (files("meterbridge") / "profiles.toml").read_text(encoding="utf-8")
    tables = _tables(shipped, "profiles.toml")
    if own is not None:
        for name, values in _tables(own.read_text(encoding="utf-8"), str(own)).items():
            tables[name] = {**tables.get(name, {}), **values}
    return {name: _profile(name, tables) for name in tables}


def profile_for(chain_id: int, name: str | None = None, own: Path | None = None) -> ChainProfile:
    """Return the profile that is named or, without a name, that of the chain; else the one for any other.

    Raises:
        BadProfile: when there is none of that name.
        WrongChain: when the one that is named is for other chains.
    """
    profiles = load_profiles(own)
    if name is None:
        return next((p for p in profiles.values() if chain_id in p.chain_ids), profiles[OTHER])
    if name not in profiles:
        raise BadProfile(f"there is no profile {name!r}; there are: {', '.join(profiles)}", name)
    found = profiles[name]
    if found.chain_ids and chain_id not in found.chain_ids:
        chains = ", ".join(map(str, found.chain_ids))
        raise WrongChain(f"profile {name!r} is for chains {chains}; the node is on {chain_id}", chain_id)
    return found


def _tables(text: str, file: str) -> dict[str, dict[str, Any]]:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadProfile(f"{file} is no TOML: {error}", file) from error
    known = {field.name for field in dataclasses.fields(ChainProfile)} - {"name"} | {_LIKE}
    for name, values in found.items():
        if not isinstance(values, dict):
            raise BadProfile(f"{file}: {name} stands outside of a profile; begin one with [NAME]", name)
        for key in values:
            if key not in known:
                raise BadProfile(
                    f"{file}: profile {name!r} has an unknown name {key!r}; there are: "
                    f"{', '.join(sorted(known))}",
                    key,
                )
    return found


def _profile(name: str, tables: Mapping[str, Mapping[str, Any]]) -> ChainProfile:
    values, seen = dict(tables[name]), [name]
    while (like := values.pop(_LIKE, None)) is not None:
        if like not in tables or like in seen:
            raise BadProfile(
                f"profile {name!r} is like {like!r}, which there is not, or which is like it", like
            )
        seen.append(like)
        # The chains are its own: nobody's profile is taken over for them by being like it.
        values = {**tables[like], "chain_ids": [], **values}
    wanted = {field.name for field in dataclasses.fields(ChainProfile)} - {"name"}
    if missing := sorted(wanted - values.keys()):
        raise BadProfile(
            f'profile {name!r} lacks {", ".join(missing)}; with like = "base" it takes them from there',
            missing,
        )
    if not isinstance(values["chain_ids"], list):
        raise BadProfile(f"profile {name!r}: chain_ids is {values['chain_ids']!r}; it must be a list", name)
    return ChainProfile(name=name, **{**values, "chain_ids": tuple(values["chain_ids"])})
