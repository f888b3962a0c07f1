"""Making worked proofs: see `proofs` for what one shows."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache, partial
from typing import Final

from meterbridge.domain.splits import PartyTable, entitled_down
from meterbridge.services.corrections import parse_details
from meterbridge.services.ledger_errors import NotSealed, UnknownReceipt
from meterbridge.services.log_tree import inclusion
from meterbridge.services.ports import Ledger, Segments
from meterbridge.services.proofs import Inclusion, ProvenReceipt, ReceiptProof, StatementProof, state_of
from meterbridge.services.records import AccountKey, BatchRecord, LogKey, LogKind, Place
from meterbridge.services.signed_lines import SignedLine

_PARTIES_KEPT: Final = 64
_BATCHES_KEPT: Final = 4_096
_TRIED: Final = 100


class Prover:
    """Proves receipts of one tariff; what all its proofs share is read once, when it is made.

    Receipts that are sealed and statements that are signed later are proven, too. Threads may share it.
    """

    def __init__(self, ledger: Ledger, segments: Segments, tariff_id: bytes) -> None:
        """Read the tariff, and make the tree over its parties.

        Raises:
            UnknownTariff: when the ledger has none of this id.
        """
        self._ledger, self._segments = ledger, segments
        self._record = ledger.tariff(tariff_id)
        self._parties = PartyTable(self._record.parties)
        self._share = lru_cache(_PARTIES_KEPT)(self._parties.proof)
        # Neither a batch nor an account's blind ever changes.
        self._batch = lru_cache(_BATCHES_KEPT)(ledger.batch)
        self._account = lru_cache(_BATCHES_KEPT)(ledger.account)

    def warm(self) -> Prover:
        """Prove some receipt, so that the first one that is asked for takes no longer than others."""
        for account in self._ledger.accounts(self._record.id)[:_TRIED]:
            log = LogKey(account.key, LogKind.CHARGES)
            if size := self._ledger.log_size(log):
                self._prove_any(self._ledger.batch(log, size - 1))
                break
        return self

    def _prove_any(self, batch: BatchRecord) -> None:
        """Prove the first receipt of a batch, unless that is lost, or in no statement yet."""
        if batch.segment is None:
            return
        table = self._segments.rows(batch.segment, 0, 1)
        with suppress(NotSealed):
            self.prove_event(table.sources[0], table.event_ids[0])

    def prove_event(self, source: str, event_id: str, *, party: int = 0) -> ReceiptProof:
        """Build the worked proof of an event's receipt.

        Args:
            source: who reported the event.
            event_id: its id there.
            party: whose part of the price is shown, by its place in the split.

        Raises:
            UnknownReceipt: when no receipt of this event is here.
            NotSealed: when it is pending, or no statement covers its batch yet.
            OutOfBounds: when the split has no such party.
        """
        found = self._ledger.locate(self._record.id, source, event_id)
        if found is None:
            raise UnknownReceipt(
                f"no receipt of event {event_id!r} by {source!r} is here; name who reported it",
                event_id,
            )
        log, receipt_id = found
        return self.prove(log.account, receipt_id, party=party)

    def prove(self, account: AccountKey, receipt_id: bytes, *, party: int = 0) -> ReceiptProof:
        """Build the worked proof of a receipt by its account and its id; see `prove`."""
        log, place = self._find(account, receipt_id)
        line = self._ledger.signed_line(account)
        if line is None or place.seq is None or place.row is None:
            raise NotSealed(
                "no statement covers this receipt yet; seal and make a statement first", receipt_id
            )
        state = state_of(line.head, log.kind)
        if place.seq >= state.size:
            raise NotSealed(
                "the last statement is older than this receipt; make a statement first", receipt_id
            )
        share, record, batch = self._share(party), self._record, self._batch(log, place.seq)
        path, proven = self._in_batch(account, batch, place.row)
        element = inclusion(place.seq, state.size, partial(self._ledger.tree_nodes, log))
        price = record.tariff.price_down(proven.receipt.usage)
        return ReceiptProof(
            kind=log.kind,
            proven=proven,
            batch=path,
            batch_root=batch.root,
            element=Inclusion(place.seq, state.size, tuple(element)),
            head=line.head,
            statement=_statement_proof(account, line),
            tariff=record.tariff,
            document=record.document,
            split=record.split,
            share=share,
            price=price,
            part=entitled_down(price, share.party.share, record.split.total_shares),
        )

    def _find(self, account: AccountKey, receipt_id: bytes) -> tuple[LogKey, Place]:
        for kind in LogKind:
            place = self._ledger.find(LogKey(account, kind), receipt_id)
            if place is not None:
                return LogKey(account, kind), place
        raise UnknownReceipt(
            f"{account.payer} has no receipt 0x{receipt_id.hex()} under this tariff", receipt_id
        )

    def _in_batch(self, account: AccountKey, batch: BatchRecord, row: int) -> tuple[Inclusion, ProvenReceipt]:
        if batch.segment is None:
            raise UnknownReceipt("the receipt's batch was lost; only its usage is known", batch.seq)
        table = self._segments.rows(batch.segment, row, row + 1)
        proven = ProvenReceipt(
            receipt=table.receipts.receipt(0),
            blind=self._account(account).blind,
            source=table.sources[0],
            event_id=table.event_ids[0],
            details=parse_details(table.details[0]) or None,
        )
        return Inclusion(row, batch.size, self._segments.path(batch.segment, row)), proven


def prove(
    ledger: Ledger, segments: Segments, account: AccountKey, receipt_id: bytes, *, party: int = 0
) -> ReceiptProof:
    """Build the worked proof of one receipt; a `Prover` builds many.

    Args:
        ledger: where it is indexed.
        segments: where it is.
        account: in whose charges or credits it is.
        receipt_id: 32 bytes.
        party: whose part of the price is shown, by its place in the split.

    Raises:
        UnknownReceipt: when the account has no such receipt.
        NotSealed: when it is pending, or no statement covers its batch yet.
        OutOfBounds: when the split has no such party.
    """
    return Prover(ledger, segments, account.tariff_id).prove(account, receipt_id, party=party)


def _statement_proof(account: AccountKey, line: SignedLine) -> StatementProof:
    return StatementProof(
        domain=account.domain,
        sealed_at=line.sealed_at,
        payer=account.payer,
        line=line.position,
        line_hashes=line.line_hashes,
        signer=line.signer,
        signature=line.signature,
    )
