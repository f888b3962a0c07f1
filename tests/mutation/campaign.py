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
Judge = Callable[[Workshop, Mutant], tuple[str, str]]
Step = tuple[tuple[str, ...], Mapping[str, str]]
# The tests that end within half a second, those that take another one, and all, as they are run every day.
UNIT: Step = (("--no-match-path", "tests/contracts/{invariant/*,fuzz/*,unit/Vectors*}"), {})
FUZZ: Step = (("--match-path", "tests/contracts/fuzz/*"), {"FOUNDRY_FUZZ_RUNS": "16"})
ALL: Step = ((), {})
# What must be noticed, or the machinery is broken: a payer's money that goes nowhere.
NOTICED = ("if (sum != 0) _allocate(tariff.splitId, sum);", "")
OPEN = "open"
KINDS = ("killed", "survived", OPEN, "same", "invalid")


@dataclass(frozen=True)
class Result:
    """What became of a mutant.

    `kind` is killed (by the test named in `by`), survived (all tests pass), same (what is shipped compiles
    to the same bytes, so that no test can tell it apart), invalid (it does not compile) or, until all tests
    were run, open (the cheap ones pass).
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
            if found is None or found.kind == OPEN or _outdated(found, self._tests):
                todo.append(mutant)
            else:
                yield found
        if todo:
            yield from self._run(todo)

    def _run(self, todo: list[Mutant]) -> Iterator[Result]:
        prepare()
        workshops = [Workshop(str(number)) for number in range(1, self._jobs + 1)]
        try:
            for workshop in workshops:
                self._idle.put(workshop)
            _check_cheaply(workshops[0])
            left = []
            for mutant, result in self._each(todo, self._cheap):
                if result.kind == OPEN:
                    left.append(mutant)
                else:
                    yield result
            if left and not self._over():
                self._shipped = _checked(workshops[0], f"{self._contracts} {self._tests}")
                yield from (result for _, result in self._each(left, self._thorough))
        finally:
            for workshop in workshops:
                workshop.close()

    def _over(self) -> bool:
        return self._ends is not None and time.monotonic() > self._ends

    def _each(self, mutants: list[Mutant], judge: Judge) -> Iterator[tuple[Mutant, Result]]:
        """Judge mutants side by side, until the time is over."""
        with ThreadPoolExecutor(self._jobs) as pool:
            for mutant, result in zip(mutants, pool.map(lambda m: self._one(m, judge), mutants), strict=True):
                if result is not None:
                    yield mutant, result

    def _one(self, mutant: Mutant, judge: Judge) -> Result | None:
        if self._over():
            return None
        workshop = self._idle.get()
        started = time.monotonic()
        try:
            kind, by = judge(workshop, mutant)
        finally:
            self._idle.put(workshop)
        seconds = round(time.monotonic() - started, 1)
        result = Result(mutant.key, kind, by, mutant.change, seconds, self._contracts, self._tests)
        with self._lock, JOURNAL.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        return result

    def _cheap(self, workshop: Workshop, mutant: Mutant) -> tuple[str, str]:
        """Return what becomes of a mutant by the tests that end soon, and which one killed it."""
        quick = workshop.quick(mutant)
        if quick.errors:
            return "invalid", ""
        killer = _killer(workshop, quick, UNIT, FUZZ)
        return ("killed", killer) if killer else (OPEN, "")

    def _thorough(self, workshop: Workshop, mutant: Mutant) -> tuple[str, str]:
        """The same by all tests, on what would be shipped."""
        build = workshop.shipped(mutant)
        if build.code["SettlementSplitter"] == self._shipped:
            return "same", ""
        killer = _killer(workshop, build, UNIT, ALL)
        return ("killed", killer) if killer else ("survived", "")


def _outdated(result: Result, tests: str) -> bool:
    """Return whether there are other tests now than those that a mutant survived."""
    return result.kind == "survived" and result.tests != tests


def _killer(workshop: Workshop, build: Build, *steps: Step) -> str:
    """Return the test that fails, or nothing when all pass."""
    for tests, settings in steps:
        verdict = workshop.test(build, tests, settings)
        if not verdict.passed:
            return verdict.failed
    return ""


def _check_cheaply(workshop: Workshop) -> None:
    """Check that the contracts pass the tests that end soon, and that a grave change is noticed."""
    _must_pass(workshop, workshop.quick(None), UNIT, FUZZ)
    if not _killer(workshop, _grave(workshop), UNIT):
        raise WorkshopError("a splitter that pays no pot passes its tests: nothing can be learned here")


def _checked(workshop: Workshop, state: str) -> Mapping[str, str]:
    """Check, once for each state, that what is shipped passes all tests; return its code."""
    known = json.loads(CHECKED.read_text(encoding="utf-8")) if CHECKED.exists() else {}
    if state not in known:
        shipped = workshop.shipped(None)
        _must_pass(workshop, shipped, ALL)
        known = {state: dict(shipped.code["SettlementSplitter"])}
        CHECKED.write_text(json.dumps(known), encoding="utf-8")
    return dict(known[state])


def _must_pass(workshop: Workshop, build: Build, *steps: Step) -> None:
    if build.errors:
        raise WorkshopError(f"the contracts do not compile: {build.errors[0]}")
    if killer := _killer(workshop, build, *steps):
        raise WorkshopError(f"{killer} fails without any change: nothing can be learned from mutants")


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
    valid = sum(counts[kind] for kind in KINDS if kind != "invalid")
    return {
        "mutants": mutants,
        "run": len(known),
        **{kind: counts[kind] for kind in KINDS},
        "valid": valid,
        "killed_of_valid": round(counts["killed"] / valid, 4) if valid else None,
        "seconds": round(sum(result.seconds for result in known)),
        "contracts": sorted({result.contracts for result in known}),
        "tests": sorted({result.tests for result in known}),
        "survivors": [result.change for result in known if result.kind in ("survived", OPEN)],
        "same_code": [result.change for result in known if result.kind == "same"],
    }


def table(results: Iterable[Result], write: Callable[[str], object]) -> None:
    """Write the counts by file."""
    known = list(results)
    counts = Counter((result.file, result.kind) for result in known)
    write(f"| file | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}\n")
    for file in sorted({result.file for result in known}):
        write(f"| {file} | {' | '.join(str(counts[file, kind]) for kind in KINDS)} |\n")
