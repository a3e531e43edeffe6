"""What operators ask for, from JSON bodies to events. Bad input gets one clear error and no event."""

from __future__ import annotations

import json
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controller.model.faults import Grade
from controller.model.groups import Refusal
from controller.web.problems import BadRequest

MOST_BYTES = 64 * 1024
"""Of a body; a larger one is answered with 413."""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class SwitchBody(Body):
    target: str = ""
    reason: str = Field(default="", max_length=500)
    overrides: list[Refusal] = []
    dry_run: bool = False


class ReasonBody(Body):
    reason: str = Field(min_length=1, max_length=500)


class ArmBody(Body):
    dry_run: bool = False


class ReleaseBody(Body):
    active: str
    reason: str = Field(min_length=1, max_length=500)


class ReadinessBody(Body):
    item: str
    hours: float = Field(default=24, gt=0, le=24 * 90)


class HoldBody(Body):
    scope: str = Field(min_length=1)
    reason: str = Field(min_length=1, max_length=500)
    minutes: float = Field(gt=0, le=7 * 24 * 60)
    maintenance: bool = False
    dry_run: bool = False


class NoteBody(Body):
    note: str = Field(min_length=1, max_length=4000)


class GradeBody(Body):
    grade: Grade


class RunBody(Body):
    runbook: str
    inputs: dict[str, str | int | float | bool] = {}
    incident: str = ""
    group: str = ""
    dry_run: bool = False


class ApprovalBody(Body):
    revision: str
    step: str
    attempt: int = Field(ge=1)
    granted: bool


class ManualBody(Body):
    step: str
    proof: str = Field(min_length=1, max_length=2000)


class DrillBody(Body):
    scenario: str
    dry_run: bool = False


class FaultReportBody(Body):
    """Policy 七-2: symptom, time, device."""

    component: str
    symptom: str = Field(min_length=1, max_length=2000)
    noticed_wall: float = Field(default=0.0, ge=0)


Read = TypeVar("Read", bound=Body)


def _no_number(name: str) -> float:
    """Python reads NaN and the infinities, which JSON (RFC 8259, 6) does not have."""
    raise ValueError(f"{name} is no JSON number")


async def read_body(request: web.Request, kind: type[Read]) -> Read:
    """The request's JSON body as `kind`. Raises BadRequest naming every field that is wrong."""
    raw = await request.read()
    try:
        document = json.loads(raw, parse_constant=_no_number) if raw else {}
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}"
            for item in error.errors()
        )
        raise BadRequest(wrong) from None
