"""What the demo says to the person who runs it: numbered steps, then what happens as it happens, then the result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

NAME_WIDTH = 22


class Screen:
    """Silent with `quiet` (for --json). Texts come in both languages; `zh` says which is read."""

    def __init__(self, *, zh: bool, quiet: bool) -> None:
        self.zh = zh
        self._console = Console(highlight=False, quiet=quiet, soft_wrap=True)
        self._step = 0

    def word(self, zh: str, en: str) -> str:
        return zh if self.zh else en

    def title(self, zh: str, en: str) -> None:
        self._console.print()
        self._console.print(Rule(f"[bold]{escape(self.word(zh, en))}[/]", align="left", characters="─"))

    @contextmanager
    def step(self, zh: str, en: str) -> Iterator[list[str]]:
        """One numbered step. What is put in the list is said behind it when it is done, with how long it took."""
        self._step += 1
        said: list[str] = []
        head = f"[bold]{self._step}[/] {escape(self.word(zh, en))}"
        if self._console.is_terminal:
            self._console.print(head + " [dim]...[/]", end="\r")
        began = time.monotonic()
        try:
            yield said
        except BaseException:
            self._console.print(f"{head}  [bold red]✘[/]")
            raise
        took = time.monotonic() - began
        detail = "  ".join(escape(text) for text in said)
        self._console.print(f"{head}  [green]✔[/] [dim]{took:.1f} s[/]  {detail}")

    def say(self, zh: str, en: str, *, style: str = "") -> None:
        text = escape(self.word(zh, en))
        self._console.print(f"    [{style}]{text}[/]" if style else f"    {text}")

    def line(self, name: str, value: str) -> None:
        """Something to copy, behind its name."""
        self._console.print(f"    [dim]{escape(name)}{' ' * (NAME_WIDTH - cell_len(name))}[/]{escape(value)}")

    def event(self, when: str, text: str, *, style: str = "") -> None:
        """Something that happened."""
        marked = f"[{style}]{escape(text)}[/]" if style else escape(text)
        self._console.print(f"    [cyan]{when}[/]  {marked}")

    def result(self, good: bool, headline: str, rows: Sequence[tuple[str, str]]) -> None:
        self._console.print()
        colour = "green" if good else "red"
        self._console.print(
            Rule(f"[bold {colour}]{escape(headline)}[/]", align="left", characters="━", style=colour)
        )
        # No table: it would break long lines, and with them links that are to be copied.
        width = max(cell_len(name) for name, _ in rows) + 3
        for name, value in rows:
            for index, line in enumerate(value.splitlines() or [""]):
                label = name if index == 0 else ""
                self._console.print(f"[dim]{escape(label)}{' ' * (width - cell_len(label))}[/]{escape(line)}")
        self._console.print()
