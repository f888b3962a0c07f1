"""What the commands print: tables for people on stdout, one JSON object for machines, progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int], None]


def plain(text: str) -> str:
    """Return a text without control characters: what a file says must not steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def _console(stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not stderr)


@dataclass(slots=True)
class Output:
    """Where a command says what it did.

    Attributes:
        as_json: print one JSON object at the end instead of words and tables.
    """

    as_json: bool
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    def say(self, text: str) -> None:
        """Print a line for people; silent with --json."""
        if not self.as_json:
            self.out.print(plain(text), markup=False)

    def heading(self, text: str) -> None:
        """Print the title of a step; silent with --json."""
        if not self.as_json:
            self.out.print(f"\n{plain(text)}", style="bold", markup=False)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, with and without --json."""
        from rich.markup import escape

        self.err.print(f"[yellow]warning:[/yellow] {escape(plain(text))}")

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        total: Sequence[str] | None = None,
    ) -> None:
        """Print a table; columns whose name starts with `>` are numbers and stand at the right."""
        if self.as_json:
            return
        from rich.box import SIMPLE, SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        footed = total is not None
        table = Table(
            title=escape(plain(title)) or None,
            box=SIMPLE_HEAD if not footed else SIMPLE,
            title_justify="left",
            show_footer=footed,
        )
        for index, column in enumerate(columns):
            footer = total[index] if total is not None else ""
            side: Literal["left", "right"] = "right" if column.startswith(">") else "left"
            table.add_column(column.removeprefix(">"), footer=footer, justify=side, overflow="fold")
        for row in rows:
            table.add_row(*(escape(plain(cell)) for cell in row))
        self.out.print(table)

    def result(self, values: Mapping[str, Any]) -> None:
        """With --json print the one object that the command answers with."""
        if self.as_json:
            print(json.dumps(values, separators=(",", ":"), sort_keys=False))  # noqa: T201  # machines want no styling

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Show a progress bar on stderr during a long step; call what it yields with each advance."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden = self.as_json or not self.err.is_terminal
        with Progress(*columns, console=self.err, transient=True, disable=hidden) as bar:
            task = bar.add_task(title, total=total)
            yield lambda n: bar.advance(task, n)
