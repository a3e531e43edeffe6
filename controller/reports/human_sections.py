"""What only people can write. Empty in every draft, and each one blocks the closing of the review."""

from __future__ import annotations

from controller.reports.document import Blank, Section
from controller.reports.voice import Voice

_SHORT = ("summary", "trigger", "factors")
_LONG = ("surprises", "lucky", "lessons")


def human_sections(voice: Voice) -> tuple[Section, ...]:
    def section(name: str, *blanks: Blank) -> Section:
        return Section(anchor=f"human-{name}", title=voice.word(f"human_{name}"), blocks=blanks, human=True)

    def prose(name: str, lines: int = 3) -> Section:
        return section(name, Blank(prompt=voice.word(f"human_{name}_ask"), lines=lines))

    def table(name: str, columns: tuple[str, ...], lines: int, first: tuple[str, ...] = ()) -> Section:
        heads = tuple(voice.word(column) for column in columns)
        return section(
            name, Blank(prompt=voice.word(f"human_{name}_ask"), columns=heads, lines=lines, first=first)
        )

    return (
        *(prose(name) for name in _SHORT),
        table("whys", ("number", "why", "answer"), 5, ("1", "2", "3", "4", "5")),
        *(prose(name) for name in _LONG),
        table("actions", ("action", "owner", "due", "evidence_of", "declined"), 5),
        prose("message", 4),
        table("sign", ("role", "name", "signature", "date"), 3),
    )
