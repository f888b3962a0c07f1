"""Forge as tests and benchmarks run it: in the folder that `scripts/forge test` has already built."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
OUT: Final = ROOT / "out"
LOCK: Final = ROOT / "build" / "forge.lock"


def run_forge(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run forge with settings of its environment; return how it ended.

    The contract takes the compiler longer than anything else here, and forge compiles only what has changed.
    Two at once in one folder would both compile: one waits for the other.
    """
    LOCK.parent.mkdir(exist_ok=True)
    environment: Mapping[str, str] = os.environ | settings
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return subprocess.run(
            [str(ROOT / "scripts" / "forge"), *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
