"""Puts mutants to the test, cheapest tests first, and keeps each result at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

from mutation.mutants import SPLITTER, Mutant
from mutation.workshop import WORK, Build, Workshop, WorkshopError, digest, prepare

JOURNAL = WORK / "journal.jsonl"
CHECKED = WORK / "checked.json"
Step = tuple[tuple[str, ...], Mapping[str, str]]
# The tests that end within half a second, those that take another one, and all, as they are run every day.
UNIT: Step = (("--no-match-path", "tests/contracts/{invariant/*,fuzz/*,unit/Vectors*}"), {})
FUZZ: Step = (("--match-path", "tests/contracts/fuzz/*"), {"FOUNDRY_FUZZ_RUNS": "16"})
ALL: Step = ((), {})
# What must be noticed, or the machinery is broken: a payer's money that goes nowhere.
NOTICED = ("if (sum != 0) _allocate(tariff.splitId, sum);", "")
KINDS = ("killed", "survived", "same", "invalid")


@dataclass(frozen=True)
class Result:
    """What became of a mutant.

    `kind` is killed (by the test named in `by`), survived (all tests pass), same (what is shipped compiles
    to the same bytes, so that no test can tell it apart) or invalid (it does not compile).
    """

    key: str
    kind: str
    by: str
    change: str
    seconds: float
    contracts: str
    tests: str

    @property
    def file(self) -> str:
        """Return the file it is in."""
        return self.change.split(":")[0]


class Campaign:
    """One run over some mutants, with as many workshops as there are jobs."""

    def __init__(self, jobs: int, minutes: float | None) -> None:
        self._jobs = jobs
        self._ends = time.monotonic() + minutes * 60 if minutes else None
        self._contracts, self._tests = digest("contracts"), digest("tests/contracts")
        self._idle: SimpleQueue[Workshop] = SimpleQueue()
        self._lock = Lock()
        self._shipped: Mapping[str, str] = {}

    def run(self, mutants: Iterable[Mutant], *, resume: bool) -> Iterator[Result]:
        """Yield a result for each mutant; with `resume`, those known of these contracts are not run again.

        A mutant that survived other tests than those that there are now is run again.
        """
        known = journal(self._contracts) if resume else {}
        if not resume:
            JOURNAL.unlink(missing_ok=True)
        todo = []
        for mutant in mutants:
            found = known.get(mutant.key)
            if found is None or (found.kind == "survived" and found.tests != self._tests):
                todo.append(mutant)
            else:
                yield found
        if todo:
            yield from self._run(todo)

    def _run(self, todo: list[Mutant]) -> Iterator[Result]:
        prepare()
        workshops = [Workshop(str(number)) for number in range(1, self._jobs + 1)]
        try:
            self._shipped = _checked(workshops[0], f"{self._contracts} {self._tests}")
            for workshop in workshops:
                self._idle.put(workshop)
            with ThreadPoolExecutor(self._jobs) as pool:
                yield from (result for result in pool.map(self._one, todo) if result is not None)
        finally:
            for workshop in workshops:
                workshop.close()

    def _one(self, mutant: Mutant) -> Result | None:
        if self._ends is not None and time.monotonic() > self._ends:
            return None
        workshop = self._idle.get()
        started = time.monotonic()
        try:
            kind, by = _judged(workshop, mutant, self._shipped)
        finally:
            self._idle.put(workshop)
        seconds = round(time.monotonic() - started, 1)
        result = Result(mutant.key, kind, by, mutant.change, seconds, self._contracts, self._tests)
        with self._lock, JOURNAL.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        return result


def _judged(workshop: Workshop, mutant: Mutant, shipped: Mapping[str, str]) -> tuple[str, str]:
    """Return what becomes of a mutant, and which test killed it."""
    quick = workshop.quick(mutant)
    if quick.errors:
        return "invalid", ""
    if killer := _killer(workshop, quick, UNIT, FUZZ):
        return "killed", killer
    build = workshop.shipped(mutant)
    if build.code["SettlementSplitter"] == shipped:
        return "same", ""
    killer = _killer(workshop, build, UNIT, ALL)
    return ("killed", killer) if killer else ("survived", "")


def _killer(workshop: Workshop, build: Build, *steps: Step) -> str:
    """Return the test that fails, or nothing when all pass."""
    for tests, settings in steps:
        verdict = workshop.test(build, tests, settings)
        if not verdict.passed:
            return verdict.failed
    return ""


def _checked(workshop: Workshop, state: str) -> Mapping[str, str]:
    """Check that the contracts pass, and that a grave change is noticed; return the contract's code."""
    known = json.loads(CHECKED.read_text(encoding="utf-8")) if CHECKED.exists() else {}
    if state in known:
        return dict(known[state])
    shipped, quick = workshop.shipped(None), workshop.quick(None)
    for build, steps in ((quick, (UNIT, FUZZ)), (shipped, (ALL,))):
        if build.errors:
            raise WorkshopError(f"the contracts do not compile: {build.errors[0]}")
        if killer := _killer(workshop, build, *steps):
            raise WorkshopError(f"{killer} fails without any change: nothing can be learned from mutants")
    if not _killer(workshop, _grave(workshop), UNIT):
        raise WorkshopError("a splitter that pays no pot passes its tests: nothing can be learned here")
    code = dict(shipped.code["SettlementSplitter"])
    CHECKED.write_text(json.dumps({state: code}), encoding="utf-8")
    return code


def _grave(workshop: Workshop) -> Build:
    text = (workshop.folder / SPLITTER).read_text(encoding="utf-8")
    numbers = [number for number, line in enumerate(text.splitlines()) if line.strip() == NOTICED[0]]
    if len(numbers) != 1:
        raise WorkshopError(f"{SPLITTER} has no line {NOTICED[0]!r}: name another grave change")
    return workshop.quick(Mutant(SPLITTER, numbers[0], text.splitlines()[numbers[0]], NOTICED[1]))


def journal(contracts: str | None = None, path: Path = JOURNAL) -> dict[str, Result]:
    """Return each mutant's last result, by key, of one state of the contracts or of the last that was run."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    wanted = contracts or (results[-1].contracts if results else "")
    return {result.key: result for result in results if result.contracts == wanted}


def summary(results: Iterable[Result], mutants: int) -> dict[str, Any]:
    """Count them. `valid` are all that compile, whether a test could notice them or not."""
    known = list(results)
    counts = Counter(result.kind for result in known)
    valid = counts["killed"] + counts["survived"] + counts["same"]
    return {
        "mutants": mutants,
        "run": len(known),
        **{kind: counts[kind] for kind in KINDS},
        "valid": valid,
        "killed_of_valid": round(counts["killed"] / valid, 4) if valid else None,
        "seconds": round(sum(result.seconds for result in known)),
        "contracts": sorted({result.contracts for result in known}),
        "tests": sorted({result.tests for result in known}),
        "survivors": [result.change for result in known if result.kind == "survived"],
        "same_code": [result.change for result in known if result.kind == "same"],
    }


def table(results: Iterable[Result], write: Callable[[str], object]) -> None:
    """Write the counts by file."""
    known = list(results)
    counts = Counter((result.file, result.kind) for result in known)
    write(f"| file | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}\n")
    for file in sorted({result.file for result in known}):
        write(f"| {file} | {' | '.join(str(counts[file, kind]) for kind in KINDS)} |\n")
