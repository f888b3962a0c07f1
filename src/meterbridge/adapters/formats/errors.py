"""What the formats refuse, and why. Every error keeps the offending value."""

from __future__ import annotations

from meterbridge.domain.errors import MeterbridgeError


class BadUsage(MeterbridgeError):
    """A record or usage object cannot be read; nothing of it is counted."""


class NoUsage(BadUsage):
    """A record reports no usage, as every chunk of a stream does but the last."""


class UnknownShape(BadUsage):
    """The keys of a usage object belong to no known shape."""


class AmbiguousShape(BadUsage):
    """The keys of a usage object belong to several shapes, which would count it differently."""


class Contradiction(BadUsage):
    """A usage object disagrees with itself: a part exceeds its whole, or the total is not the sum."""


class ContentRefused(BadUsage):
    """A record carries a prompt, an answer or another content field."""


class BadColumnMap(MeterbridgeError):
    """A column map names an unknown field, a column twice, or leaves out what an event needs."""


class BadFile(MeterbridgeError):
    """A file cannot be read as usage at all, or not beyond a certain row.

    Attributes:
        row_number: the row where it was found, counted as in `BadRow`; None where the file as a whole is
            meant.
    """

    def __init__(self, message: str, value: object = None, row_number: int | None = None) -> None:
        """Put the row before the message, where there is one."""
        super().__init__(f"row {row_number}: {message}" if row_number is not None else message, value)
        self.row_number = row_number
