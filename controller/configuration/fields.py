"""Field types that every section shares."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, StrictBool

from controller.model import runbooks


class Section(BaseModel):
    """Base of every model of a configuration file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_enum_values=False, validate_default=False)


class Text(Section):
    """A text a person reads, in both languages. One plain string serves for both."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)

    def frozen(self) -> runbooks.Text:
        return runbooks.Text(zh=self.zh, en=self.en)


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or a text such as 250ms, 3s, 5m, 2h, 30d")
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("a duration is a number of seconds or a text such as 250ms, 3s, 5m, 2h, 30d")
        return round(float(match[1]) * _SECONDS[match[2]], 6)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, (bool, str)):
        raise ValueError("must be a number")
    return value


def _text(value: Any) -> Any:
    return {"zh": value, "en": value} if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=float | str), Field(ge=0, le=1e9)]
"""Seconds, written as a number or as 250ms, 3s, 5m, 2h, 30d."""
PositiveSeconds = Annotated[
    float, BeforeValidator(_seconds, json_schema_input_type=float | str), Field(gt=0, le=1e9)
]
Count = Annotated[int, Field(strict=True, ge=0)]
PositiveCount = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)]
Flag = StrictBool
RungName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
"""A name that conditions can read as a variable."""
Words = Annotated[Text, BeforeValidator(_text, json_schema_input_type=str | Text)]
"""A text in both languages, or one string for both."""

Scalar = str | int | float | bool


def _scalar(value: Any) -> Scalar:
    if isinstance(value, (str, int, float, bool)):
        return value
    raise ValueError("must be text, a number, true or false")


Plain = Annotated[Scalar, PlainValidator(_scalar, json_schema_input_type=Scalar)]
"""A value of a mapping of plain values."""
