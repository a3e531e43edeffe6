"""Who is told, by which channel, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from controller.configuration.documents import Document
from controller.configuration.fields import PositiveCount, PositiveSeconds, Seconds, Section
from controller.configuration.kinds import Kinds
from controller.configuration.severity import SeverityName
from controller.configuration.validation import closest, validate
from controller.model.errors import Problem
from controller.model.faults import Severity
from controller.model.policy import Channel, Escalation, EscalationLevel, Person


class ChannelEntry(Section):
    """`rides_on`: components or groups watched here that must work for this channel to reach its person (a call or an
    SMS sent through the platform, a robot behind the same uplink)."""

    name: str = Field(min_length=1)
    kind: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    rides_on: tuple[str, ...] = ()


class PersonEntry(Section):
    display: str = Field(min_length=1)
    role: str = Field(min_length=1)
    language: Literal["zh", "en"] = "zh"
    channels: tuple[ChannelEntry, ...] = Field(min_length=1)


class LevelEntry(Section):
    people: tuple[str, ...] = Field(min_length=1)
    after: Seconds


class EscalationEntry(Section):
    """Levels in order; `repeat` between rounds of the whole ladder of levels."""

    name: str = "on-call"
    levels: tuple[LevelEntry, ...] = Field(min_length=1)
    repeat: PositiveSeconds = 60.0
    rounds: PositiveCount = 10
    severities: tuple[SeverityName, ...] = (Severity.SEV1, Severity.SEV2)


def build_people(
    documents: Mapping[str, Document],
    watched: frozenset[str],
    kinds: Kinds,
    problems: list[Problem],
) -> tuple[dict[str, Person], frozenset[tuple[str, str]]]:
    """The people, and the (person, channel) pairs that ride on something watched here."""
    people = {}
    riding = set()
    for name, document in documents.items():
        entry = validate(PersonEntry, document, problems)
        if entry is None:
            people[name] = Person(name=name, display=name, role="")  # known by name: not reported again
            continue
        channels = []
        for index, item in enumerate(entry.channels):
            if any(item.name == other.name for other in entry.channels[:index]):
                problems.append(
                    document.problem(("channels", index, "name"), f"a second channel named {item.name}")
                )
            for position, ridden in enumerate(item.rides_on):
                if ridden not in watched:
                    problems.append(
                        document.problem(
                            ("channels", index, "rides_on", position),
                            f"unknown component or group {ridden!r}{closest(ridden, watched)}",
                        )
                    )
            if item.rides_on:
                riding.add((name, item.name))
            adapter = kinds.adapter("notifier", item.kind, document, ("channels", index, "kind"), problems)
            if adapter is None:
                continue
            parameters = kinds.validated(
                adapter, document.part(("channels", index, "with"), item.with_), problems
            )
            if parameters is not None:
                channels.append(Channel(name=item.name, kind=item.kind, parameters=parameters))
        people[name] = Person(
            name=name,
            display=entry.display,
            role=entry.role,
            language=entry.language,
            channels=tuple(channels),
        )
    return people, frozenset(riding)


def build_escalation(
    document: Document,
    people: Mapping[str, Person],
    riding: frozenset[tuple[str, str]],
    problems: list[Problem],
    warnings: list[Problem],
) -> Escalation | None:
    """Warns where nobody could be reached while the watched platform is down, and where levels are out of order."""
    entry = validate(EscalationEntry, document, problems)
    if entry is None:
        return None
    previous = -1.0
    for index, level in enumerate(entry.levels):
        for position, person in enumerate(level.people):
            if person not in people:
                problems.append(
                    document.problem(
                        ("levels", index, "people", position),
                        f"unknown person {person!r}{closest(person, people)}",
                    )
                )
        if level.after < previous:
            problems.append(
                document.problem(
                    ("levels", index, "after"), "a later level must not be paged before an earlier one"
                )
            )
        previous = level.after
    named = [person for level in entry.levels for person in level.people if person in people]
    channels = [(person, channel.name) for person in named for channel in people[person].channels]
    if channels and all(channel in riding for channel in channels):
        warnings.append(
            document.problem(
                ("levels",),
                "every channel of everyone here rides on what is being watched: when it fails nobody is told",
            )
        )
    return Escalation(
        name=entry.name,
        levels=tuple(EscalationLevel(people=level.people, after=level.after) for level in entry.levels),
        repeat=entry.repeat,
        rounds=entry.rounds,
        severities=frozenset(entry.severities),
    )
