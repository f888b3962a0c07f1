"""Recompute every case of a vectors file: for people who write another implementation of the protocol.

The format is that of `tests/vectors/protocol-v1.json`. Numbers may stand as JSON integers or as decimal
strings. Nothing is trusted: ids, leaves, roots, proofs, prices, entitlements, digests and signatures are
computed anew and compared, each given proof is verified as well, and what must be refused is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from eth_keys.datatypes import PrivateKey

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError, ProtocolError
from meterbridge.domain.merkle import Side
from meterbridge.domain.receipts import Receipt, ReceiptColumns, batch_tree, receipt_id
from meterbridge.domain.splits import Party, PartyTable, ShareProof, ShareSibling, entitled_down
from meterbridge.domain.splits import ShareNode as _ShareNode
from meterbridge.domain.statements import Domain, Line, Statement
from meterbridge.domain.sum_tree import (
    Head,
    LogState,
    Sibling,
    SumNode,
    SumTree,
    join,
    log_element,
    verify_consistency,
    verify_inclusion,
)
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, Rates, UsageVector

PROTOCOL: Final = "meterbridge/1"
Case = Mapping[str, Any]


class BadVectorsFile(MeterbridgeError):
    """The file is not a vectors file at all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the file and this implementation disagree."""

    where: str
    expected: str
    found: str


@dataclass(slots=True)
class ConformanceReport:
    """What was compared, by section, and what differs."""

    checked: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def equal(self, where: str, expected: object, found: object) -> None:
        """Compare one value, numbers and hex by what they mean and not by how they are written."""
        section = where.partition("[")[0]
        self.checked[section] = self.checked.get(section, 0) + 1
        wanted, got = _plain(expected), _plain(found)
        if wanted != got:
            self.differences.append(_first_difference(where, wanted, got))

    @contextmanager
    def case(self, where: str) -> Iterator[None]:
        """Turn a refusal or a malformed case into a difference, so that the other cases go on."""
        try:
            yield
        except ProtocolError as error:
            self.differences.append(Difference(where, "accepted", f"refused: {error}"))
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            found = f"malformed case: {type(error).__name__} {error}"
            self.differences.append(Difference(where, "a case of the format", found))


def check_vectors(vectors: object) -> ConformanceReport:
    """Recompute every case of a parsed vectors file.

    Raises:
        BadVectorsFile: when it is no vectors file, has an unknown section, or no case at all.
    """
    if not isinstance(vectors, dict) or vectors.get("protocol") != PROTOCOL:
        found = vectors.get("protocol") if isinstance(vectors, dict) else type(vectors).__name__
        raise BadVectorsFile(f'the file does not say "protocol": "{PROTOCOL}"; it says {found!r}', found)
    unknown = set(vectors) - set(_SECTIONS) - {"protocol", "blind"}
    if unknown:
        raise BadVectorsFile(f"unknown sections {sorted(unknown)}; there are {list(_SECTIONS)}", unknown)
    report = ConformanceReport()
    for section, check in _SECTIONS.items():
        for index, case in enumerate(vectors.get(section, [])):
            where = f"{section}[{index}]"
            with report.case(where):
                check(report, where, case, vectors)
    if not report.checked and not report.differences:
        raise BadVectorsFile("the file holds no case", vectors)
    return report


def _check_receipt(report: ConformanceReport, where: str, case: Case, vectors: Case) -> None:
    blind = _bytes(vectors["blind"])
    report.equal(f"{where}.id", case["id"], receipt_id(blind, case["source"], case["eventId"]))
    report.equal(f"{where}.leaf", case["leaf"], _receipt(case).leaf())


def _check_batch(report: ConformanceReport, where: str, case: Case, vectors: Case) -> None:
    for index, receipt in enumerate(case["receipts"]):
        _check_receipt(report, f"{where}.receipts[{index}]", receipt, vectors)
    tree = batch_tree(ReceiptColumns.of([_receipt(r) for r in case["receipts"]]))
    report.equal(f"{where}.size", case["size"], tree.size)
    _check_node(report, where, case, tree.root)
    report.equal(f"{where}.element", case["element"], log_element(tree.size, tree.root).hash)
    leaves = [_receipt(r).node() for r in case["receipts"]]
    _check_inclusions(report, where, case["proofs"], leaves, tree)


def _check_log(report: ConformanceReport, where: str, case: Case, _: Case) -> None:
    elements = [log_element(_int(b["size"]), _node(b)) for b in case["batches"]]
    tree = SumTree.of(elements)
    report.equal(f"{where}.size", case["size"], tree.size)
    _check_node(report, where, case, tree.root)
    _check_inclusions(report, where, case["proofs"], elements, tree)
    for index, growth in enumerate(case["consistency"]):
        here = f"{where}.consistency[{index}]"
        old_size, nodes = _int(growth["from"]), [_node(n) for n in growth["nodes"]]
        old = SumTree.of(elements[:old_size]).root
        _check_node(report, f"{here}.old", growth["old"], old)
        report.equal(f"{here}.nodes", [_node(n) for n in growth["nodes"]], tree.consistency(old_size))
        verify_consistency(old_size, _node(growth["old"]), tree.size, _node(case), nodes)


def _check_inclusions(
    report: ConformanceReport, where: str, proofs: Sequence[Case], leaves: Sequence[SumNode], tree: SumTree
) -> None:
    for number, proof in enumerate(proofs):
        index = _int(proof["index"])
        given = [Sibling(Side(s["side"]), _node(s)) for s in proof["siblings"]]
        report.equal(f"{where}.proofs[{number}]", given, tree.inclusion(index))
        verify_inclusion(leaves[index], index, tree.size, given, tree.root)


def _check_head(report: ConformanceReport, where: str, case: Case, _: Case) -> None:
    head = Head(*(LogState(_int(case[k]["size"]), _node(case[k])) for k in ("charges", "credits")))
    report.equal(f"{where}.head", case["head"], head.hash())
    report.equal(f"{where}.usage", _usage(case["usage"]), head.usage())
    report.equal(f"{where}.usageWords", _ints(case["usageWords"]), list(head.usage().to_words()))


def _check_split(report: ConformanceReport, where: str, case: Case, _: Case) -> None:
    table = PartyTable([_party(p) for p in case["parties"]])
    split = table.split(Address.parse(case["asset"]))
    report.equal(f"{where}.root", case["root"], split.root)
    report.equal(f"{where}.totalShares", _int(case["totalShares"]), split.total_shares)
    report.equal(f"{where}.splitId", case["splitId"], split.id)
    for index, (party, offset) in enumerate(zip(case["parties"], table.offsets(), strict=True)):
        here = f"{where}.parties[{index}]"
        report.equal(f"{here}.leaf", party["leaf"], table.parties[index].node().hash)
        report.equal(f"{here}.offset", _int(party["offset"]), offset)
        given = ShareProof(table.parties[index], tuple(_share_sibling(s) for s in party["siblings"]))
        report.equal(f"{here}.siblings", given, table.proof(index))
        report.equal(f"{here}.proof", offset, given.verify(split))
    for number, entitlement in enumerate(case["entitlements"]):
        pot = AssetAmount(_int(entitlement["pot"]))
        each = [entitled_down(pot, p.share, split.total_shares).base_units for p in table.parties]
        report.equal(f"{where}.entitlements[{number}]", _ints(entitlement["each"]), each)


def _check_tariff(report: ConformanceReport, where: str, case: Case, _: Case) -> None:
    tariff = _tariff(case)
    report.equal(f"{where}.rateWords", _ints(case["rateWords"]), list(tariff.rates.to_words()))
    report.equal(f"{where}.tariffId", case["tariffId"], tariff.id)
    for number, priced in enumerate(case["prices"]):
        price = tariff.price_down(_usage(priced["usage"]))
        report.equal(f"{where}.prices[{number}]", _int(priced["price"]), price.base_units)


def _check_statement(report: ConformanceReport, where: str, case: Case, _: Case) -> None:
    lines = tuple(_line(report, f"{where}.lines[{i}]", line) for i, line in enumerate(case["lines"]))
    given = case["domain"]
    report.equal(f"{where}.domain", ["Meterbridge", "1"], [given["name"], given["version"]])
    domain = Domain(_int(given["chainId"]), Address.parse(given["verifyingContract"]))
    statement = Statement(_bytes(case["tariffId"]), _int(case["sealedAt"]), lines)
    digest = statement.digest(domain)
    report.equal(f"{where}.digest", case["digest"], digest)
    key = PrivateKey(_bytes(case["privateKey"]))
    report.equal(f"{where}.signer", case["signer"], Address(key.public_key.to_canonical_address()))
    signature = key.sign_msg_hash(digest)
    wire = signature.r.to_bytes(32, "big") + signature.s.to_bytes(32, "big") + bytes([27 + signature.v])
    report.equal(f"{where}.signature", case["signature"], wire)


def _line(report: ConformanceReport, where: str, case: Case) -> Line:
    usage = _usage(case["usage"])
    report.equal(f"{where}.usageWords", _ints(case["usageWords"]), list(usage.to_words()))
    return Line(Address.parse(case["payer"]), usage, _bytes(case["head"]))


def _check_refused(report: ConformanceReport, where: str, case: Case, _: Case) -> None:
    rule = str(case["rule"])
    kinds = [kind for kind in _REFUSED if kind in case]
    if len(kinds) != 1:
        raise ValueError(f"a refused case holds exactly one of {list(_REFUSED)}, not {kinds}")
    try:
        _REFUSED[kinds[0]](case[kinds[0]])
    except ProtocolError:
        report.equal(f"{where} ({rule})", "refused", "refused")
    else:
        report.equal(f"{where} ({rule})", "refused", "accepted")


def _try_batch(receipts: Sequence[Case]) -> object:
    return batch_tree(ReceiptColumns.of([_receipt(r) for r in receipts]))


def _try_nodes(nodes: Sequence[Case]) -> object:
    total = _node(nodes[0])
    for node in nodes[1:]:
        total = join(total, _node(node))
    return total


def _try_parties(parties: Sequence[Case]) -> object:
    return PartyTable([_party(p) for p in parties])


def _receipt(case: Case) -> Receipt:
    return Receipt(
        _bytes(case["id"]), _int(case["occurredAt"]), _usage(case["usage"]), _bytes(case["details"])
    )


def _party(case: Case) -> Party:
    return Party(Address.parse(case["account"]), _int(case["role"]), _int(case["share"]))


def _share_sibling(case: Case) -> ShareSibling:
    return ShareSibling(Side(case["side"]), _ShareNode(_bytes(case["root"]), _int(case["sum"])))


def _tariff(case: Case) -> Tariff:
    return Tariff(
        provider=Address.parse(case["provider"]),
        split_id=_bytes(case["splitId"]),
        rates=Rates.of(_ints(case["rates"])),
        scale=_int(case["scale"]),
        thaw_period=_int(case["thawPeriod"]),
        terms=_bytes(case["terms"]),
    )


def _check_node(report: ConformanceReport, where: str, case: Case, node: SumNode) -> None:
    report.equal(f"{where}.root", case["root"], node.hash)
    report.equal(f"{where}.sum", _usage(case["sum"]), node.sum)


def _node(case: Case) -> SumNode:
    return SumNode(_bytes(case["root"]), _usage(case["sum"]))


def _usage(lanes: Sequence[Any]) -> UsageVector:
    return UsageVector.of(_ints(lanes))


def _ints(values: Sequence[Any]) -> list[int]:
    return [_int(value) for value in values]


def _int(value: Any) -> int:
    """Read a JSON integer or a decimal string; floats and bools are malformed."""
    if isinstance(value, str):
        return int(value, 10)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise ValueError(f"{value!r} is no 0x-prefixed hex")
    return bytes.fromhex(value[2:])


def _node_plain(node: SumNode | _ShareNode) -> dict[str, object]:
    total = _plain(node.sum) if isinstance(node, SumNode) else str(node.shares)
    return {"root": "0x" + node.hash.hex(), "sum": total}


def _first_difference(where: str, expected: object, found: object) -> Difference:
    """Go down into lists and objects to the first place that differs."""
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        steps = [(f"[{i}]", a, b) for i, (a, b) in enumerate(zip(expected, found, strict=True))]
    elif isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        steps = [(f".{key}", expected[key], found[key]) for key in expected]
    else:
        return Difference(where, str(expected), str(found))
    for step, a, b in steps:
        if a != b:
            return _first_difference(where + step, a, b)
    return Difference(where, str(expected), str(found))


def _plain(value: object) -> object:
    """Return a value as a vectors file would spell it, so that people can compare."""
    if isinstance(value, (Sibling, ShareSibling)):
        return {"side": value.side.value, **_node_plain(value.node)}
    if isinstance(value, (SumNode, _ShareNode)):
        return _node_plain(value)
    if isinstance(value, ShareProof):
        return [_plain(step) for step in value.path]
    if isinstance(value, UsageVector):
        return [str(lane) for lane in value.lanes]
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Address):
        return str(value).lower()
    if isinstance(value, str):
        return value.lower() if value.startswith("0x") else value
    return value


_SECTIONS: Final[dict[str, Callable[[ConformanceReport, str, Case, Case], None]]] = {
    "receipts": _check_receipt,
    "batches": _check_batch,
    "logs": _check_log,
    "heads": _check_head,
    "splits": _check_split,
    "tariffs": _check_tariff,
    "statements": _check_statement,
    "refused": _check_refused,
}
_REFUSED: Final[dict[str, Callable[[Any], object]]] = {
    "receipts": _try_batch,
    "nodes": _try_nodes,
    "parties": _try_parties,
    "tariff": _tariff,
}
