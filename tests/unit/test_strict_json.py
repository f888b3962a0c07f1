"""Strict JSON: what is refused, and that hostile texts take no more time than others."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.strict_json import _BRACKETS, DEPTH_MAX, BadJson, load_strict

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read_back(value: object) -> None:
    assert load_strict(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["", "{", '{"a":1,"a":2}', "1.0", "NaN", "1e3", b"\xff", '"'])
def test_what_is_not_strict_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadJson):
        load_strict(text)


def test_nesting_is_bounded() -> None:
    deep = "[" * DEPTH_MAX + "]" * DEPTH_MAX
    assert load_strict(deep) is not None
    with pytest.raises(BadJson, match="deeper"):
        load_strict(f"[{deep}]")


@pytest.mark.parametrize("tail", ["", "\\"])
def test_a_string_that_never_closes_is_read_once(tail: str) -> None:
    # One match up to the end; searching on at each escaped quote would take quadratic time.
    hostile = '"' + '\\"' * 1000 + tail
    (match,) = _BRACKETS.finditer(hostile)
    assert match.end() == len(hostile)
    with pytest.raises(BadJson):
        load_strict(hostile)


RAISED = """
import sys
from meterbridge.adapters.formats import parse_json
from meterbridge.adapters.formats.errors import BadUsage
sys.setrecursionlimit(1_000_000)
for deep in ("[" * 300_000, '{"a":' * 300_000):
    try:
        parse_json(deep)
    except BadUsage:
        print("refused")
"""


def test_deep_nesting_crashes_nothing_where_a_library_has_raised_the_limit() -> None:
    # py-evm raises Python's limit to where its JSON parser runs out of stack and takes the process along.
    run = subprocess.run([sys.executable, "-c", RAISED], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.split()) == (0, ["refused", "refused"])
