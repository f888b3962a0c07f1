"""The command line `meterbridge`.

Only light modules are imported here: `meterbridge --help` answers at once, and each command loads what it
needs when it runs.
"""

from __future__ import annotations

import os
import sys

EXIT_REFUSED = 1
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line and turn errors into one clear line and an exit code."""
    from meterbridge.entrypoints.cli.app import app

    try:
        app()
    except KeyboardInterrupt:
        print("\nInterrupted. Start the same command again: it goes on from here.", file=sys.stderr)  # noqa: T201  # no console yet
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away: nothing to say and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
