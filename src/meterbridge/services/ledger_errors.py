"""What the usage side refuses beyond the rules of the protocol itself."""

from __future__ import annotations

from meterbridge.domain.errors import MeterbridgeError


class LedgerError(MeterbridgeError):
    """The ledger or its segments cannot do what was asked."""


class LedgerBusy(LedgerError):
    """Another process is sealing, correcting or signing in this ledger."""


class SchemaTooNew(LedgerError):
    """The database was written by a later version of Meterbridge."""


class UnknownTariff(LedgerError):
    """The ledger knows no such tariff."""


class UnknownAccount(LedgerError):
    """The ledger knows no such account: a payer under a tariff."""


class UnknownReceipt(LedgerError):
    """The account's log has no such receipt."""


class Conflict(LedgerError):
    """The same key came again with other content; what was stored first stays."""


class BadUsage(LedgerError):
    """A row of a usage log cannot become a receipt.

    Attributes:
        row: its number in the file, as the reader counted.
        value: the offending value.
    """

    def __init__(self, row: int, message: str, value: object = None) -> None:
        """Put the row number in front of the message."""
        super().__init__(f"row {row}: {message}", value)
        self.row = row


class UsageConflict(BadUsage, Conflict):
    """A row has the id of an earlier receipt and another content."""


class HeadroomExceeded(LedgerError):
    """Receipts would take a log's total beyond the tariff's headroom.

    Attributes:
        index: the place of the first among those that were given.
        beyond: place and message of each that does not fit beside those that do, in order.
    """

    def __init__(
        self, index: int, message: str, value: object = None, beyond: tuple[tuple[int, str], ...] = ()
    ) -> None:
        """Keep the places, so that the caller can name the rows and leave all of them out at once."""
        super().__init__(message, value)
        self.index = index
        self.beyond = beyond or ((index, message),)


class NotSealed(LedgerError):
    """The receipt has no batch yet, or no statement covers its batch."""


class NothingToState(LedgerError):
    """No account's head has changed since the last statement."""


class UnknownStatement(LedgerError):
    """The ledger does not have the statement that is asked for."""


class TooManyLines(LedgerError):
    """More accounts have changed than fit one statement."""


class BadSegment(LedgerError):
    """A segment does not hold what its name, its metadata or the ledger say."""


class LedgerBehindSegments(LedgerError):
    """Segments hold receipts that the ledger neither sealed nor awaits: it is older than they are."""
