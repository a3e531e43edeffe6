"""Aggregates as canonical JSON and back.

Fields marked `monotonic` in their metadata are never written: a monotonic instant means nothing after a restart.
Decoding keeps unknown fields out and fills missing ones from defaults, so that old and new versions can read each
other's journals.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from controller.model.drills import Drill
from controller.model.facts import Aggregate, Counters, Fact
from controller.model.faults import Fault
from controller.model.groups import Group, Hold
from controller.model.incidents import Incident
from controller.model.pages import Page
from controller.model.runs import Run

VERSION = 1

_AGGREGATES: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (Fault, Incident, Run, Group, Page, Drill, Hold, Counters)
}


def plain(value: object) -> Any:
    """`value` as JSON types. NamedTuples and tuples become lists, dataclasses objects, enums their value."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if not item.metadata.get("monotonic")
        }
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    raise TypeError(f"cannot encode {type(value).__name__}")


def canonical(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, UTF-8 text as itself."""
    return json.dumps(
        plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fact_payload(fact: Fact) -> str:
    """The payload of a journal entry. Stable for the same fact."""
    return canonical(
        {
            "version": VERSION,
            "subject": fact.subject,
            "actor": fact.actor,
            "data": dict(fact.data),
            "changed": [
                {"type": type(aggregate).__name__, "value": plain(aggregate)} for aggregate in fact.changed
            ],
        }
    )


def decode_aggregates(payload: Mapping[str, Any]) -> list[Aggregate]:
    """The `changed` aggregates of a parsed payload. A kind this version does not know is left out."""
    aggregates: list[Aggregate] = []
    for item in payload.get("changed", ()):
        kind = _AGGREGATES.get(item["type"])
        if kind is not None:
            aggregates.append(_decode(kind, item["value"]))
    return aggregates


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, value: Any) -> Any:
    if kind is Any or value is None:
        return value
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        arguments = [item for item in typing.get_args(kind) if item is not type(None)]
        return _decode(arguments[0], value) if len(arguments) == 1 else value
    if origin is tuple:
        arguments_ = typing.get_args(kind)
        if len(arguments_) == 2 and arguments_[1] is Ellipsis:
            return tuple(_decode(arguments_[0], item) for item in value)
        return tuple(_decode(part, item) for part, item in zip(arguments_, value, strict=True))
    if origin is frozenset:
        return frozenset(_decode(typing.get_args(kind)[0], item) for item in value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        known = {item.name for item in dataclasses.fields(kind) if not item.metadata.get("monotonic")}
        return kind(**{name: _decode(hints[name], item) for name, item in value.items() if name in known})
    if isinstance(kind, type) and issubclass(kind, tuple):
        hints = _hints(kind)
        return kind(*(_decode(hints[name], item) for name, item in zip(hints, value, strict=False)))
    if kind is float:
        return float(value)
    return value
