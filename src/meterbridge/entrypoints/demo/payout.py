"""The demo's last steps: money claimed and withdrawn, everything audited, one receipt proven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from meterbridge.adapters.json_files import read_json, write_json
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import PartyTable
from meterbridge.domain.statements import SignedStatement
from meterbridge.domain.units import AssetAmount
from meterbridge.entrypoints.demo.setting import CUSTOMERS, MEMBERS
from meterbridge.entrypoints.demo.trust import last_charges
from meterbridge.entrypoints.demo.world import PROVIDER, World
from meterbridge.services.audit import AssetTotals, AuditReport, AuditRow, audit
from meterbridge.services.claims import claim_all, claimable
from meterbridge.services.proof_json import proof_from_json, proof_to_json
from meterbridge.services.proofs import verify_proof
from meterbridge.services.proving import prove
from meterbridge.services.records import LogKey, LogKind

WITHDRAWER: Final = "acme"


def claim_everything(world: World) -> None:
    """Every party claims: the first time with its proof, and what is allocated later without."""
    table = PartyTable(world.record.parties)
    splitter = world.splitter(PROVIDER)  # anyone may trigger a claim to the party's own account
    claim_all(splitter, world.record.split, table)
    rows = [
        (world.name(found.party.account), world.money(found.claimed), world.money(found.amount))
        for found in claimable(splitter, world.record.split, table)
    ]
    world.output.table("Claims", ["party", ">claimed, TUSD", ">still claimable"], rows)


def withdraw(world: World) -> None:
    """A payer thaws what is left of its escrow and, when the thaw period is over, withdraws it."""
    splitter, payer = world.splitter(WITHDRAWER), world.address(WITHDRAWER)
    left = splitter.escrow(world.record.id, payer).balance
    if not left:
        return
    if splitter.thawing(world.record.id, payer).amount != left:
        splitter.thaw(world.record.tariff, left)
    world.devnet.wait_until(splitter.thawing(world.record.id, payer).end)
    splitter.withdraw(world.record.tariff, world.record.split)
    waited = f"{world.record.tariff.thaw_period:,} seconds"
    world.output.say(f"{WITHDRAWER} thawed {world.money(left)} TUSD and withdrew it {waited} later.")


def audit_all(world: World) -> AuditReport:
    """Check every law from the chain alone, and show where every base unit is."""
    assets = [world.record.split.asset]
    report = audit(world.chain.splitter, from_block=world.chain.block, assets=assets)
    world.output.table(
        "The laws, checked from the chain alone",
        ["law", ">checks", "holds"],
        [
            (check.law, f"{check.checked:,}", "yes" if check.ok else "; ".join(check.found))
            for check in report.laws
        ],
    )
    _show_money(world, report)
    return report


def _show_money(world: World, report: AuditReport) -> None:
    """One column a payer, one line a place; each column adds up to what was deposited."""
    lines: list[tuple[str, Callable[[AuditRow], AssetAmount]]] = [
        *((f"claimed by {m.name}", partial(_paid_to, world.address(m.name))) for m in MEMBERS),
        ("waiting in the pot", lambda row: row.in_pot),
        ("left in escrow", lambda row: row.in_escrow),
        ("withdrawn by the payer", lambda row: row.withdrawn),
    ]
    world.output.table(
        "Every base unit of every deposit, and where it is now (TUSD)",
        ["place", *(f">{world.name(row.owner)}" for row in report.rows), ">all"],
        [(place, *_line(world, report, amount_of)) for place, amount_of in lines],
        total=("deposited", *_line(world, report, lambda row: row.arrived)),
    )


def _line(world: World, report: AuditReport, amount_of: Callable[[AuditRow], AssetAmount]) -> list[str]:
    amounts = [amount_of(row) for row in report.rows]
    return [world.money(amount) for amount in (*amounts, AssetAmount.total(amounts))]


def _paid_to(party: Address, row: AuditRow) -> AssetAmount:
    return AssetAmount.total(paid.amount for paid in row.paid if paid.account == party)


def prove_one(world: World, statements: Sequence[SignedStatement]) -> Path:
    """Prove one call from its receipt to the payout it paid for, and check the proof as a stranger would."""
    _, batch = last_charges(world, statements[0])
    if batch.segment is None:
        raise AssertionError("the demo's own batches have segments")
    receipt = world.segments.get(batch.segment).table.receipts.receipt(0)
    proof = prove(world.ledger, world.segments, batch.log.account, receipt.id)
    path = world.folder / "proofs" / f"{receipt.id.hex()[:16]}.json"
    write_json(path, proof_to_json(proof), mode=0o600)
    verify_proof(proof_from_json(read_json(path)))
    world.output.say(f"One worked proof: meterbridge verify {path}")
    return path


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo did, in numbers; amounts are base units."""

    receipts: int
    batches: int
    statements: int
    totals: AssetTotals
    verified: bool

    def to_json(self) -> dict[str, object]:
        """Return the object of `--json`."""
        totals = self.totals
        return {
            "receipts": self.receipts,
            "batches": self.batches,
            "statements": self.statements,
            "deposited": str(totals.deposited),
            "drawn": str(totals.drawn),
            "claimed": str(totals.claimed),
            "withdrawn": str(totals.withdrawn),
            "escrow_left": str(totals.escrow_left),
            "pot_left": str(totals.pot_left),
            "verified": self.verified,
        }


def summarise(world: World, report: AuditReport) -> Summary:
    """Count what is in the ledger, and take the money from the audit."""
    logs = [LogKey(world.accounts[c.name], kind) for c in CUSTOMERS for kind in LogKind]
    batches = [batch for log in logs for batch in world.ledger.batches(log)]
    (totals,) = [t for t in report.totals if t.asset == world.record.split.asset]
    return Summary(
        receipts=sum(batch.size for batch in batches),
        batches=len(batches),
        statements=len(list(world.ledger.statements(world.record.id))),
        totals=totals,
        verified=report.ok,
    )
