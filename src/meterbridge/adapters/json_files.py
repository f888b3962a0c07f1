"""Reading and writing the JSON files that people exchange: statements, proofs, tariffs, splits."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.json_fields import load_json

BYTES_MAX = 64 * 2**20
"""Far above a proof or a statement of a thousand lines; a file beyond it is not one of ours."""


class BadJsonFile(MeterbridgeError):
    """A file cannot be read as JSON."""


def write_json(path: Path, value: object, *, mode: int = 0o644) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, made here and nowhere else: nothing that lies there is followed or kept.
    handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            os.fchmod(out.fileno(), mode)
            json.dump(value, out, indent=1, ensure_ascii=False)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_json(path: Path) -> object:
    """Read a JSON file; a byte order mark is fine, floats and repeated keys are not.

    Raises:
        BadJsonFile: naming the file and what is wrong with it.
        OSError: when there is no such file.
    """
    size = path.stat().st_size
    if size > BYTES_MAX:
        raise BadJsonFile(f"{path} has {size:,} bytes; at most {BYTES_MAX:,} are read", str(path))
    try:
        return load_json(path.read_text(encoding="utf-8-sig"))
    except (ValueError, MeterbridgeError) as error:
        raise BadJsonFile(f"{path} is no JSON file that is understood: {error}", str(path)) from error
