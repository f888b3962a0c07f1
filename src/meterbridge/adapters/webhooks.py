"""Notices by HTTP, signed as Standard Webhooks (standardwebhooks.com) says, which many libraries verify.

webhook-id: msg_…                  the same each time a notice is sent: whoever has seen it may drop it
webhook-timestamp: 1790000000      when it was sent this time; what is older than five minutes is a replay
webhook-signature: v1,BASE64       HMAC-SHA256 with the secret over id ‖ "." ‖ timestamp ‖ "." ‖ body
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import requests

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.following.alerts import Notice, NotReceived

TOLERANCE_SECONDS: Final = 300
TIMEOUT_SECONDS: Final = 10
_PREFIX: Final = "whsec_"
_SECRET_BYTES_MIN: Final = 16
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class BadWebhook(MeterbridgeError):
    """A webhook's URL or secret cannot be used. The values are secrets, and not repeated."""


class BadWebhookSignature(MeterbridgeError):
    """A message was not signed with the secret, was changed, or is too old."""


class Webhook:
    """A receiver of notices.

    Attributes:
        name: the host and the first digits of the URL's hash: the URL itself may hold a key.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name the receiver; nothing is sent yet.

        Args:
            url: https, or http on this machine.
            secret: shared with the receiver; `whsec_` and base64, or any text of at least 16 bytes.
            timeout: seconds to connect, and seconds to wait for the answer.
            clock: seconds since 1970.

        Raises:
            BadWebhook: when either cannot be used.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadWebhook("a webhook's URL begins with https:// and a host")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise BadWebhook(f"the webhook at {parts.hostname} must use https: alerts tell of your payers")
        self._url: Final = url
        self._key: Final = secret_key(secret)
        self._timeout: Final = timeout
        self._clock: Final = clock
        self.name: Final = f"{parts.hostname}#{hashlib.sha256(url.encode()).hexdigest()[:12]}"

    def __repr__(self) -> str:
        return f"Webhook({self.name})"

    def send(self, notice: Notice) -> None:
        """Post a notice; any status from 200 to 299 confirms it.

        Raises:
            NotReceived: for any other status, and where none came in time.
        """
        body = notice.body.encode()
        headers = {"Content-Type": "application/json", "User-Agent": "meterbridge"}
        headers |= signed_headers(self._key, notice.id, int(self._clock()), body)
        try:
            answer = requests.post(
                self._url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            answer.close()  # what it says besides its status is not read, however long it is
        except requests.RequestException as error:
            # The error's own text holds the URL.
            raise NotReceived(f"no answer ({type(error).__name__})") from None
        if not 200 <= answer.status_code < 300:
            raise NotReceived(f"HTTP status {answer.status_code}", answer.status_code)


def secret_key(secret: str) -> bytes:
    """Return the key of a secret.

    Raises:
        BadWebhook: when it is too short, or no base64 after `whsec_`.
    """
    try:
        key = (
            base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
            if secret.startswith(_PREFIX)
            else secret.encode()
        )
    except binascii.Error:
        raise BadWebhook(f"the webhook's secret is no base64 after {_PREFIX}") from None
    if len(key) < _SECRET_BYTES_MIN:
        raise BadWebhook(f"the webhook's secret has {len(key)} bytes; it takes at least {_SECRET_BYTES_MIN}")
    return key


def signed_headers(key: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a body."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{_signature(key, message_id, timestamp, body)}",
    }


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes, now: int | None = None) -> str:
    """Check a message as its receiver; return its id, by which repeats are told apart.

    Args:
        secret: as in `Webhook`.
        headers: of the request; their case does not matter.
        body: the request's bytes, unchanged.
        now: seconds since 1970.

    Raises:
        BadWebhookSignature: when it is not from whoever has the secret, was changed, or is five minutes old.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, stamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split(" ")
    except KeyError as error:
        raise BadWebhookSignature(f"the header {error} is missing") from error
    if not stamp.isascii() or not stamp.isdigit():
        raise BadWebhookSignature("webhook-timestamp is no time", stamp)
    if abs(int(stamp) - (int(time.time()) if now is None else now)) > TOLERANCE_SECONDS:
        raise BadWebhookSignature("the message is older than five minutes, or of the future", stamp)
    wanted = f"v1,{_signature(secret_key(secret), message_id, int(stamp), body)}"
    if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in signatures):
        raise BadWebhookSignature("the signature is not by this secret over this message", message_id)
    return message_id


def _signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
