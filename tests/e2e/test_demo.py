"""The demo, step by step, held against arithmetic of its own, other libraries, and interruptions."""

from __future__ import annotations

import csv
import json
import random
import signal
import sqlite3
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from meterbridge.adapters.formats.sample import make_sample_log
from meterbridge.entrypoints.demo.setting import DOCUMENT, MEMBERS

from .conftest import Cli

AMOUNTS = ("deposited", "drawn", "claimed", "withdrawn", "escrow_left", "pot_left")
STATEMENT_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Statement": [
        {"name": "tariffId", "type": "bytes32"},
        {"name": "sealedAt", "type": "uint64"},
        {"name": "lines", "type": "Line[]"},
    ],
    "Line": [
        {"name": "payer", "type": "address"},
        {"name": "usage", "type": "uint256[2]"},
        {"name": "head", "type": "bytes32"},
    ],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """One whole run: its folder, its answer, and what it says to people."""
    folder = tmp_path_factory.mktemp("demo")
    cli = Cli(folder)
    words = cli.ok("demo", "--out", "run")
    answer = cli.json("demo", "--out", "run")
    return folder / "run", answer, words


def by_hand(file: Path) -> tuple[int, Fraction]:
    """Count and price a sample log by naive reading: calls, and base units."""
    prices = {b: Fraction(m["price"]) * 10**6 / m["per"] for m in DOCUMENT["meters"] for b in m["buckets"]}
    calls, worth = 0, Fraction(0)
    for line in file.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        calls += 1
        worth += sum((prices[bucket] * count for bucket, count in buckets_of(record).items()), Fraction(0))
    return calls, worth


def buckets_of(record: dict[str, Any]) -> dict[str, int]:
    """Sort one call's counts into buckets, as its provider documents them."""
    record = record.get("data", record)
    usage = record.get("usage") or record.get("usageMetadata") or record.get("usage_metadata")
    found: dict[str, int] = defaultdict(int)
    if "promptTokenCount" in usage:
        cached = usage.get("cachedContentTokenCount", 0)
        images = sum(
            d["tokenCount"] for d in usage.get("promptTokensDetails", []) if d["modality"] == "IMAGE"
        )
        cached_images = sum(
            d["tokenCount"] for d in usage.get("cacheTokensDetails", []) if d["modality"] == "IMAGE"
        )
        found["image_input"] += images - cached_images
        found["input"] += usage["promptTokenCount"] - cached - (images - cached_images)
        found["cache_read"] += cached
        found["output"] += usage.get("candidatesTokenCount", 0)
        found["reasoning"] += usage.get("thoughtsTokenCount", 0)
        found["tool_prompt"] += usage.get("toolUsePromptTokenCount", 0)
    elif "prompt_tokens" in usage:
        details, answer = usage.get("prompt_tokens_details", {}), usage.get("completion_tokens_details", {})
        found["cache_read"] += details.get("cached_tokens", 0)
        found["input"] += usage["prompt_tokens"] - details.get("cached_tokens", 0)
        found["reasoning"] += answer.get("reasoning_tokens", 0)
        found["output"] += usage["completion_tokens"] - answer.get("reasoning_tokens", 0)
    else:
        found["input"] += usage["input_tokens"]
        found["output"] += usage["output_tokens"]
        found["cache_read"] += usage.get("cache_read_input_tokens", 0)
        found["cache_write"] += usage.get("cache_creation_input_tokens", 0)
        found["tool_requests"] += sum(usage.get("server_tool_use", {}).values())
    return found


def segments(folder: Path, log: str) -> list[Any]:
    return [pq.read_table(file) for file in sorted(folder.glob(f"segments/*/*/{log}/*.parquet"))]


def test_the_answer_has_its_keys_and_every_base_unit_is_somewhere(
    finished: tuple[Path, dict[str, Any], str],
) -> None:
    _, answer, _ = finished
    assert set(answer) >= {"receipts", "batches", "statements", *AMOUNTS, "verified"}
    assert all(isinstance(answer[key], str) and answer[key].isdigit() for key in AMOUNTS)
    amounts = {key: int(answer[key]) for key in AMOUNTS}
    left = amounts["claimed"] + amounts["withdrawn"] + amounts["escrow_left"] + amounts["pot_left"]
    assert amounts["deposited"] == left > 0
    assert amounts["drawn"] == amounts["claimed"] + amounts["pot_left"] > 0
    assert amounts["withdrawn"] > 0
    assert answer["verified"] is True


def test_every_call_of_the_log_is_in_exactly_one_receipt(
    finished: tuple[Path, dict[str, Any], str],
) -> None:
    folder, answer, _ = finished
    calls, _ = by_hand(folder / "usage.ndjson")
    charges = segments(folder, "charges")
    ids = [i for table in charges for i in table.column("id").to_pylist()]
    assert calls == 20_000 == len(ids) == len(set(ids))
    events = [
        pair
        for table in charges
        for pair in zip(table.column("source").to_pylist(), table.column("event_id").to_pylist(), strict=True)
    ]
    assert len(set(events)) == 20_000
    credited = sum(table.num_rows for table in segments(folder, "credits"))
    assert credited == 1
    assert answer["receipts"] == 20_001
    assert answer["batches"] == len(charges) + 1


def test_what_was_drawn_is_what_the_log_costs_by_hand(finished: tuple[Path, dict[str, Any], str]) -> None:
    folder, answer, words = finished
    _, worth = by_hand(folder / "usage.ndjson")
    prices = [Fraction(m["price"]) * 10**6 / m["per"] for m in DOCUMENT["meters"]]
    (credit,) = segments(folder, "credits")
    lanes = [credit.column(name).to_pylist()[0] for name in credit.column_names if "usage" in name]
    taken_back = sum((p * n for p, n in zip(prices, lanes, strict=True)), Fraction(0))
    assert taken_back > 0
    # Each of the three payers' cumulative prices is rounded down once.
    assert 0 <= worth - taken_back - int(answer["drawn"]) < 3
    assert "ran dry and held up nobody" in words


def test_each_party_got_its_share_of_all_that_was_drawn(finished: tuple[Path, dict[str, Any], str]) -> None:
    _, answer, _ = finished
    drawn = int(answer["drawn"])
    assert int(answer["claimed"]) == sum(drawn * member.share // 1000 for member in MEMBERS)
    assert int(answer["pot_left"]) < len(MEMBERS)


def test_statements_are_signed_as_another_library_reads_them(
    finished: tuple[Path, dict[str, Any], str],
) -> None:
    folder, answer, _ = finished
    files = sorted((folder / "statements").glob("*.json"))
    assert len(files) == answer["statements"] == 5
    times = []
    for file in files:
        signed = json.loads(file.read_text(encoding="utf-8"))
        times.append(signed["sealedAt"])
        message = {
            "tariffId": signed["tariffId"],
            "sealedAt": signed["sealedAt"],
            "lines": [
                {"payer": x["payer"], "usage": words_of(x["usage"]), "head": x["head"]}
                for x in signed["lines"]
            ],
        }
        encoded = encode_typed_data(
            full_message={
                "types": STATEMENT_TYPES,
                "primaryType": "Statement",
                "domain": signed["domain"],
                "message": message,
            }
        )
        recovered = Account.recover_message(encoded, signature=signed["signature"])
        assert recovered.lower() == signed["signer"].lower()
    assert len(set(times)) == 5


def words_of(lanes: list[str]) -> list[int]:
    """Pack eight signed lanes into two words, first lane highest."""
    packed = [int(lane) % 2**64 for lane in lanes]
    return [sum(lane << 64 * (3 - i) for i, lane in enumerate(packed[at : at + 4])) for at in (0, 4)]


def test_people_are_shown_every_step(finished: tuple[Path, dict[str, Any], str]) -> None:
    _, _, words = finished
    for shown in (
        "approve",
        "permit (EIP-2612)",
        "authorisation (EIP-3009)",
        "held back",
        "draws 0 the second time",
        "the same statement drew the remaining",
        "is shut out for",
        "BadSignature",
        "InvalidSignature",
        "SignerNotAuthorized",
        "withdrew it 3,600 seconds later",
        "Every base unit of every deposit",
        "deposited",
    ):
        assert shown in " ".join(words.split()), shown


def test_the_proof_verifies_and_a_tampered_one_does_not(
    finished: tuple[Path, dict[str, Any], str], cli: Cli
) -> None:
    folder, _, _ = finished
    (file,) = (folder / "proofs").glob("*.json")
    assert cli.json("verify", str(file))["verified"] is True
    proof = file.read_text(encoding="utf-8")
    digits = [i for i, character in enumerate(proof) if character.isdigit()]
    forged = cli.folder / "forged.json"
    for place in random.Random(3).sample(digits, 6):
        forged.write_text(proof[:place] + str((int(proof[place]) + 1) % 10) + proof[place + 1 :])
        cli.refused("verify", str(forged))


def test_the_keys_of_the_demo_are_readable_by_their_owner_only(
    finished: tuple[Path, dict[str, Any], str],
) -> None:
    folder, _, words = finished
    assert (folder / "demo.json").stat().st_mode & 0o077 == 0
    for key in json.loads((folder / "demo.json").read_text())["keys"].values():
        assert key not in words


TRACES = {
    "AzureLLMInferenceTrace_code.csv": 8_819,
    "AzureLLMInferenceTrace_conv.csv": 19_366,
    "mooncake_conversation_trace.jsonl": 12_031,
}


@pytest.mark.parametrize("name", TRACES)
def test_real_traces_run_through(name: str, shared_data: Path, cli: Cli) -> None:
    answer = cli.json("demo", "--usage", str(shared_data / name), "--out", "run")
    assert answer["verified"] is True
    assert answer["receipts"] == TRACES[name] + 1
    lanes = [0] * 8
    for table in segments(cli.folder / "run", "charges"):
        columns = [c for c in table.column_names if "usage" in c]
        for lane, column in enumerate(columns):
            lanes[lane] += sum(table.column(column).to_pylist())
    assert (lanes[0] + lanes[1], lanes[3]) == totals_of(shared_data / name)


def totals_of(file: Path) -> tuple[int, int]:
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8-sig") as rows:
            counts = [(int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(rows)]
    else:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        counts = [(line["input_length"], line["output_length"]) for line in lines]
    return sum(c[0] for c in counts), sum(c[1] for c in counts)


def test_a_log_of_three_rows_runs_through(cli: Cli) -> None:
    (cli.folder / "calls.csv").write_text(
        "call,when,prompt,answer\na,2026-01-01T00:00:00Z,1000,100\nb,2026-01-01T00:00:01Z,2000,200\n"
        "c,2026-01-01T00:00:02Z,3000,300"
    )
    columns = "id=call time=when input=prompt output=answer"
    answer = cli.json("demo", "--usage", "calls.csv", "--map", columns, "--out", "run")
    assert answer["verified"] is True
    assert answer["receipts"] == 4


def test_a_bad_row_stops_the_demo_and_is_named(cli: Cli) -> None:
    (cli.folder / "calls.csv").write_text(
        "call,when,prompt\na,2026-01-01T00:00:00Z,1000\nb,2026-01-01T00:00:01Z,-5\nc,2026-01-01T00:00:02Z,7\n"
    )
    command = ["demo", "--usage", "calls.csv", "--map", "id=call time=when input=prompt", "--out", "run"]
    line = cli.refused(*command)
    assert "row 3" in line
    assert "-5" in line
    assert cli.json(*command, "--skip-bad")["receipts"] == 3


@pytest.mark.parametrize(
    ("said", "how"),
    [
        ("Deposits", signal.SIGKILL),
        ("Statements", signal.SIGINT),
        ("held up nobody", signal.SIGKILL),
        ("Claims", signal.SIGTERM),
    ],
)
def test_an_interrupted_demo_goes_on(cli: Cli, said: str, how: signal.Signals) -> None:
    (cli.folder / "calls.ndjson").write_text("".join(make_sample_log(2_000, seed=5)))
    command = ["demo", "--usage", "calls.ndjson", "--out", "run"]
    process = cli.start(*command)
    assert process.stdout is not None
    seen = next((line for line in process.stdout if said in line), None)
    process.send_signal(how)
    process.communicate()
    assert seen is not None
    assert process.returncode in (-signal.SIGKILL, -signal.SIGTERM, 130)
    answer = cli.json(*command)
    assert answer["verified"] is True
    assert answer["receipts"] == 2_001
    ids = [i for t in segments(cli.folder / "run", "charges") for i in t.column("id").to_pylist()]
    assert len(ids) == len(set(ids)) == 2_000
    with sqlite3.connect(cli.folder / "run" / "ledger.db") as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]


@pytest.mark.node
def test_the_demo_on_a_real_node_and_again_on_the_same(cli: Cli, anvil_rpc: str) -> None:
    first = cli.json("demo", "--rpc", anvil_rpc, "--out", "run")
    assert first["verified"] is True
    again = cli.json("demo", "--rpc", anvil_rpc, "--out", "run")
    assert again == first
