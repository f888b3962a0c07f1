"""A fresh anvil chain of its own: started on a free port, stopped by its process, never shared."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from web3 import HTTPProvider, Web3

ROOT: Final = Path(__file__).resolve().parents[2]
BUNDLED: Final = ROOT / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
START_SECONDS: Final = 30


class NoAnvil(Exception):
    """There is no anvil here, or it does not start."""


def find_anvil() -> Path:
    """Return the anvil on PATH, else the native binary that npm brought.

    Raises:
        NoAnvil: saying how to get one.
    """
    on_path = shutil.which("anvil")
    # A script in node_modules/.bin is a wrapper around the binary, and outlives its own process.
    if on_path and "node_modules" not in on_path:
        return Path(on_path)
    if BUNDLED.exists():
        return BUNDLED
    raise NoAnvil("no anvil: run 'npm ci --ignore-scripts' (Linux, amd64), or install Foundry")


@contextmanager
def anvil(*arguments: str) -> Iterator[Web3]:
    """Run anvil while the block runs, and yield a client of it.

    Raises:
        NoAnvil: when there is none, or it ends or keeps silent.
    """
    port = free_port()
    command = [str(find_anvil()), "--port", str(port), "--silent", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield _connect(process, port)
    finally:
        process.terminate()
        process.communicate()


def free_port() -> int:
    """Return a port that nobody listens on, below those that outgoing connections are given meanwhile."""
    while True:
        port = secrets.choice(range(15_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _connect(process: subprocess.Popen[bytes], port: int) -> Web3:
    w3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}", request_kwargs={"timeout": 120}))
    for _ in range(START_SECONDS * 20):
        if process.poll() is not None:
            raise NoAnvil(
                f"anvil ended at once: {(process.stderr.read() if process.stderr else b'').decode()}"
            )
        if w3.is_connected():
            return w3
        time.sleep(0.05)
    raise NoAnvil(f"anvil did not answer within {START_SECONDS} seconds")
