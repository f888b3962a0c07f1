"""What so many tokens a day need, computed from what was measured; the tables of docs/scale.md.

    scripts/bench scale              print the tables
    scripts/bench scale --json       the same as one object
    scripts/bench scale --update     write them into docs/scale.md

The figures stand in tests/bench/scale-figures.json, each with the command that gave it. A test computes the
tables again, so that document and figures cannot part; another holds the figures' gas against the snapshot.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "scale-figures.json"
DOCUMENT = HERE.parents[1] / "docs" / "scale.md"
BEGIN, END = "<!-- computed: {} -->", "<!-- end of {} -->"
DAY = 86_400
TOKENS_A_CALL = 1_366
LINES = 1_000
RETENTION_DAYS = 35


@dataclass(frozen=True, slots=True)
class Load:
    """A day of a provider, or of many."""

    name: str
    tokens: int
    payers: int

    @property
    def receipts(self) -> int:
        return -(-self.tokens // TOKENS_A_CALL)

    @property
    def per_second(self) -> float:
        return self.receipts / DAY


LOADS = (
    Load("a million", 10**6, 1),
    Load("a billion", 10**9, 1_000),
    Load("140 trillion", 140 * 10**12, 1_000_000),
)


def needs(figures: dict[str, Any], load: Load) -> dict[str, float]:
    """Return what a day needs; cores are busy all day, with nothing to spare for peaks."""
    stored = figures["stored_bytes_per_receipt"]
    assumed = figures["assumed"]
    settlements = load.payers * assumed["settlements_a_day"]
    transactions = assumed["settlements_a_day"] * -(-load.payers // LINES)
    in_full = load.payers >= LINES
    gas = settlements * figures["gas"]["settle_1000_per_line" if in_full else "settle_1_warm"]
    return {
        "receipts": load.receipts,
        "receipts_per_second": load.per_second,
        "ingest_cores": load.per_second * figures["ingest_core_us"]["postgresql_1000"] / 1e6,
        "seal_cores": load.per_second * figures["seal_core_us"]["machine"] / 1e6,
        "spark_cores": load.per_second * figures["seal_core_us"].get("spark_2_executors", 0) / 1e6,
        "stored_bytes_a_day": load.receipts * stored,
        "index_bytes_in_retention": load.receipts * figures["index_bytes_per_receipt"] * RETENTION_DAYS,
        "transactions": transactions,
        "gas": gas,
        "calldata_bytes": transactions * figures["calldata_bytes"]["fixed"]
        + settlements * figures["calldata_bytes"]["line"],
        "share_of_l2": gas / (assumed["l2_gas_per_second"] * DAY),
    }


def limits(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return from which load on each part needs its next engine, in receipts a second and tokens a day."""
    assumed, cores = figures["assumed"], figures["assumed"]["machine_cores"]
    half = 0.5  # what peaks and neighbours leave
    sqlite = figures["ingest_cores_of_sqlite"] * 1e6 / figures["ingest_core_us"]["sqlite_1000"] * half
    busy = cores * 1e6 / figures["seal_core_us"]["machine"] * half
    index = assumed["disk_bytes"] * half / (figures["index_bytes_per_receipt"] * RETENTION_DAYS * DAY)
    disk = assumed["disk_bytes"] * half / (figures["stored_bytes_per_receipt"] * assumed["kept_days"] * DAY)
    lines = assumed["l2_gas_per_second"] * assumed["l2_share"] * DAY / figures["gas"]["settle_1000_per_line"]
    return [
        {"from": "SQLite", "to": "PostgreSQL", "receipts_per_second": sqlite},
        {"from": "one machine", "to": "Spark", "receipts_per_second": min(busy, index)},
        {"from": "a local folder", "to": "an object store", "receipts_per_second": disk},
        {"from": "one L2", "to": "several", "lines_a_day": lines},
    ]


def tables(figures: dict[str, Any]) -> dict[str, str]:
    """Return the tables of the document by name."""
    return {"figures": _figures_table(figures), "needs": _needs_table(figures), "limits": _limits(figures)}


def _figures_table(figures: dict[str, Any]) -> str:
    gas = figures["gas"]
    shown = [(f["what"], f["value"], f["command"]) for f in figures["shown"]]
    shown += [
        ("gas of a settlement of one payer", f"{gas['settle_1_warm']:,}", "scripts/bench gas"),
        (
            "gas of each of 1,000 payers settled at once",
            f"{gas['settle_1000_per_line']:,}",
            "scripts/bench gas",
        ),
    ]
    return _table(
        ["measured", "figure", "command"], [[what, value, f"`{how}`"] for what, value, how in shown]
    )


def _needs_table(figures: dict[str, Any]) -> str:
    found = [needs(figures, load) for load in LOADS]
    rows: list[tuple[str, list[str]]] = [
        ("payers (assumed)", [_count(load.payers) for load in LOADS]),
        ("calls, hence receipts, a day", [_count(n["receipts"]) for n in found]),
        ("receipts a second, on average", [_count(n["receipts_per_second"]) for n in found]),
        ("cores to take them in over HTTP, PostgreSQL", [_cores(n["ingest_cores"]) for n in found]),
        ("cores to seal them from files, one machine", [_cores(n["seal_cores"]) for n in found]),
        ("cores to seal them, Spark", [_cores(n["spark_cores"]) for n in found]),
        ("segments, trees and index a day", [_bytes(n["stored_bytes_a_day"]) for n in found]),
        ("index of 35 days, to tell what is new", [_bytes(n["index_bytes_in_retention"]) for n in found]),
        ("transactions a day, every payer settled daily", [_count(n["transactions"]) for n in found]),
        ("gas a day", [_count(n["gas"]) for n in found]),
        ("calldata a day", [_bytes(n["calldata_bytes"]) for n in found]),
        ("share of one L2's gas", [f"{100 * n['share_of_l2']:.2g} %" for n in found]),
    ]
    if "spark_2_executors" not in figures["seal_core_us"]:  # what was not measured is not said
        rows = [row for row in rows if "Spark" not in row[0]]
    head = ["tokens a day", *(load.name for load in LOADS)]
    return _table(head, [[name, *cells] for name, cells in rows])


def _limits(figures: dict[str, Any]) -> str:
    rows = []
    for limit in limits(figures):
        if "lines_a_day" in limit:
            at = f"{_count(limit['lines_a_day'])} payers settled a day"
        else:
            rate = limit["receipts_per_second"]
            at = f"{_count(rate)} receipts a second, {_count(rate * DAY * TOKENS_A_CALL)} tokens a day"
        rows.append([limit["from"], limit["to"], at])
    return _table(["from", "to", "at about"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _count(number: float) -> str:
    """Return a number with three digits that count, and its name where it is large."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{_three(number / size)} {name}"
    return f"{round(number):,}" if number >= 10 or number == round(number) else f"{number:.2g}"


def _three(number: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(number)))
    return f"{number:,.{digits}f}"


def _cores(number: float) -> str:
    return "a fraction of one" if number < 0.1 else _count(math.ceil(number))


def _bytes(number: float) -> str:
    for size, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{_three(number / size)} {name}"
    return f"{round(number)} B"


def calldata_bytes(lines: int) -> int:
    """Return how long the call that settles so many lines is."""
    from eth_abi import encode

    artifact = HERE.parents[1] / "src" / "meterbridge" / "contracts" / "SettlementSplitter.json"
    abi = json.loads(artifact.read_text(encoding="utf-8"))["abi"]
    (settle,) = (item for item in abi if item.get("name") == "settle")
    kinds = [_kind(field) for field in settle["inputs"]]
    zero = bytes(32)
    address = "0x" + "11" * 20
    tariff = (address, zero, (1, 2), 6, 3600, zero)
    line = (address, (1, 2), zero)
    values = {
        "signer": address,
        "signature": bytes(65),
        "sealedAt": 1,
        "tariff": tariff,
        "lines": [line] * lines,
    }
    return 4 + len(encode(kinds, [values[field["name"]] for field in settle["inputs"]]))


def _kind(field: dict[str, Any]) -> str:
    if not field["type"].startswith("tuple"):
        return str(field["type"])
    inner = ",".join(_kind(part) for part in field["components"])
    return f"({inner}){field['type'].removeprefix('tuple')}"


def filled(document: str, figures: dict[str, Any]) -> str:
    """Return a document with its tables computed anew."""
    for name, table in tables(figures).items():
        begin, end = BEGIN.format(name), END.format(name)
        before, _, rest = document.partition(begin)
        _, mark, after = rest.partition(end)
        if not mark:
            raise ValueError(f"the document has no place for {name}: {begin} ... {end}")
        document = f"{before}{begin}\n{table}\n{end}{after}"
    return document


def load_figures() -> dict[str, Any]:
    """Return the committed figures."""
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Print the tables, or write them into the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one object for machines")
    parser.add_argument("--update", action="store_true", help="write the tables into docs/scale.md")
    options = parser.parse_args()
    figures = load_figures()
    if options.update:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(filled(text, figures), encoding="utf-8")
    elif options.json:
        print(json.dumps({"needs": {x.name: needs(figures, x) for x in LOADS}, "limits": limits(figures)}))
    else:
        print("\n\n".join(tables(figures).values()))


if __name__ == "__main__":
    main()
