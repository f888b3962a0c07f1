"""The examples of docs/library.md, run as they stand there; what they print is compared."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

DOC = Path(__file__).resolve().parents[3] / "docs" / "library.md"
_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A block of code, where it begins, and what it must print."""

    line: int
    code: str
    prints: str


def examples() -> Iterator[Example]:
    page = DOC.read_text(encoding="utf-8")
    found = list(_BLOCK.finditer(page))
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block[1] != "python":
            continue
        said = following[2] if following is not None and following[1] == "text" else ""
        yield Example(page[: block.start(2)].count("\n"), block[2], said)


@pytest.fixture
def service(market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serve the folder `books` once an example asks for the service; needs the extra `serve`."""
    pytest.importorskip("fastapi")
    served = contextlib.ExitStack()

    def start() -> None:
        url, key = served.enter_context(serving(tmp_path / "books"))
        monkeypatch.setenv("METERBRIDGE_SERVICE", url)
        monkeypatch.setenv("METERBRIDGE_API_KEY", key)

    with served:
        yield start


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str]]:
    """Run the service in a thread, with a key that may send usage."""
    import uvicorn

    from meterbridge.adapters.intake.api_keys import ApiKeys, Scope
    from meterbridge.entrypoints.api.app import create_app
    from meterbridge.entrypoints.api.serving import ServeConfig, build, open_database

    ledger, database = open_database(str(folder), None)
    (record,) = ledger.tariffs()
    key, _ = ApiKeys(database).create(record.tariff.provider, [Scope.INGEST], name="the page")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = create_app(build(ServeConfig(str(folder), None)))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}", key
    finally:
        server.should_exit = True
        thread.join(30)


def test_every_example_runs_and_prints_what_the_page_says(
    market: Any, service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meterbridge-devnet").symlink_to(market.folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METERBRIDGE_RPC", market.rpc)
    world: dict[str, Any] = {"__name__": "__main__"}
    ran = 0
    for example in examples():
        if "METERBRIDGE_SERVICE" in example.code:
            service()
        out = io.StringIO()
        # Empty lines in front, so that a traceback names the line of the page.
        code = compile("\n" * example.line + example.code, str(DOC), "exec")
        with contextlib.redirect_stdout(out):
            exec(code, world)  # that is the test
        assert out.getvalue() == example.prints, f"{DOC.name}, line {example.line + 1}"
        ran += 1
    assert ran >= 12
