"""What the domain refuses, and why. Every error keeps the offending value."""

from __future__ import annotations


class MeterbridgeError(Exception):
    """Base of every error that Meterbridge raises on purpose.

    Attributes:
        value: what was found, as it was found.
    """

    def __init__(self, message: str, value: object = None) -> None:
        """Keep the message for people and the value for programs."""
        super().__init__(message)
        self.value = value


class ProtocolError(MeterbridgeError):
    """A value breaks a bound or a rule of the protocol."""


class OutOfBounds(ProtocolError):
    """A number leaves the range that the protocol gives it."""


class LaneOverflow(OutOfBounds):
    """A usage lane would leave int64 (section 4)."""


class BadBatch(ProtocolError):
    """A batch is empty, unsorted, or holds an id twice (section 4)."""


class BadSplit(ProtocolError):
    """A split has no party, a share or a role of zero, or shares beyond uint128 (section 5)."""


class BadTariff(ProtocolError):
    """A tariff has a rate, a scale, a thaw period or terms out of bounds (section 6)."""


class BadStatement(ProtocolError):
    """A statement has no line, too many, a payer twice, or a time out of bounds (section 8)."""


class BadProof(ProtocolError):
    """A proof does not lead from what it claims to the root it names."""


class BadSignature(ProtocolError):
    """A signature is malformed, malleable, or by somebody else."""


class HeadDoesNotExtend(ProtocolError):
    """A new head is not proven to extend the last signed one (section 4, one writer per log)."""
