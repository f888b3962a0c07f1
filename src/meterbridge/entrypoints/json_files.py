"""Reading and writing the JSON files that people exchange: statements, proofs, tariffs, splits."""

from __future__ import annotations

import json
import os
from pathlib import Path

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.json_fields import load_json


class BadJsonFile(MeterbridgeError):
    """A file cannot be read as JSON."""


def write_json(path: Path, value: object, *, mode: int = 0o644) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1, ensure_ascii=False)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)


def read_json(path: Path) -> object:
    """Read a JSON file; a byte order mark is fine, floats and repeated keys are not.

    Raises:
        BadJsonFile: naming the file and what is wrong with it.
        OSError: when there is no such file.
    """
    try:
        return load_json(path.read_text(encoding="utf-8-sig"))
    except (ValueError, MeterbridgeError) as error:
        raise BadJsonFile(f"{path} is no JSON file that is understood: {error}", str(path)) from error
