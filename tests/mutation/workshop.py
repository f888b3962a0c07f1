"""A copy of the contracts and their tests, compiled once, in which one change after another is tested."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutation.mutants import ROOT, SPLITTER, Mutant

WORK = ROOT / "build" / "mutate"
BASE = WORK / "base"
COPIED = ("contracts", "tests/contracts", "tests/vectors", "foundry.toml", "package.json", "scripts")
HARNESS = "tests/contracts/support/Harness.sol"
CONTRACTS = {SPLITTER: "SettlementSplitter", HARNESS: "Harness"}
LONGEST_SECONDS = 600
# As foundry.toml has them: what is shipped, and how the tests are compiled, which takes a tenth of the time.
SHIPPED: Mapping[str, Any] = {"viaIR": True, "optimizer": {"enabled": True, "runs": 1_000_000}}
QUICK: Mapping[str, Any] = {"viaIR": False, "optimizer": {"enabled": False}}
COMMON = {"evmVersion": "cancun", "metadata": {"appendCBOR": False, "bytecodeHash": "none"}}
# The quick way knows sixteen places on the stack. Where a function has more, these of its names, which are
# computed once and never change, are spelled out where they are used.
SPELLED_OUT = {"depositWithAuthorization": ("nonce",), "_drawAll": ("accounts", "rates", "unit")}
Code = Mapping[str, Mapping[str, str]]


class WorkshopError(Exception):
    """The machinery itself does not work; nothing was learned of any mutant."""


@dataclass(frozen=True)
class Build:
    """What the compiler made of one change; without code, it refused it and `errors` says why."""

    code: Code
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether all tests passed; if not, `failed` is the first one that did not."""

    passed: bool
    failed: str


def prepare() -> None:
    """Compile contracts and tests in a copy, unchanged."""
    for name in COPIED:
        source, target = ROOT / name, BASE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    if not (BASE / "node_modules").exists():
        (BASE / "node_modules").symlink_to(ROOT / "node_modules")
    settings = re.sub(r"(?m)^deny = .*\n", "", (BASE / "foundry.toml").read_text(encoding="utf-8"))
    settings = settings.replace("[lint]", "[lint]\nlint_on_build = false")
    (BASE / "foundry.toml").write_text(settings, encoding="utf-8")
    done = _forge(BASE, "build", {}, LONGEST_SECONDS)
    if done.returncode != 0:
        raise WorkshopError(f"the contracts or their tests do not compile:\n{done.stdout}{done.stderr}")


def digest(*folders: str) -> str:
    """Name the state of all Solidity code below these folders, whatever its comments say."""
    found = hashlib.sha256()
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.sol")):
        text = re.sub(r"(?s)(?<!:)//[^\n]*|/\*.*?\*/", "", path.read_text(encoding="utf-8"))
        found.update(" ".join([path.name, *text.split()]).encode())
    return found.hexdigest()[:12]


def spelled_out(text: str) -> str | None:
    """Return the splitter's source as the quick way can compile it, with the same meaning.

    None where one of the names is missing, as in a mutant that leaves it out.
    """
    for function, names in SPELLED_OUT.items():
        start, end = extent(text, function)
        body = text[start:end]
        for name in names:
            declared = re.search(rf"(?m)^ +[^\n]* {name} = (.*);\n", body)
            if declared is None:
                return None
            body = re.sub(rf"\b{name}\b", f"({declared[1]})", body.replace(declared[0], ""))
        text = text[:start] + body + text[end:]
    return text


def extent(text: str, function: str) -> tuple[int, int]:
    """Return where a function of the splitter begins and ends."""
    start = text.index(f"function {function}(")
    return start, text.index("\n    }\n", start)


class Workshop:
    """One copy of its own, so that several can work side by side; to be closed after use."""

    def __init__(self, name: str) -> None:
        self.folder = WORK / name
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(BASE, self.folder, symlinks=True)
        # What is compiled here would not be what was put here.
        version_only = f"#!/bin/sh\n[ $1 = --version ] && echo '{_version()}'\n"
        (self.folder / "scripts" / "solc").write_text(version_only, encoding="utf-8")
        self._unchanged = {file: self._artifact(file).read_bytes() for file in CONTRACTS}
        self._compiler = subprocess.Popen(
            ["node", Path(__file__).parent / "compiler.mjs", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the compiler's process."""
        self._compiler.communicate()

    def shipped(self, mutant: Mutant | None) -> Build:
        """Compile a change, or what there is, as it is shipped."""
        return self._build(self._texts(mutant), SHIPPED, mutant)

    def quick(self, mutant: Mutant | None) -> Build:
        """Compile it the quick way, or as it is shipped where there is no quick way."""
        texts = self._texts(mutant)
        text = spelled_out(texts[SPLITTER])
        if text is None:
            return self._build(texts, SHIPPED, mutant)
        build = self._build(texts | {SPLITTER: text}, QUICK, mutant)
        too_deep = any("Stack too deep" in error for error in build.errors)
        return self._build(texts, SHIPPED, mutant) if too_deep else build

    def test(self, build: Build, tests: tuple[str, ...], settings: Mapping[str, str]) -> Verdict:
        """Run tests on it, until one fails."""
        for file, name in CONTRACTS.items():
            artifact = json.loads(self._unchanged[file])
            for kind, code in build.code.get(name, {}).items():
                artifact[kind] |= {"object": code}
            self._artifact(file).write_text(json.dumps(artifact), encoding="utf-8")
        try:
            done = _forge(self.folder, "test", settings, LONGEST_SECONDS, "--fail-fast", *tests)
        except subprocess.TimeoutExpired:
            return Verdict(passed=False, failed="none ended in time")
        failed = re.search(r"\[FAIL[^\n]*?\] (\w+)\(", done.stdout)
        passed = done.returncode == 0 and "tests passed, 0 failed, 0 skipped" in done.stdout
        if failed is None and not passed:
            said = done.stdout[-2000:] + done.stderr[-2000:]
            raise WorkshopError(f"forge neither passed nor failed:\n{said}")
        return Verdict(passed=failed is None, failed=failed[1] if failed else "")

    def _artifact(self, file: str) -> Path:
        return self.folder / "out" / Path(file).name / f"{CONTRACTS[file]}.json"

    def _texts(self, mutant: Mutant | None) -> dict[str, str]:
        texts = {SPLITTER: (self.folder / SPLITTER).read_text(encoding="utf-8")}
        if mutant is not None:
            text = (self.folder / mutant.file).read_text(encoding="utf-8")
            texts[mutant.file] = mutant.applied(text)
        return texts

    def _build(self, texts: Mapping[str, str], how: Mapping[str, Any], mutant: Mutant | None) -> Build:
        # The harness opens the libraries to tests; what changes in the splitter does not change it.
        wanted = {SPLITTER: CONTRACTS[SPLITTER]} if mutant and mutant.file == SPLITTER else CONTRACTS
        request = {"texts": texts, "wanted": wanted, "settings": COMMON | dict(how)}
        assert self._compiler.stdin is not None
        assert self._compiler.stdout is not None
        self._compiler.stdin.write(json.dumps(request) + "\n")
        self._compiler.stdin.flush()
        answer = json.loads(self._compiler.stdout.readline() or '{"failure": "the compiler has ended"}')
        if "failure" in answer:
            raise WorkshopError(answer["failure"])
        return Build(answer["code"], tuple(answer["errors"]))


def _version() -> str:
    command = [str(ROOT / "scripts" / "solc"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _forge(
    folder: Path, command: str, settings: Mapping[str, str], seconds: int, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "scripts" / "forge", command, *arguments],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
