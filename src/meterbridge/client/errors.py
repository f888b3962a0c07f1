"""What a client of the metering service raises."""

from __future__ import annotations

from meterbridge.domain.errors import MeterbridgeError


class ClientError(MeterbridgeError):
    """The service could not be used."""


class Refused(ClientError):
    """The service refuses the request itself; repeating it changes nothing.

    Attributes:
        status: the HTTP status.
        value: the problem document.
    """

    def __init__(self, status: int, document: dict[str, object]) -> None:
        """Keep what the service said."""
        super().__init__(f"{status}: {document.get('detail', 'no reason given')}", document)
        self.status = status


class ServiceDown(ClientError):
    """The service did not answer, or not with success, for as long as was tried."""


class SpoolFull(ClientError):
    """The service is down and the spool is full: these events are kept nowhere."""
