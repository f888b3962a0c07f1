"""Chain profiles: one readable file, one of the user's on top, and nothing misspelt goes unseen."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from meterbridge.adapters.profiles import BadProfile, load_profiles, profile_for
from meterbridge.services.chain_errors import WrongChain

CHAINS = {"ethereum": 1, "base": 8453, "optimism": 10, "arbitrum": 42161, "local": 31337}


@pytest.mark.parametrize(("name", "chain_id"), CHAINS.items())
def test_each_chain_has_a_profile_by_its_id(name: str, chain_id: int) -> None:
    profile = profile_for(chain_id)
    assert profile.name == name
    assert profile.gas_cap == 2**24
    assert profile_for(chain_id, name) == profile
    assert profile.policy().gas_cap == 2**24
    assert profile.policy(bump_after_seconds=9).bump_after_seconds == 9


def test_every_value_in_the_file_is_what_the_profile_has() -> None:
    text = (files("meterbridge") / "profiles.toml").read_text()
    for name, table in tomllib.loads(text).items():
        profile = load_profiles()[name]
        for key, value in table.items():
            if key != "like":
                assert getattr(profile, key) == (tuple(value) if isinstance(value, list) else value)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    keys = {key for table in tomllib.loads(text).values() for key in table} - {"like", "title"}
    for key in keys:
        assert any(line.startswith(f"# {key} ") for line in comments), f"the file does not explain {key}"


def test_unknown_chains_are_waited_for_long() -> None:
    other = profile_for(987654321)
    assert (other.name, other.following()["confirmations"]) == ("other", 63)


def test_a_file_of_ones_own_changes_what_it_names(tmp_path: Path) -> None:
    own = tmp_path / "profiles.toml"
    own.write_text(
        '[base]\nfinality = "latest"\nconfirmations = 5\n\n[mine]\ntitle = "Mine"\nlike = "optimism"\n'
        "chain_ids = [77]\nblock_millis = 500\n"
    )
    base = profile_for(8453, own=own)
    assert (base.finality, base.confirmations, base.block_millis) == ("latest", 5, 2000)
    assert (base.policy().confirmations, base.policy().finality) == (5, None)
    mine = profile_for(77, own=own)
    assert (mine.name, mine.block_millis, mine.finality) == ("mine", 500, "latest"), (
        "like another, as that is now"
    )
    assert profile_for(8453).finality == "finalized"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[base]\nconfirmation = 5\n", "unknown name 'confirmation'"),
        ('[base]\nfinality = "soon"\n', "finality is 'soon'"),
        ("[base]\ngas_cap = 1.5\n", r"gas_cap is 1\.5"),
        ("[base]\ngas_cap = true\n", "gas_cap is True"),
        ("[base]\nlog_range = 0\n", "log_range is 0"),
        ('[base]\nchain_ids = ["1"]\n', "chain_ids are"),
        ("[base]\nchain_ids = 1\n", "chain_ids is 1"),
        ('[mine]\ntitle = "x"\n', "lacks .*gas_cap"),
        ('[mine]\nlike = "mine"\n', "which is like it"),
        ('[mine]\nlike = "bas"\n', "'bas', which there is not"),
        ("confirmations = 5\n", "outside of a profile"),
        ("[base\n", "is no TOML"),
    ],
)
def test_what_a_profile_cannot_be_is_refused_by_name(text: str, said: str, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(BadProfile, match=said):
        load_profiles(own)


def test_a_profile_of_another_chain_is_refused() -> None:
    with pytest.raises(WrongChain, match="'base' is for chains 8453, 84532; the node is on 1"):
        profile_for(1, "base")
    with pytest.raises(BadProfile, match="no profile 'bse'; there are: local, ethereum, base"):
        profile_for(1, "bse")
