"""pydantic models over documents: every error becomes a Problem with file, line and path."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from controller.configuration.documents import Document
from controller.model.errors import Problem

Model = TypeVar("Model", bound=BaseModel)

_MANY = 8
"""More values than a person wants to be shown for a typing mistake."""

_MESSAGES = {
    "missing": "this key is required",
    "string_type": "must be text; put it in quotes if it looks like a number",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}


def validate(
    model: type[Model],
    document: Document,
    problems: list[Problem],
    *,
    otherwise: Mapping[str, Any] | None = None,
) -> Model | None:
    """The validated model, with what is wrong appended to `problems`.

    So that one mistake does not hide what only later checks would see, wrong keys are left out and tried again, those
    of `otherwise` with the value given there. None when that is not enough.
    """
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        problems.extend(problems_of(error, document, model))
        content = copy.deepcopy(document.content)
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            _leave_out(content, _real_path(item["loc"], document.content, keep_last=True))
    if not isinstance(content, dict):
        return None
    try:
        return model.model_validate({**(otherwise or {}), **content})
    except ValidationError:
        return None


def _leave_out(content: Any, path: Sequence[str | int]) -> None:
    """Remove the innermost mapping key on `path` that is no list element's: elements must keep their places."""
    for element in path[:-1]:
        inside = _step(content, element)
        if inside is None:
            return
        (content,) = inside
    if path and isinstance(content, dict):
        content.pop(path[-1], None)


def problems_of(
    error: ValidationError, document: Document, model: type[BaseModel] | None = None
) -> list[Problem]:
    """One Problem an error. Elements that validators add to a location (union members) are left out of the path."""
    found = []
    for item in error.errors(include_url=False, include_context=True, include_input=True):
        path = _real_path(
            item["loc"], document.content, keep_last=item["type"] in ("missing", "extra_forbidden")
        )
        found.append(document.problem(path, _message(item, model, path)))
    return list(dict.fromkeys(found))


def closest(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """ "; closest: a, b" or, when nothing is close, "; known: ..." for a short list, else nothing."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.6)
    if close:
        return f"; closest: {', '.join(close)}"
    if 0 < len(known) <= 8:
        return f"; known: {', '.join(known)}"
    return ""


def _message(item: Any, model: type[BaseModel] | None, path: Sequence[str | int]) -> str:
    kind = item["type"]
    if kind == "extra_forbidden":
        fields = _fields_at(model, path[:-1])
        return f"unknown key{closest(str(path[-1]), fields) if path else ''}"
    if kind == "enum":
        expected = str(item["ctx"]["expected"])
        members = re.findall(r"'([^']+)'", expected)
        if len(members) > _MANY and isinstance(item["input"], str):
            close = closest(item["input"], members)
            return f"unknown value {item['input']!r}{close}" if close else f"must be one of {expected}"
        return f"must be one of {expected}"
    if kind == "literal_error":
        return f"must be {item['ctx']['expected']}"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        return f"must match {item['ctx']['pattern']}"
    if kind in ("too_short", "string_too_short"):
        least = item["ctx"]["min_length"]
        return "must not be empty" if least == 1 else f"must have at least {least} characters"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        (limit,) = item["ctx"].values()
        return f"must be {kind.replace('_than', ' than').replace('_equal', ' or equal').replace('_', ' ')} {limit:g}".replace(
            "than or equal", "than or equal to"
        )
    message = _MESSAGES.get(kind)
    if message is None:
        text = str(item["msg"])
        message = text[:1].lower() + text[1:]
        message = message.replace("input should be", "must be").replace("input should have", "must have")
    return message


def _fields_at(model: type[BaseModel] | None, path: Sequence[str | int]) -> list[str]:
    """The keys that the model at `path` knows; empty where the path leaves plain nested models."""
    current: Any = model
    for element in path:
        if isinstance(element, int):
            continue
        field = getattr(current, "model_fields", {}).get(element)
        current = None if field is None else _model_in(field.annotation)
    fields = getattr(current, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _real_path(location: Sequence[str | int], content: Any, *, keep_last: bool) -> list[str | int]:
    path: list[str | int] = []
    for index, element in enumerate(location):
        inside = _step(content, element)
        if inside is not None:
            (content,) = inside
        elif not (keep_last and index == len(location) - 1):
            continue
        path.append(element)
    return path


def _step(content: Any, element: str | int) -> tuple[Any] | None:
    """What is at `element`, wrapped; None when there is nothing."""
    if isinstance(content, dict) and element in content:
        return (content[element],)
    if isinstance(content, (list, tuple)) and isinstance(element, int) and element < len(content):
        return (content[element],)
    return None
