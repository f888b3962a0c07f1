"""scripts/smtsolve says the same as halmos, in words that a solver takes less time with."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

SCRIPT: Final = Path(__file__).resolve().parents[2] / "scripts" / "smtsolve"
TERM = re.compile(r"\(|\)|[^\s()]+")


def smtsolve() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("smtsolve", str(SCRIPT))
    spec = importlib.util.spec_from_loader("smtsolve", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def parse(text: str) -> list[Any]:
    """Return the S-expressions of a text as nested lists."""
    stack: list[list[Any]] = [[]]
    for token in TERM.findall(text):
        if token == "(":
            stack.append([])
        elif token == ")":
            closed = stack.pop()
            stack[-1].append(closed)
        else:
            stack[-1].append(token)
    return stack[0]


class Reader:
    """As much of SMT-LIB's bit vectors as the script writes, of one width."""

    def __init__(self, query: str, width: int) -> None:
        self.mask = 2**width - 1
        self.functions: dict[str, tuple[list[str], Any]] = {}
        for term in parse(query):
            if isinstance(term, list) and term[0] == "define-fun":
                self.functions[term[1]] = ([name for name, _ in term[2]], term[4])

    def value(self, term: Any, names: dict[str, int]) -> int:
        if isinstance(term, str):
            return names[term]
        head = term[0]
        if head == "_":
            return int(term[1].removeprefix("bv"))
        if head == "ite":
            left, right = (self.value(each, names) for each in term[1][1:])
            return self.value(term[2] if left == right else term[3], names)
        found = [self.value(each, names) for each in term[1:]]
        if head in self.functions:
            wanted, body = self.functions[head]
            return self.value(body, dict(zip(wanted, found, strict=True)))
        found_by: dict[str, Callable[[], int]] = {
            "bvmul": lambda: found[0] * found[1],
            "bvsub": lambda: found[0] - found[1],
            "bvshl": lambda: found[0] << found[1],
            "bvneg": lambda: -found[0],
        }
        return found_by[head]() & self.mask


DECLARED = "(declare-fun a () (_ BitVec 8))\n"
DEFINED = "(define-fun f_evm_bvmul_8 ((x (_ BitVec 8)) (y (_ BitVec 8))) (_ BitVec 8) (bvmul x y))\n"


@pytest.mark.parametrize("factor", range(256))
def test_a_multiplication_by_a_constant_keeps_its_value(factor: int) -> None:
    query = f"{DECLARED}(assert (= a (bvmul (_ bv{factor} 8) a)))"
    written = smtsolve().rewritten(query)
    assert ("bvmul" in written) == (factor not in {2**power - 1 for power in range(9)})
    term = parse(written)[-1][1][2]
    reader = Reader(written, 8)
    assert [reader.value(term, {"a": a}) for a in range(256)] == [factor * a % 256 for a in range(256)]


def test_a_product_keeps_its_value() -> None:
    reader = Reader(smtsolve().rewritten(DECLARED + DEFINED), 8)
    for x in (0, 1, 2, 3, 127, 128, 255):
        found = [reader.value(["f_evm_bvmul_8", "x", "y"], {"x": x, "y": y}) for y in range(256)]
        assert found == [x * y % 256 for y in range(256)]


def test_a_product_of_any_function_is_told_only_where_a_factor_is_nothing_or_one() -> None:
    declared = "(declare-fun f_evm_bvmul_8 ((_ BitVec 8) (_ BitVec 8)) (_ BitVec 8))"
    written = smtsolve().rewritten(f"{DECLARED}{declared}\n(check-sat)")
    assert "bvmul x y" not in written.replace("f_evm_other_bvmul_8 x y", "")
    # halmos asks the refined query where a model names a function of this prefix.
    assert "(declare-fun f_evm_other_bvmul_8 " in written
    reader = Reader(written, 8)
    reader.functions["f_evm_other_bvmul_8"] = (["x", "y"], ["_", "bv77"])
    product = ["f_evm_bvmul_8", "x", "y"]
    for x, y in ((0, 5), (5, 0), (1, 9), (9, 1), (0, 1), (1, 1)):
        assert reader.value(product, {"x": x, "y": y}) == x * y
    assert reader.value(product, {"x": 2, "y": 3}) == 77
