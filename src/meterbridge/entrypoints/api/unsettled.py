"""Which statements are worth submitting: usage is cumulative, so only an account's newest one is."""

from __future__ import annotations

from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import SignedStatement
from meterbridge.services.ports import Ledger
from meterbridge.services.records import SubmissionState


class Unsettled:
    """Finds statements that no settled transaction covers yet."""

    def __init__(self, ledger: Ledger) -> None:
        """Start from what the ledger says was settled."""
        self._ledger = ledger
        self._digests: dict[bytes, set[bytes]] = {}

    def of(self, tariff_id: bytes) -> list[SignedStatement]:
        """Return the statements to submit, oldest first."""
        settled = self._settled(tariff_id)
        covered: set[Address] = set()
        wanted = []
        for record in reversed(list(self._ledger.statements(tariff_id))):
            payers = {line.payer for line in record.signed.statement.lines}
            if payers <= covered:
                continue
            if record.signed.digest() not in settled:
                wanted.append(record.signed)
            covered |= payers
        return wanted[::-1]

    def settled(self, tariff_id: bytes, signed: SignedStatement) -> None:
        """Remember a statement that was settled."""
        self._settled(tariff_id).add(signed.digest())

    def _settled(self, tariff_id: bytes) -> set[bytes]:
        if tariff_id not in self._digests:
            submissions = self._ledger.submissions(tariff_id)
            self._digests[tariff_id] = {s.digest for s in submissions if s.state is SubmissionState.SETTLED}
        return self._digests[tariff_id]
