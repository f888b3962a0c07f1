"""What is changed in the contracts, one place at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SPLITTER = "contracts/SettlementSplitter.sol"
SOURCES = (SPLITTER, *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "contracts/libraries").glob("*.sol")))
Swap = tuple[str, str | Callable[[re.Match[str]], str]]
# What is replaced, and by what: each occurrence in code is a mutant of its own.
SWAPS: tuple[Swap, ...] = (
    (r"(?<![<>=!])<(?![<=])(?= )", "<="),
    (r"(?<![<>=!-])>(?![>=])(?= )", ">="),
    (r"<=", "<"),
    (r">=", ">"),
    (r"==", "!="),
    (r"!=", "=="),
    (r"&&", "||"),
    (r"\|\|", "&&"),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \* ", " / "),
    (r" / ", " * "),
    (r" % ", " / "),
    (r" \+= ", " -= "),
    (r" -= ", " += "),
    (r" \| ", " & "),
    (r" & ", " | "),
    (r" << ", " >> "),
    (r" >> ", " << "),
    (r" >>= ", " <<= "),
    (r"\+\+;", "--;"),
    (r"\badd\(", "sub("),
    (r"\bsub\(", "add("),
    (r"\bmul\(", "add("),
    (r"\bdiv\(", "mul("),
    (r"\bgt\(", "lt("),
    (r"\blt\(", "gt("),
    (r"\bsgt\(", "slt("),
    (r"\bsgt\(", "gt("),
    (r"\bshr\(", "shl("),
    (r"\bshl\(", "shr("),
    (r"\bsar\(", "shr("),
    (r"\bor\(", "and("),
    (r"\band\(", "or("),
    (r"\brequire\(", "if (false) require("),
    (r"\bif \((.*)\)(?= \{$| \w.*;$)", r"if (!(\1))"),
    (r"\bif ([a-z].*)(?= \{)", r"if iszero(\1)"),
    (r" \? ([^:]+) : ([^;)]+)", r" ? \2 : \1"),
    (r"\breturn (?=[^;]+;)", "return type(uint256).max + 0 * "),
    (r"\breturn (?=\w[\w.]*\()", ""),
    (r"\bmsg\.sender\b", "tx.origin"),
    (r"\btype\((uint\d+)\)\.max", r"(type(\1).max - 1)"),
    (r"\b0x20\b", "0x40"),
    (r"\b0x40\b", "0x20"),
    (r"\b0x(?!40)([3-9a-f][0-9a-f]|0[1-9]|21)\b", lambda found: hex(int(found[0], 16) + 1)),
    (r"\b0x(f+)f\b", r"0x\1"),
    (r"(?<![.\w\[])(\d{1,4})\b(?!\])", lambda found: str(int(found[0]) + 1)),
    (r"(?<![.\w\[])([2-9]|\d{2,4})\b(?!\])", lambda found: str(int(found[0]) - 1)),
)
# The same in the head of a function, of which nothing else is changed.
HEAD_SWAPS: tuple[Swap, ...] = ((r" nonReentrant\b", ""), (r"\bwhenUnlocked\b", ""))
# Statements that are left out, one at a time.
DROPPED = re.compile(
    r"^\s+(?!require)(?:emit |delete |return |if \(|[\w.\[\]]+(?:\.\w+)* (?:[-+|]|>>)?= "
    r"|\(.*\) = |_?\w+\(|mstore|sstore|calldatacopy).*;?$"
)
HEAD = re.compile(
    r"^\s*(?:function|contract|library|using|modifier|constructor|\)|returns|nonReentrant|whenUnlocked)"
)


@dataclass(frozen=True)
class Mutant:
    """One change: line `line` of `file`, counted from 0, which is `before`, becomes `after`."""

    file: str
    line: int
    before: str
    after: str

    @property
    def key(self) -> str:
        """Name it by what it is."""
        return hashlib.sha256(f"{self.file}|{self.line}|{self.before}|{self.after}".encode()).hexdigest()[:12]

    @property
    def change(self) -> str:
        """Say in one line where it is and what it does."""
        left_out = f"left out: {self.before.strip()}"
        return f"{self.file}:{self.line + 1}: {self.after.strip() or left_out}"

    def applied(self, text: str) -> str:
        """Return the file's text with the change made."""
        lines = text.splitlines(keepends=True)
        if lines[self.line].split("//")[0].rstrip() != self.before:
            raise ValueError(f"{self.file} has changed at line {self.line + 1}: list its mutants again")
        lines[self.line] = self.after + "\n"
        return "".join(lines)


def all_mutants() -> list[Mutant]:
    """Return every mutant of the contract and of each library."""
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in SOURCES}
    return [mutant for name, text in texts.items() for mutant in mutants_of(name, text)]


def mutants_of(name: str, text: str) -> list[Mutant]:
    """Return the mutants of one file, each once; comments, imports and declarations are left alone."""
    found: dict[Mutant, None] = {}
    inside = False
    for number, line in enumerate(text.splitlines()):
        code = line.split("//")[0].rstrip()
        inside = inside or bool(re.match(r"(?:contract|library) ", code))
        if not inside or not code.strip() or re.match(r"\s*(?:/?\*|///|error |event )", code):
            continue
        for after in _changes(code):
            found[Mutant(name, number, code, after)] = None
    return list(found)


def _changes(code: str) -> list[str]:
    """Return what may stand in place of one line of code."""
    head = bool(HEAD.match(code))
    changed = []
    for pattern, replacement in HEAD_SWAPS if head else SWAPS:
        for match in re.finditer(pattern, code):
            put = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
            changed.append(code[: match.start()] + put + code[match.end() :])
    if not head and DROPPED.match(code) and code.endswith((";", ")")):
        changed.append("")
    return [after.rstrip() for after in changed]
