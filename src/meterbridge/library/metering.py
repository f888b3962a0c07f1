"""What a provider keeps: its payers, what they used, and what follows from it. No chain is needed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from meterbridge.domain.currency import Currency
from meterbridge.library.connecting import address_of, now
from meterbridge.library.usage import Usage, usage_rows

if TYPE_CHECKING:
    from meterbridge.adapters.formats import ColumnMap
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.tariffs import Tariff
    from meterbridge.library.workspace import Workspace
    from meterbridge.services.corrections import Correction
    from meterbridge.services.metering import ImportReport
    from meterbridge.services.proofs import ReceiptProof
    from meterbridge.services.proving import Prover
    from meterbridge.services.records import AccountRecord, BatchRecord, TariffRecord


class MeteredBooks:
    """The ledger of one tariff; `Provider` opens it."""

    def __init__(self, opened: Workspace, record: TariffRecord) -> None:
        """Take an open ledger folder and a tariff in it."""
        self._opened, self._record = opened, record

    @property
    def tariff(self) -> Tariff:
        """The tariff; its `id` is what payers name."""
        return self._record.tariff

    @cached_property
    def _prover(self) -> Prover:
        from meterbridge.services.proving import Prover

        return Prover(self._opened.ledger, self._opened.segments, self._record.id)

    @property
    def record_of_tariff(self) -> TariffRecord:
        """The tariff with its split, parties and document."""
        return self._record

    @property
    def currency(self) -> Currency:
        """How amounts are written, by the tariff's document."""
        terms = self._record.terms()
        return Currency(terms.symbol, terms.decimals)

    def open_account(self, payer: Address | str, *, customer: str | None = None) -> AccountRecord:
        """Meter a payer, with a fresh secret blind; doing so again changes nothing.

        Args:
            payer: whose escrow pays.
            customer: the name under which usage logs know the payer.

        Raises:
            Conflict: when the name is another payer's.
        """
        from meterbridge.services.metering import ensure_account
        from meterbridge.services.records import AccountKey

        key = AccountKey(self._record.domain, self._record.id, address_of(payer))
        return ensure_account(self._opened.ledger, key, customer)

    def accounts(self) -> list[AccountRecord]:
        """Return the payers that are metered."""
        return self._opened.ledger.accounts(self._record.id)

    def record(self, usage: Iterable[Usage], *, source: str = "log", skip_bad: bool = False) -> ImportReport:
        """Count calls, each once.

        Args:
            usage: `UsageRecord`s as the client of the service takes them, or `UsageEvent`s.
            source: who reports records that do not say so themselves.
            skip_bad: leave out what cannot be used and list it, instead of stopping there.

        Raises:
            BadUsage, UsageConflict: naming the place and the value; what stands before it is stored.
        """
        from meterbridge.services.metering import import_usage

        return import_usage(self._opened.ledger, self._record, usage_rows(usage, source), skip_bad=skip_bad)

    def import_file(
        self,
        path: str | Path,
        *,
        columns: ColumnMap | None = None,
        payer: Address | str | None = None,
        source: str | None = None,
        skip_bad: bool = False,
    ) -> ImportReport:
        """Count the calls of a usage log: CSV, NDJSON or Parquet, also gzipped.

        Args:
            path: the file.
            columns: what its columns mean, where they do not say so themselves.
            payer: who pays for all of it, by address or customer name.
            source: who reports rows that do not say so.
            skip_bad: as in `record`.

        Raises:
            BadFile, BadUsage, UsageConflict: naming the row and the value.
        """
        from meterbridge.adapters.formats import read_usage
        from meterbridge.services.metering import import_usage

        account = None if payer is None else self._opened.account(self._record, str(payer)).key.payer
        rows = read_usage(path, column_map=columns, source=source, latest=(now() + 24 * 3600) * 1000)
        payer_of = None if account is None else lambda _event: account
        return import_usage(self._opened.ledger, self._record, rows, payer_of=payer_of, skip_bad=skip_bad)

    def correct(
        self, event_id: str, buckets: Mapping[str, int] | None = None, *, reason: str, source: str = "log"
    ) -> Correction:
        """Take a counted call back, and count it anew where there is usage.

        Args:
            event_id: the call's id.
            buckets: what it used in truth, by bucket; None for nothing.
            reason: for people; it becomes part of the receipt.
            source: who reported it.

        Raises:
            UnknownReceipt: when no such call was counted.
            Conflict: when it was corrected in another way.
        """
        from meterbridge.services.corrections import correct

        account, receipt_id = self._locate(event_id, source)
        usage = None if buckets is None else self._record.meter_map().measure(buckets)
        ledger, segments = self._opened.ledger, self._opened.segments
        at = now() * 1000
        return correct(
            ledger, segments, account.key, receipt_id, replacement=usage, occurred_at=at, reason=reason
        )

    def seal(self, *, max_receipts: int | None = None) -> list[BatchRecord]:
        """Seal what was counted into batches, one segment each; none where nothing waits."""
        from meterbridge.services.sealing import seal

        ledger, segments = self._opened.ledger, self._opened.segments
        return seal(ledger, segments, self._record.id, max_receipts=max_receipts)

    def prove(self, event_id: str, *, source: str = "log", party: int = 0) -> ReceiptProof:
        """Return the worked proof of one call, down to a party's part of its price.

        It shows the secret blind of the payer's logs: give it to whoever may know that.

        Args:
            event_id: the call's id.
            source: who reported it.
            party: whose part, by its place in the split.

        Raises:
            UnknownReceipt, NotSealed: when no statement covers it.
        """
        return self._prover.prove_event(source, event_id, party=party)

    def hand_over(self, payer: Address | str, folder: str | Path) -> Path:
        """Write a payer's complete logs and its statements into a folder, with which it proves its bill.

        The folder holds the payer's blind and nothing of other payers but their totals, which are public.
        Doing so again adds what is new.

        Args:
            payer: an address or a customer name.
            folder: where; made if there is none.
        """
        from meterbridge.library.handing_over import hand_over

        account = self._opened.account(self._record, str(payer))
        return hand_over(self._opened, self._record, account, Path(folder))

    def _locate(self, event_id: str, source: str) -> tuple[AccountRecord, bytes]:
        from meterbridge.services.ledger_errors import UnknownReceipt

        found = self._opened.ledger.locate(self._record.id, source, event_id)
        if found is None:
            raise UnknownReceipt(
                f"no receipt of event {event_id!r} by {source!r} is here; name who reported it",
                event_id,
            )
        log, receipt_id = found
        return self._opened.ledger.account(log.account), receipt_id
