"""An anvil that can be killed and started again with what it had on disk, at the same address."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from _anvil import find_anvil, free_port

from faults.proxy import Node

START_SECONDS: Final = 180


class RestartedNode:
    """A node whose process ends and begins again; its mempool never survives that.

    Attributes:
        url: where it answers while it runs.
        node: the same, for raw calls.
    """

    def __init__(self, folder: Path) -> None:
        """Choose a port; nothing runs yet."""
        self._port, self._state = free_port(), folder / "anvil.json"
        self._process: subprocess.Popen[bytes] | None = None
        self.url: Final = f"http://127.0.0.1:{self._port}"
        self.node: Final = Node(self.url)

    def start(self) -> None:
        """Start it and wait until it answers; blocks are mined only on demand."""
        options = ["--port", str(self._port), "--state", str(self._state), "--preserve-historical-states"]
        self._process = subprocess.Popen(
            [str(find_anvil()), *options, "--no-mining", "--silent"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                self.node.rpc("eth_chainId")
            except OSError:
                if time.monotonic() > give_up or self._process.poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: in order, so that it writes its state, or at once, so that it does not."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None
        self.node.close()
