"""The vectors, and that the checker notices every change to them."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from meterbridge.services.conformance import BadVectorsFile, check_vectors

Path = tuple[str | int, ...]


def test_every_case_of_the_vectors_holds(vectors: dict[str, Any]) -> None:
    report = check_vectors(vectors)
    assert report.differences == []
    assert report.checked["refused"] == len(vectors["refused"])
    assert set(report.checked) == set(vectors) - {"protocol", "blind"}


def leaves_of(value: Any, path: Path = ()) -> list[Path]:
    if isinstance(value, dict):
        return [leaf for key, child in value.items() for leaf in leaves_of(child, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, child in enumerate(value) for leaf in leaves_of(child, (*path, i))]
    return [path]


def altered(value: Any) -> Any:
    """Return a neighbouring value of the same kind."""
    if isinstance(value, int):
        return value + 1
    if value in ("left", "right"):
        return "right" if value == "left" else "left"
    if value.startswith("0x"):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    if value.lstrip("-").isdigit():
        return str(int(value) + 1)
    return value + "x"


def with_change(vectors: dict[str, Any], path: Path) -> dict[str, Any]:
    changed = copy.deepcopy(vectors)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = altered(place[path[-1]])
    return changed


def test_any_changed_value_is_noticed(vectors: dict[str, Any]) -> None:
    # Cases under `refused` must stay refused when an unrelated field moves, so they are left out here.
    small = {k: v if isinstance(v, str) else v[:2] for k, v in vectors.items() if k != "refused"}
    # Prices and entitlements are rounded down: one unit more at their input may leave them as they are.
    inputs_of_a_floor = ("usage", "pot")
    paths = [
        p
        for p in leaves_of(small)
        if p[0] not in ("protocol", "blind")
        and not (p[0] in ("tariffs", "splits") and any(step in inputs_of_a_floor for step in p))
    ]
    chosen = random.Random(7).sample(paths, 250)
    unnoticed = [p for p in chosen if check_vectors(with_change(small, p)).ok]
    assert unnoticed == []


def test_a_wrong_blind_is_noticed(vectors: dict[str, Any]) -> None:
    assert not check_vectors({**vectors, "blind": "0x" + "11" * 32}).ok


@pytest.mark.parametrize("index", range(14))
def test_an_acceptable_case_under_refused_is_reported(vectors: dict[str, Any], index: int) -> None:
    fixed: dict[str, dict[str, Any]] = {
        "receipts": {"receipts": vectors["batches"][1]["receipts"]},
        "nodes": {"nodes": [{k: vectors["batches"][0][k] for k in ("root", "sum")}] * 2},
        "parties": {"parties": vectors["splits"][2]["parties"]},
        "tariff": {"tariff": vectors["tariffs"][1]},
    }
    case = vectors["refused"][index]
    kind = next(k for k in fixed if k in case)
    report = check_vectors({**vectors, "refused": [{"rule": case["rule"], **fixed[kind]}]})
    assert [d.found for d in report.differences] == ["accepted"]


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {},
        {"protocol": "meterbridge/2"},
        {"protocol": "meterbridge/1"},
        {"protocol": "meterbridge/1", "blind": "0x00", "receits": []},
    ],
)
def test_what_is_no_vectors_file_is_refused(broken: object) -> None:
    with pytest.raises(BadVectorsFile):
        check_vectors(broken)


def test_a_malformed_case_is_a_difference_and_the_others_go_on(vectors: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(vectors))
    del broken["batches"][0]["proofs"]
    broken["tariffs"][0]["rates"] = 7
    report = check_vectors(broken)
    assert {d.where for d in report.differences} == {"batches[0]", "tariffs[0]"}


def test_a_difference_names_the_very_field_in_hex(vectors: dict[str, Any]) -> None:
    changed = with_change(vectors, ("batches", 3, "proofs", 1, "siblings", 2, "root"))
    (difference,) = [d for d in check_vectors(changed).differences if "proofs" in d.where]
    assert difference.where == "batches[3].proofs[1][2].root"
    assert difference.expected == changed["batches"][3]["proofs"][1]["siblings"][2]["root"]
    assert difference.found == vectors["batches"][3]["proofs"][1]["siblings"][2]["root"]
