"""pydantic models over documents: every error becomes a Problem with file, line and path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from controller.configuration.documents import Document
from controller.model.errors import Problem

Model = TypeVar("Model", bound=BaseModel)

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


def validate(model: type[Model], document: Document, problems: list[Problem]) -> Model | None:
    """The validated model, or None with what is wrong appended to `problems`."""
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        problems.extend(problems_of(error, document, model))
        return None


def problems_of(
    error: ValidationError, document: Document, model: type[BaseModel] | None = None
) -> list[Problem]:
    """One Problem an error. Elements that validators add to a location (union members) are left out of the path."""
    found = []
    for item in error.errors(include_url=False, include_context=True, include_input=False):
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
        return f"must be one of {item['ctx']['expected']}"
    if kind == "literal_error":
        return f"must be {item['ctx']['expected']}"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        return f"not a valid name: it must match {item['ctx']['pattern']}"
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
