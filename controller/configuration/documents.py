"""YAML documents whose every value knows its file and line.

Scalars follow the YAML 1.2 core schema, so that `on`, `no`, `22:30` and `010` are what a person wrote and not a
boolean, a sexagesimal number or an octal. Tags and merge keys are refused. Limits stop a file that is too large, too
deep, or that grows through aliases.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from controller.model.errors import ConfigurationError, Problem

LARGEST_FILE = 32 * 1024 * 1024  # bytes: ten thousand components written out in full take about 5 MB
DEEPEST = 64
_TOO_DEEP = f"nested deeper than {DEEPEST}"
MOST_VALUES = 2_000_000  # after expanding aliases

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

Location = tuple[str | int, ...]
"""Keys and indexes from the top of a document to a value."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: the line of its key (or of itself) and the places inside it."""

    line: int
    inside: Mapping[str | int, Place] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """`content` is plain data: mappings with string keys, lists, strings, numbers, booleans, None."""

    file: str
    content: Any
    place: Place
    base: Location = ()
    digest: str = ""  # SHA-256 of the file, hex; of a whole document only
    references: frozenset[Location] = (
        frozenset()
    )  # from the top: texts that were written as references to secrets

    def line(self, path: Sequence[str | int] = ()) -> int:
        """The 1-based line of the value at `path`, or of its closest enclosing value. Elements of `path` that are
        not in the document (as validators add for unions) are stepped over."""
        place = self.place
        for element in path:
            place = place.inside.get(element, place)
        return place.line

    @classmethod
    def of_line(cls, file: str, line: int) -> Document:
        """A place in a file that is not YAML."""
        return cls(file=file, content=None, place=Place(line))

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        return Problem(
            file=self.file, line=self.line(path), path=dotted((*self.base, *path)), message=message
        )

    def referred(self, path: Sequence[str | int]) -> bool:
        """Whether the text at `path` was written as a reference to a secret, not as the secret itself."""
        return (*self.base, *path) in self.references

    def part(self, path: Sequence[str | int], content: Any) -> Document:
        """`content` as if it stood at `path`, so that its problems name the place there (or the closest around it)."""
        place = self.place
        for element in path:
            place = place.inside.get(element, place)
        return Document(
            file=self.file,
            content=content,
            place=place,
            base=(*self.base, *path),
            references=self.references,
        )

    def at(self, *path: str | int) -> Document:
        """The part of this document at `path`. Raises KeyError or IndexError when there is none."""
        content = self.content
        for element in path:
            content = content[element]
        return self.part(path, content)


def dotted(path: Iterable[str | int]) -> str:
    """`groups.calls.sides[0].destination`."""
    text = ""
    for element in path:
        text += f"[{element}]" if isinstance(element, int) else f".{element}" if text else element
    return text


def read_document(path: Path, *, shown: str = "") -> Document:
    """Read a YAML file; `shown` is its name in problems. Raises ConfigurationError with every problem found."""
    name = shown or str(path)
    try:
        if not path.is_file():
            raise ConfigurationError([Problem(file=name, line=0, path="", message="there is no such file")])
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigurationError(
                [
                    Problem(
                        file=name, line=0, path="", message=f"larger than {LARGEST_FILE // 1024 // 1024} MB"
                    )
                ]
            )
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        message = f"can't be read: {error.strerror or error}"
        raise ConfigurationError([Problem(file=name, line=0, path="", message=message)]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError([Problem(file=name, line=line, path="", message="not UTF-8 text")]) from None
    return replace(parse_document(text, name), digest=hashlib.sha256(data).hexdigest())


def parse_document(text: str, file: str) -> Document:
    """Parse one YAML document. Raises ConfigurationError with every problem found."""
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = mark.line + 1 if mark is not None else 0
        message = "not YAML: " + " ".join(part for part in (error.context, error.problem) if part)
        if "nesting depth" in (error.problem or ""):
            message = _TOO_DEEP  # libyaml from 0.2.6 on reads ahead, and meets a limit of its own first
        builder.problems.append(Problem(file=file, line=where, path="", message=message))
    except yaml.YAMLError as error:
        message = " ".join(str(error).split())
        builder.problems.append(Problem(file=file, line=0, path="", message=f"not YAML: {message}"))
    except _TooMuch as error:
        builder.problems.append(Problem(file=file, line=error.line, path="", message=str(error)))
    if builder.problems:
        raise ConfigurationError(builder.problems)
    return Document(file=file, content=builder.content, place=builder.place)


class _TooMuch(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not been seen. `key` is the mapping key that waits for its value."""

    content: dict[str, Any] | list[Any]
    inside: dict[str | int, Place]
    line: int
    anchor: str | None
    values: int = 1
    key: str | None = None
    key_line: int = 0
    keys: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Folds parser events into content and places, without recursion."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.content: Any = None
        self.place = Place(1)
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._documents = 0
        self._values = 0

    def take(self, event: Any) -> None:
        line: int = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _TooMuch(line, "more than one document in a file")
            case yaml.MappingStartEvent():
                self._begin(event, {})
            case yaml.SequenceStartEvent():
                self._begin(event, [])
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                ended = self._open.pop()
                self._add(ended.content, Place(ended.line, ended.inside), ended.anchor, ended.values)
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.AliasEvent():
                self._alias(event)
            case _:
                pass

    def _begin(self, event: Any, content: dict[str, Any] | list[Any]) -> None:
        line = event.start_mark.line + 1
        self._refuse_tag(event, line)
        if len(self._open) >= DEEPEST:
            raise _TooMuch(line, _TOO_DEEP)
        if self._expects_key():
            raise _TooMuch(line, "a key must be plain text")
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)  # an alias inside itself refers to nothing
        self._open.append(_Open(content, {}, line, event.anchor))

    def _scalar(self, event: Any) -> None:
        line = event.start_mark.line + 1
        self._refuse_tag(event, line)
        if self._expects_key():
            self._key(event.value, line)
            return
        plain = event.style is None or event.style == ""
        self._add(_resolve(event.value) if plain else event.value, Place(line), event.anchor, 1)

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if self._expects_key():
            raise _TooMuch(line, "a key must be plain text")
        if event.anchor not in self._anchors:
            self._report(line, f"the alias *{event.anchor} refers to nothing before it")
            self._add(None, Place(line), None, 1)
            return
        content, values = self._anchors[event.anchor]
        self._add(content, Place(line), None, values)

    def _key(self, key: str, line: int) -> None:
        parent = self._open[-1]
        if key in parent.keys:
            self._report(line, f"the key {key} is given twice; first on line {parent.keys[key]}", key)
        if key == "<<":
            self._report(line, "merge keys are not available; use an alias or a named template", key)
        parent.keys.setdefault(key, line)
        parent.key, parent.key_line = key, line

    def _add(self, value: Any, place: Place, anchor: str | None, values: int) -> None:
        self._values += 1
        if anchor is not None:
            self._anchors[anchor] = (value, values)
        if not self._open:
            self.content, self.place = value, place
            return
        parent = self._open[-1]
        parent.values += values
        if max(parent.values, self._values) > MOST_VALUES:
            raise _TooMuch(place.line, f"more than {MOST_VALUES} values, aliases expanded")
        if isinstance(parent.content, list):
            parent.inside[len(parent.content)] = place
            parent.content.append(value)
            return
        assert parent.key is not None
        parent.inside[parent.key] = Place(parent.key_line, place.inside)
        parent.content[parent.key] = value
        parent.key = None

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].content, dict) and self._open[-1].key is None

    def _refuse_tag(self, event: Any, line: int) -> None:
        if event.tag is not None and event.tag != "!":
            self._report(line, f"the tag {event.tag} is not available: write plain YAML")

    def _report(self, line: int, message: str, *last: str) -> None:
        path: list[str | int] = []
        for part in self._open:
            if isinstance(part.content, list):
                path.append(len(part.content))
            elif part.key is not None:
                path.append(part.key)
        self.problems.append(Problem(file=self.file, line=line, path=dotted([*path, *last]), message=message))


def _resolve(text: str) -> str | int | float | bool | None:
    """A plain scalar by the YAML 1.2 core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 30:
            return text
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text, 10)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
