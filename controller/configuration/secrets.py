"""Values from elsewhere: `${env:NAME}` or `${env:NAME:-otherwise}` inside a text, or a whole text `file:PATH`.

`${here}` is the directory of the file, absolute.

A configuration never holds a secret itself: one must be written as such a reference, without an `otherwise`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.configuration.documents import Document, Location
from controller.model.errors import Problem

LARGEST_SECRET = 64 * 1024
"""Bytes: a certificate chain fits."""

UNREFERRED = "a secret is never written here: give ${env:NAME} or file:PATH"

_ENVIRONMENT = re.compile(r"\$\{env:((?:(?!:-)[^}])*)(?::-([^}]*))?\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = re.compile(r"file:(?!//)(.+)", re.DOTALL)


def resolve(
    document: Document, directory: Path, environment: Mapping[str, str], problems: list[Problem]
) -> Document:
    """The document with every reference replaced. Relative paths are relative to `directory`. A reference to
    something that is not there is a problem, and is left as it was written."""

    references: set[Location] = set()

    def walk(value: Any, path: Location) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "${here}" in value:
            value = value.replace("${here}", str(directory.absolute()))
        if isinstance(value, str) and ("${env:" in value or value.startswith("file:")):
            if ":-" not in value:
                references.add(path)
            return text(value, path)
        return value

    def text(value: str, path: Location) -> str:
        match = _FILE.fullmatch(value)
        if match is not None:
            return file(match[1].strip(), value, path)

        def variable(found: re.Match[str]) -> str:
            name = found[1]
            if _NAME.fullmatch(name) is None:
                problems.append(document.problem(path, f"{found[0]} does not name an environment variable"))
            elif name not in environment and found[2] is not None:
                return found[2]
            elif name not in environment:
                problems.append(document.problem(path, f"the environment variable {name} is not set"))
            else:
                return environment[name]
            return found[0]

        return _ENVIRONMENT.sub(variable, value)

    def file(name: str, written: str, path: Location) -> str:
        location = directory / Path(name).expanduser()
        try:
            if location.stat().st_size > LARGEST_SECRET:
                problems.append(document.problem(path, f"the file {location} is larger than 64 KB"))
                return written
            return location.read_text("utf-8").rstrip("\r\n")
        except OSError as error:
            problems.append(
                document.problem(path, f"the file {location} can't be read: {error.strerror or error}")
            )
        except UnicodeDecodeError:
            problems.append(document.problem(path, f"the file {location} is not UTF-8 text"))
        return written

    content = walk(document.content, ())
    return replace(document, content=content, references=frozenset(references))
