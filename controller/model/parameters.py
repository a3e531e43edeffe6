"""Nested parameters as flat named values and back, and the references they may hold.

A name is the path of a leaf as a JSON Pointer without its leading slash (RFC 6901): `headers/X-Trace`, `argv/0`.
Plain parameters keep their plain names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.model.moments import Value, Values

REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.\-]*)\}")
"""`${name}` in a text. `${env:NAME}` is none: the configuration has replaced it."""


def flatten(parameters: Mapping[str, Any]) -> Values:
    """Every leaf with its path, in order. An empty mapping or list has no leaf and is left out.

    Raises TypeError for a leaf that is no text, number, boolean or null.
    """
    return tuple(leaf for name, value in parameters.items() for leaf in _leaves(_escaped(name), value))


def unflatten(values: Values) -> dict[str, Any]:
    """What `flatten` was given. A level whose keys are exactly 0 .. n-1 is a list."""
    tree: dict[str, Any] = {}
    for name, value in values:
        *parents, last = (_unescaped(part) for part in name.split("/"))
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return {name: _listed(value) for name, value in tree.items()}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{path}/{_escaped(str(name))}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}/{index}", inner)
    elif value is None or isinstance(value, (str, int, float, bool)):
        yield path, value
    else:
        raise TypeError(f"{path}: {type(value).__name__} is no parameter value")


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inside = {name: _listed(inner) for name, inner in value.items()}
    if list(inside) == [str(index) for index in range(len(inside))]:
        return list(inside.values())
    return inside


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
