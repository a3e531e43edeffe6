"""The parameters of a runbook's call of an action."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from controller.model.commands import RunAction
from controller.model.errors import ActionError
from controller.model.parameters import unflatten

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], command: RunAction) -> Model:
    """Raises ActionError: nothing was done."""
    try:
        return model.model_validate(unflatten(command.parameters))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise ActionError(f"{place}: {first['msg']}") from None
