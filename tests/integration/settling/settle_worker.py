"""A process that settles until it is told to stop; no test itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from books import open_books

from meterbridge.adapters.chain import KeySender
from meterbridge.adapters.chain.delivery import DeliveryClient
from meterbridge.adapters.chain.endpoints import Endpoints
from meterbridge.adapters.signers import LocalSigner
from meterbridge.services.settling.policy import Policy
from meterbridge.services.settling.settler import Settler

if __name__ == "__main__":
    url, folder, database, lease = sys.argv[1:5]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ledger = open_books(Path(folder), database or None)
    [record] = ledger.tariffs()
    sender = KeySender(LocalSigner.from_hex(os.environ["SETTLE_KEY"]))
    policy = Policy(poll_seconds=0, recheck_seconds=0, retry_seconds_max=1, lease_seconds=int(lease))
    settler = Settler(DeliveryClient(Endpoints([url]), record.domain), ledger, sender, policy)
    while not stop.wait(0.05):
        settler.step()
    ledger.close()
