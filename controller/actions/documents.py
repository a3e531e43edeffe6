"""JSON documents of others: read without loss, looked into and changed by JSON Pointer (RFC 6901)."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator

Scalar = str | bool | int | float | None
"""A leaf of a document."""


def _pointer(text: str) -> str:
    if not text.startswith("/") or text == "/":
        raise ValueError(f"{text!r} is no JSON Pointer to a member: it begins with / and names at least one")
    for part in text.split("/")[1:]:
        if "~" in part.replace("~0", "").replace("~1", ""):
            raise ValueError(f"{text!r}: a ~ is written ~0, a / in a name ~1")
    return text


Pointer = Annotated[str, AfterValidator(_pointer)]


def parse(text: bytes) -> Any:
    """Raises ValueError for what is no JSON, or could not be written again as it was: a name given twice, NaN, a
    fraction that a double can't hold."""
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_once, parse_float=_exact, parse_constant=_refused
        )
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def rendered(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def member(document: Any, pointer: str) -> Any:
    """Raises KeyError when there is none."""
    place = document
    for part in _parts(pointer):
        place = _child(place, part)
    return place


def with_member(document: Any, pointer: str, value: Scalar) -> Any:
    """A copy. The last name may be new in an object; everything before it must be there. Raises KeyError."""
    changed = copy.deepcopy(document)
    *parents, last = _parts(pointer)
    place = changed
    for part in parents:
        place = _child(place, part)
    if isinstance(place, dict):
        place[last] = value
    elif isinstance(place, list):
        _child(place, last)
        place[int(last)] = value
    else:
        raise KeyError(pointer)
    return changed


def same(one: Any, other: Any) -> bool:
    """As JSON values: true is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _child(place: Any, part: str) -> Any:
    if isinstance(place, dict) and part in place:
        return place[part]
    if isinstance(place, list) and part.isascii() and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    raise KeyError(part)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("gives a name twice")
    return found


def _exact(text: str) -> float:
    number = float(text)
    if Decimal(text) != Decimal(repr(number)):
        raise ValueError(f"holds {text}, which can't be written again as it is")
    return number


def _refused(text: str) -> float:
    raise ValueError(f"holds {text}, which is no JSON")
