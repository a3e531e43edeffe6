"""Components, one by one or as fleets of thousands, with the ladders they are probed by."""

from __future__ import annotations

import csv
import hashlib
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from controller.configuration.documents import Document
from controller.configuration.fields import Count, Flag, Plain, PositiveCount, Scalar, Section, Words
from controller.configuration.ladders import Ladders, Rung, substitute
from controller.configuration.validation import validate
from controller.model.errors import Problem
from controller.model.policy import Component, ComponentKind, Profile, RungPolicy
from controller.model.runbooks import Text

MOST_COMPONENTS = 200_000


class ComponentEntry(Section):
    """`ladder` names one or more templates, `with` gives them their values. A rung in `rungs` is added, or replaces the
    template's of the same name. `lines`: phones, agents or channels behind it."""

    kind: ComponentKind
    title: Words | None = None
    ladder: str | tuple[str, ...] = ()
    with_: dict[str, Plain] = Field(default_factory=dict, alias="with")
    rungs: tuple[Rung, ...] = ()
    depends_on: tuple[str, ...] = ()
    redundancy: str = ""
    failure_domain: str = ""
    vip_line: Flag = False
    lines: Count = 0
    profile: Profile | None = None

    @property
    def ladders(self) -> tuple[str, ...]:
        return (self.ladder,) if isinstance(self.ladder, str) else self.ladder


class FleetEntry(ComponentEntry):
    """Many components alike. Either `count` members named `<fleet>-00001` up, with `${n}` and, from `addresses` (a
    network), `${address}`, and, from `first_port`, `${port}`; or one member a row of the file `csv`, whose column `name`
    names it and whose other columns are values. `depends_on`, `redundancy` and `title` may hold such references."""

    count: Annotated[PositiveCount, Field(le=MOST_COMPONENTS)] | None = None
    addresses: str | None = None
    first_port: Annotated[PositiveCount, Field(le=65535)] | None = None
    csv: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> FleetEntry:
        if (self.count is None) == (self.csv is None):
            raise ValueError("give either count or csv")
        if self.csv is not None and (self.addresses is not None or self.first_port is not None):
            raise ValueError("addresses and first_port go with count, not with csv")
        return self

    @model_validator(mode="after")
    def _addresses_suffice(self) -> FleetEntry:
        if self.addresses is not None and self.count is not None:
            try:
                network = ipaddress.ip_network(self.addresses)
            except ValueError as error:
                raise ValueError(f"addresses: {error}") from None
            if network.num_addresses <= self.count:
                raise ValueError(f"addresses: {self.addresses} is too small for {self.count} members")
        if self.first_port is not None and self.count is not None and self.first_port + self.count > 65536:
            raise ValueError(f"first_port: {self.first_port} leaves no room for {self.count} members")
        return self


class Roster:
    """Builds every component; the profile of a component that names none is its group's, or the file's.

    `places` holds where each component was written, for cross-references.
    """

    def __init__(
        self, ladders: Ladders, profiles: Mapping[str, Profile], default: Profile, problems: list[Problem]
    ) -> None:
        self._ladders = ladders
        self._profiles = profiles
        self._default = default
        self._problems = problems
        self.components: dict[str, Component] = {}
        self.places: dict[str, Document] = {}

    def add(self, name: str, document: Document) -> None:
        check_name(name, document, self._problems)
        entry = validate(ComponentEntry, document, self._problems, otherwise={"kind": ComponentKind.OTHER})
        if entry is None:
            # Known by name, so that references to it are not reported as well.
            self.places.setdefault(name, document)
            return
        self._ladders.unique(entry.rungs, document.part(("rungs",), None))
        self._build(name, entry, entry.with_, document)

    def add_fleet(self, name: str, document: Document, directory: Path, digests: dict[str, str]) -> None:
        check_name(name, document, self._problems)
        entry = validate(FleetEntry, document, self._problems)
        if entry is None:
            return
        self._ladders.unique(entry.rungs, document.part(("rungs",), None))
        if entry.csv is not None:
            members = self._rows(entry.csv, document, directory, digests)
        else:
            members = ((member, values, document) for member, values in numbered(name, entry))
        for member, values, place in members:
            if len(self.components) >= MOST_COMPONENTS:
                self._problems.append(document.problem((), f"more than {MOST_COMPONENTS} components"))
                return
            self._build(member, entry, {**entry.with_, **values}, place, fleet=document)

    def _build(
        self,
        name: str,
        entry: ComponentEntry,
        values: Mapping[str, Scalar],
        place: Document,
        fleet: Document | None = None,
    ) -> None:
        written = place if fleet is None else fleet
        if name in self.components:
            first = self.places[name]
            self._problems.append(
                place.problem((), f"a second component named {name}; first in {first.file}:{first.line()}")
            )
            return
        profile = entry.profile or self._profiles.get(name, self._default)
        ladder: dict[str, RungPolicy] = {}
        for index, template in enumerate(entry.ladders):
            path = ("ladder",) if isinstance(entry.ladder, str) else ("ladder", index)
            for rung in self._ladders.build(template, name, values, profile, written, path):
                ladder[rung.name] = rung
        own = written.part(("rungs",), None)
        for rung in self._ladders.rungs(entry.rungs, name, values, profile, own):
            ladder[rung.name] = rung
        title = Text(zh=name, en=name) if entry.title is None else entry.title.frozen()
        depends_on, redundancy = entry.depends_on, entry.redundancy
        if fleet is not None:
            known = {"name": name, **values}

            def filled(text: str, *path: str | int) -> str:
                return str(substitute(text, known, written, path, self._problems))

            title = Text(zh=filled(title.zh, "title"), en=filled(title.en, "title"))
            depends_on = tuple(filled(item, "depends_on", index) for index, item in enumerate(depends_on))
            redundancy = filled(redundancy, "redundancy")
        self.components[name] = Component(
            name=name,
            kind=entry.kind,
            title=title,
            ladder=tuple(ladder.values()),
            depends_on=depends_on,
            redundancy=redundancy,
            failure_domain=entry.failure_domain,
            vip_line=entry.vip_line,
            lines=entry.lines,
            values=tuple(values.items()),
        )
        self.places[name] = written

    def _rows(
        self, name: str, document: Document, directory: Path, digests: dict[str, str]
    ) -> Iterator[tuple[str, dict[str, Scalar], Document]]:
        path = directory / name
        try:
            data = path.read_bytes()
            text = data.decode("utf-8-sig")
        except OSError as error:
            self._problems.append(
                document.problem(("csv",), f"{path} can't be read: {error.strerror or error}")
            )
            return
        except UnicodeDecodeError:
            self._problems.append(document.problem(("csv",), f"{path} is not UTF-8 text"))
            return
        digests[str(path)] = hashlib.sha256(data).hexdigest()
        rows = csv.DictReader(text.splitlines())
        if "name" not in (rows.fieldnames or ()):
            self._problems.append(document.problem(("csv",), f"{path} has no column called name"))
            return
        for row in rows:
            place = Document.of_line(str(path), rows.line_num)
            if None in row or None in row.values():
                self._problems.append(place.problem((), "has another number of columns than the first line"))
                continue
            values: dict[str, Scalar] = {key.strip(): value.strip() for key, value in row.items()}
            member = str(values.pop("name"))
            if check_name(member, place, self._problems):
                yield member, values, place


def numbered(name: str, entry: FleetEntry) -> Iterator[tuple[str, dict[str, Scalar]]]:
    """The members of a counted fleet with their own values."""
    count = entry.count or 0
    width = len(str(count))
    network = None if entry.addresses is None else ipaddress.ip_network(entry.addresses)
    for number in range(1, count + 1):
        values: dict[str, Scalar] = {"n": f"{number:0{width}}"}
        if network is not None:
            values["address"] = str(network[number])
        if entry.first_port is not None:
            values["port"] = entry.first_port + number - 1
        yield f"{name}-{number:0{width}}", values


def check_name(name: str, document: Document, problems: list[Problem]) -> bool:
    """Whether `name` can be a name; if not, a problem."""
    bad = sorted({character for character in name if character.isspace() or character in ":/,*?[]{}\"'$"})
    if name and not bad and len(name) <= 100:
        return True
    shown = "a space" if bad and bad[0].isspace() else (bad[0] if bad else "")
    message = f"a name must not hold {shown}" if bad else "a name has 1 to 100 characters"
    problems.append(document.problem((), message))
    return False
