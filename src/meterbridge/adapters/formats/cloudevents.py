"""CloudEvents 1.0: the envelope says who, when and which; its data is a record of any other shape."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from meterbridge.adapters.formats.errors import BadUsage
from meterbridge.adapters.formats.rows import snippet
from meterbridge.adapters.formats.times import iso_millis
from meterbridge.adapters.formats.values import optional_text, parse_json, text

VERSION: Final = "1.0"


class Envelope:
    """What an envelope says; `data` is not read yet.

    Attributes:
        id, source: the event's identity, within the tenant.
        occurred_at: milliseconds since 1970, or None where it has no `time`.
        payer: its subject.
        data: the object inside.
    """

    __slots__ = ("data", "id", "occurred_at", "payer", "source")

    def __init__(self, event: Mapping[str, object]) -> None:
        """Read a structured-mode event.

        Raises:
            BadUsage: when an attribute is missing or broken, or the data is no JSON object.
        """
        version = event.get("specversion")
        if version != VERSION:
            raise BadUsage(f"specversion is {snippet(version)}; this reads CloudEvents 1.0", version)
        self.id = text("id", event.get("id"))
        self.source = text("source", event.get("source"))
        text("type", event.get("type"))
        time = event.get("time")
        self.occurred_at = None if time is None else iso_millis("time", time)
        self.payer = optional_text("subject", event.get("subject"))
        self.data = _data(event)


def is_envelope(record: Mapping[str, object]) -> bool:
    """Tell whether a record is a CloudEvent."""
    return "specversion" in record


def _data(event: Mapping[str, object]) -> Mapping[str, object]:
    kind = event.get("datacontenttype")
    if kind is not None and not is_json_type(kind):
        raise BadUsage(f"datacontenttype is {snippet(kind)}; the data must be JSON", kind)
    data = event.get("data")
    packed = event.get("data_base64")
    if packed is not None:
        if data is not None:
            raise BadUsage("the event has both data and data_base64; which of them counts?", None)
        data = parse_json(_unpack(packed))
    elif isinstance(data, str):
        data = parse_json(data)
    if type(data) is not dict and not isinstance(data, Mapping):
        raise BadUsage(f"data is {snippet(data)}; it must be an object with usage in it", data)
    return data


def is_json_type(kind: object) -> bool:
    """Tell whether a media type is JSON."""
    media = kind.partition(";")[0].strip().lower() if isinstance(kind, str) else ""
    return media == "application/json" or media.endswith("+json")


def _unpack(packed: object) -> bytes:
    try:
        return base64.b64decode(packed, validate=True)  # type: ignore[arg-type]  # it says so itself
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadUsage(f"data_base64 is {snippet(packed)}; it is not base64: {error}", packed) from error
