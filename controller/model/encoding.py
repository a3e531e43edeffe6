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
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from controller.model.drills import Drill
from controller.model.facts import Aggregate, Counters, Fact, Gone, aggregate_key, retired
from controller.model.faults import Fault
from controller.model.groups import Group, Hold
from controller.model.incidents import Incident
from controller.model.pages import Page
from controller.model.runs import Run

VERSION = 1

_AGGREGATES: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (Fault, Incident, Run, Group, Page, Drill, Hold, Counters, Gone)
}


class EncodedFact(NamedTuple):
    """A fact as the journal keeps it. `aggregates`: (key, canonical JSON, whether it leaves the live state)."""

    payload: str
    aggregates: tuple[tuple[str, str, bool], ...]


_canonical_json = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode

_BARE = frozenset({str, int, bool, type(None)})


@functools.cache
def _written_fields(kind: type[Any]) -> tuple[str, ...] | None:
    """The fields of a dataclass that are written; None when `kind` is no dataclass."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(item.name for item in dataclasses.fields(kind) if not item.metadata.get("monotonic"))


def plain(value: object) -> Any:
    """`value` as JSON types. NamedTuples and tuples become lists, dataclasses objects, enums their value.

    A NaN or an infinity, which JSON has no word for, becomes null.
    """
    kind: Any = type(value)
    if kind in _BARE:
        return value
    if kind is float:
        return value if math.isfinite(typing.cast(float, value)) else None
    if isinstance(value, enum.Enum):
        return value.value
    names = _written_fields(kind)
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, (tuple, list)):
        return [item if type(item) in _BARE else plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"cannot encode {kind.__name__}")


def canonical(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, UTF-8 text as itself."""
    return _canonical_json(plain(value))


def encode_fact(fact: Fact) -> EncodedFact:
    """The payload and, encoded once for both uses, the aggregates it changes. Stable for the same fact.

    What is no Unicode text (lone surrogates from a malformed message) is replaced by "?".
    """
    aggregates = tuple(
        (aggregate_key(aggregate), encode_aggregate(aggregate), retired(aggregate))
        for aggregate in fact.changed
    )
    # Written out by hand so that an aggregate is encoded once; the keys are in canonical order.
    payload = (
        f'{{"actor":{_canonical_json(fact.actor)},"changed":[{",".join(text for _, text, _ in aggregates)}]'
        f',"data":{canonical(dict(fact.data))},"subject":{_canonical_json(fact.subject)},"version":{VERSION}}}'
    )
    try:
        payload.encode()
    except UnicodeEncodeError:
        return EncodedFact(
            _printable(payload),
            tuple((_printable(key), _printable(text), gone) for key, text, gone in aggregates),
        )
    return EncodedFact(payload, aggregates)


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def fact_payload(fact: Fact) -> str:
    """The payload of a journal entry."""
    return encode_fact(fact).payload


def encode_aggregate(aggregate: Aggregate) -> str:
    """One aggregate with its type, as it stands in `changed`."""
    return f'{{"type":"{type(aggregate).__name__}","value":{canonical(aggregate)}}}'


def shared_aggregate(aggregate: Aggregate, standing: str = "") -> str:
    """One aggregate as several nodes share it, of which some may run another version: with the version, and with those
    fields of the `standing` text that this version does not know."""
    document = json.loads(encode_aggregate(aggregate))
    if standing:
        known = {item.name for item in dataclasses.fields(aggregate)}
        before = json.loads(standing)["value"]
        document["value"].update({name: item for name, item in before.items() if name not in known})
    return _canonical_json({**document, "version": VERSION})


def decode_aggregate(text: str) -> Aggregate | None:
    """The aggregate that `encode_aggregate` wrote; None for a kind this version does not know.

    Raises ValueError, KeyError or TypeError for a text it did not write.
    """
    found = decode_aggregates({"changed": [json.loads(text)]})
    return found[0] if found else None


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
