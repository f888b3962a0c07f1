"""`meterbridge prove` and `verify`: one receipt, down to the payout it paid for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.running import DEFAULT_LEDGER, JsonOption, LedgerOption, command
from meterbridge.entrypoints.cli.shared import FromBlockOption
from meterbridge.entrypoints.cli.values import named, time_text
from meterbridge.entrypoints.cli.workspace import TariffOption, splitter_of, workspace

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.domain.terms import Terms
    from meterbridge.domain.units import AssetAmount
    from meterbridge.services.proofs import ReceiptProof, VerifiedReceipt


@command
def prove(
    event_id: Annotated[str, typer.Argument(help="The event's id, as its log had it.")],
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="Who reported the event, if its log says so.")
    ] = "log",
    party: Annotated[
        int, typer.Option("--party", min=0, help="Whose part of the price: the party's place in the split.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write the proof.")
    ] = None,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    as_json: JsonOption = False,
) -> None:
    """Write the worked proof of one call.

    It shows receipt, batch, log, head, signed statement, price and one party's share. It also shows the
    secret blind of the payer's logs: give it to whoever may know that.

    Example: meterbridge prove chatcmpl-8d1f --source gateway/openai
    """
    from meterbridge.adapters.json_files import write_json
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.proof_json import proof_to_json
    from meterbridge.services.proving import Prover

    output = Output(as_json)
    with workspace(ledger) as opened:
        prover = Prover(opened.ledger, opened.segments, opened.tariff(tariff).id)
        proof = prover.prove_event(source, event_id, party=party)
        receipt_id = proof.proven.receipt.id
        path = out or opened.folder / "proofs" / f"{receipt_id.hex()[:16]}.json"
        write_json(path, proof_to_json(proof), mode=0o600)
    output.say(f"{path}; check it with: meterbridge verify {path}")
    output.result({"file": str(path), "receipt": f"0x{receipt_id.hex()}"})


@command
def verify(
    files: Annotated[list[Path], typer.Argument(help="Worked proofs, as `meterbridge prove` writes them.")],
    rpc: Annotated[
        str | None,
        typer.Option(
            "--rpc",
            metavar="URL",
            envvar="METERBRIDGE_RPC",
            help="Also ask the chain: was the signer authorised, and is the statement settled?",
        ),
    ] = None,
    from_block: FromBlockOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Check worked proofs, from one call's receipt to its payout.

    Needs no ledger and no network. Exit code 0 if everything holds, 1 at the first thing that does not.

    Example: meterbridge verify demo-out/proofs/*.json
    """
    from meterbridge.adapters.json_files import read_json
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.proof_json import proof_from_json
    from meterbridge.services.proofs import verify_proof

    output, shown = Output(as_json), []
    for file in files:
        proof = proof_from_json(read_json(file))
        client = None if rpc is None else splitter_of(rpc, proof.statement.domain)
        verified = verify_proof(proof, client)
        facts = _facts(proof, verified)
        if client is not None:
            facts += _on_chain(client, proof, verified, from_block)
        output.table(f"{file.name}: everything holds", ["step", "shown"], facts)
        amounts = {"price": str(verified.price), "part": str(verified.part), "asset": str(proof.split.asset)}
        shown.append({"file": str(file), **amounts, **dict(facts)})
    if rpc is None:
        output.say(
            "Not asked: whether the provider had authorised the signer. Add --rpc URL to ask the chain."
        )
    output.result({"verified": True, "on_chain": rpc is not None, "proofs": shown})


def _facts(proof: ReceiptProof, verified: VerifiedReceipt) -> list[tuple[str, str]]:
    from meterbridge.domain.terms import parse_terms

    proven, element, terms = proof.proven, proof.element, parse_terms(proof.document)
    counts = ", ".join(
        f"{lane:,} {terms.meters[i].name if i < len(terms.meters) else i}"
        for i, lane in enumerate(proven.receipt.usage.lanes)
        if lane
    )
    party = verified.share.party
    return [
        ("event", f"{proven.event_id} by {proven.source}"),
        ("receipt", f"0x{proven.receipt.id.hex()}"),
        ("usage", counts or "none"),
        (
            "batch",
            f"receipt {proof.batch.index + 1} of {proof.batch.size} under 0x{proof.batch_root.hash.hex()}",
        ),
        ("log", f"batch {element.index + 1} of {element.size} in the {verified.kind.value}"),
        ("head", f"0x{proof.head.hash().hex()}"),
        ("statement", f"sealed at {time_text(verified.sealed_at)} by {verified.signer}"),
        ("payer", str(verified.account.payer)),
        ("tariff", f"0x{proof.tariff.id.hex()}, {terms.name}"),
        ("price of this call", f"{_money(terms, verified.price)}, in {proof.split.asset}"),
        ("party", f"{named(party.account, terms.parties)}, role {party.role}"),
        ("share", f"{party.share} of {proof.split.total_shares}, from {verified.offset} on"),
        ("its part", _money(terms, verified.part)),
    ]


def _money(terms: Terms, amount: AssetAmount) -> str:
    """Write an amount as the tariff's document says; the proof stands on its own, without a node."""
    from meterbridge.domain.currency import Currency

    return f"{Currency(terms.symbol, terms.decimals).text(amount)} ({amount} base units)"


def _on_chain(
    client: SplitterClient, proof: ReceiptProof, verified: VerifiedReceipt, from_block: int
) -> list[tuple[str, str]]:
    from meterbridge.adapters.chain.history import History
    from meterbridge.domain.terms import parse_terms
    from meterbridge.services.confirming import confirm

    found = confirm(client, History(client, from_block), proof, verified)
    drawn = _money(parse_terms(proof.document), found.settled.drawn)
    released = "yes" if client.runs_released_code() else "no"
    return [
        ("signer authorised", f"until {time_text(found.until)}"),
        ("settled", f"in block {found.settled.at.block}, drawing {drawn}"),
        ("contract is this release", released),
    ]
