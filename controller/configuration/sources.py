"""The files of a configuration: the one named on the command line and what it includes, gathered by section.

What the including file says of a name replaces what an included file says of it; two included files must not both say
it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.configuration.documents import Document, read_document
from controller.configuration.secrets import resolve
from controller.configuration.validation import closest
from controller.model.errors import ConfigurationError, Problem

NAMED = ("ladders", "components", "fleets", "groups", "people", "drills", "actions")
"""Sections that map a name to an entry."""

LISTED = {"rules": "name", "domains": "fault"}
"""Sections that are lists in an order that matters or is read as a table: section -> the key that names an entry."""

SINGLE = ("node", "http", "severity", "hours", "escalation", "limits")
"""Sections that are one mapping."""

PLAIN = ("name", "language", "profile", "include", "runbooks")
"""Keys with a plain value. `name`, `language` and `profile` are the including file's, if it has them."""

_MOST_INCLUDES = 100
_SHIPPED = "shipped:"


@dataclass(kw_only=True)
class Sources:
    """`entries[section][name]` and `single[section]` are documents; `plain[key]` the document of its value.

    `runbooks` are directories or files, each with its name in problems and the place that names it. `digests`: shown file name -> SHA-256.
    """

    main: Document
    entries: dict[str, dict[str, Document]] = field(default_factory=dict)
    single: dict[str, Document] = field(default_factory=dict)
    plain: dict[str, Document] = field(default_factory=dict)
    runbooks: list[tuple[Path, str, Document]] = field(default_factory=list)
    directories: dict[str, Path] = field(default_factory=dict)  # of each file, for paths relative to it
    digests: dict[str, str] = field(default_factory=dict)

    def directory(self, document: Document) -> Path:
        return self.directories[document.file]


def gather(
    path: Path, shipped: Callable[[str], Path], environment: Mapping[str, str], problems: list[Problem]
) -> Sources | None:
    """Read `path` and everything it includes. `shipped("config")` and `shipped("runbooks")` are the directories that
    `shipped:NAME` refers to. None when the file itself can't be read; problems are appended."""
    reader = _Reader(shipped, environment, problems)
    document = reader.read(path, str(path))
    if document is None:
        return None
    sources = Sources(main=document)
    reader.fold(document, path, sources)
    sources.digests = reader.digests
    sources.directories = reader.directories
    return sources


class _Reader:
    def __init__(
        self, shipped: Callable[[str], Path], environment: Mapping[str, str], problems: list[Problem]
    ) -> None:
        self._shipped = shipped
        self._environment = environment
        self._problems = problems
        self._visited: set[Path] = set()
        self.digests: dict[str, str] = {}
        self.directories: dict[str, Path] = {}

    def read(self, path: Path, shown: str) -> Document | None:
        self._visited.add(path.resolve())
        try:
            document = read_document(path, shown=shown)
        except ConfigurationError as error:
            self._problems.extend(error.problems)
            return None
        if not isinstance(document.content, dict):
            self._problems.append(document.problem((), "must be a mapping"))
            return None
        self.digests[shown] = document.digest
        self.directories[shown] = path.parent
        return resolve(document, path.parent, self._environment, self._problems)

    def fold(self, document: Document, path: Path, sources: Sources) -> None:
        """Included files first, then this one over them."""
        included: dict[tuple[str, str], str] = {}
        for name, place in _texts(document, "include", self._problems):
            found = self._locate(name, path, "config")
            if found is None or found.resolve() in self._visited:
                if found is None:
                    self._problems.append(place.problem((), "nothing is shipped under that name"))
                continue
            if len(self._visited) >= _MOST_INCLUDES:
                self._problems.append(place.problem((), f"more than {_MOST_INCLUDES} files"))
                continue
            inner = self.read(found, self._shown(name, document))
            if inner is None:
                continue
            part = Sources(main=inner)
            self.fold(inner, found, part)
            self._merge(part, sources, included)
        self._own(document, path, sources)

    def _own(self, document: Document, path: Path, sources: Sources) -> None:
        for key, value in document.content.items():
            if key in NAMED:
                if not isinstance(value, dict):
                    if value is not None:
                        self._problems.append(document.problem((key,), "must be a mapping"))
                    continue
                entries = sources.entries.setdefault(key, {})
                for name in value:
                    entries[name] = document.at(key, name)
            elif key in LISTED:
                self._listed(document, key, sources.entries.setdefault(key, {}))
            elif key in SINGLE:
                if value is not None:
                    sources.single[key] = document.at(key)
            elif key in PLAIN:
                sources.plain[key] = document.at(key)
            else:
                known = (*NAMED, *LISTED, *SINGLE, *PLAIN)
                self._problems.append(document.problem((key,), f"unknown key{closest(key, known)}"))
        for name, place in _texts(document, "runbooks", self._problems):
            found = self._locate(name, path, "runbooks")
            if found is None:
                self._problems.append(place.problem((), "nothing is shipped under that name"))
            else:
                shown = "shipped:runbooks" if name == _SHIPPED else self._shown(name, document)
                sources.runbooks.append((found, shown, place))

    def _listed(self, document: Document, section: str, entries: dict[str, Document]) -> None:
        value = document.content[section]
        if not isinstance(value, list):
            if value is not None:
                self._problems.append(document.problem((section,), "must be a list"))
            return
        own: set[str] = set()
        for index, item in enumerate(value):
            name = item.get(LISTED[section]) if isinstance(item, dict) else None
            # An entry without its name is kept under its place, for its validation to say so.
            name = name if isinstance(name, str) else f"{section}[{index}]"
            if name in own:
                self._problems.append(document.problem((section, index), f"a second entry for {name}"))
                continue
            own.add(name)
            entries[name] = document.at(section, index)

    def _merge(self, part: Sources, sources: Sources, included: dict[tuple[str, str], str]) -> None:
        for section, entries in part.entries.items():
            for name, entry in entries.items():
                if (section, name) in included:
                    first = included[section, name]
                    self._problems.append(entry.problem((), f"already given by the included file {first}"))
                    continue
                included[section, name] = entry.file
                sources.entries.setdefault(section, {})[name] = entry
        for section, entry in part.single.items():
            if (section, "") in included:
                self._problems.append(
                    entry.problem((), f"already given by the included file {included[section, '']}")
                )
                continue
            included[section, ""] = entry.file
            sources.single[section] = entry
        sources.plain.update(part.plain)
        sources.runbooks.extend(part.runbooks)

    def _locate(self, name: str, path: Path, category: str) -> Path | None:
        if not name.startswith(_SHIPPED):
            return path.parent / Path(name).expanduser()
        directory = self._shipped(category)
        found = directory / name.removeprefix(_SHIPPED)
        return found if found.exists() and found.resolve().is_relative_to(directory.resolve()) else None

    def _shown(self, name: str, document: Document) -> str:
        if name.startswith(_SHIPPED):
            return name
        return os.path.normpath(os.path.join(os.path.dirname(document.file), os.path.expanduser(name)))


def _texts(document: Document, key: str, problems: list[Problem]) -> Sequence[tuple[str, Document]]:
    """A list of texts (or one text) with the place of each."""
    value: Any = document.content.get(key)
    if value is None:
        return ()
    if isinstance(value, str):
        return ((value, document.at(key)),)
    if not isinstance(value, list):
        problems.append(document.problem((key,), "must be a list of file names"))
        return ()
    found = []
    for index, item in enumerate(value):
        if isinstance(item, str):
            found.append((item, document.at(key, index)))
        else:
            problems.append(document.problem((key, index), "must be a file name"))
    return found
