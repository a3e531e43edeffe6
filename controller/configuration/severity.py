"""Impact and urgency: the rows that choose them, the matrix that makes a severity of them, and business hours."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from controller.configuration.conditions import compile_condition
from controller.configuration.documents import Document
from controller.configuration.fields import Section, Words
from controller.configuration.validation import validate
from controller.model.errors import ConditionError, Problem
from controller.model.faults import Impact, Severity, Urgency
from controller.model.policy import BusinessHours, SeverityRow
from controller.model.variables import SEVERITY

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _named(kind: type[Impact] | type[Urgency] | type[Severity]) -> Any:
    names = {member.name.lower(): member for member in kind}

    def convert(value: Any) -> Any:
        found = names.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"must be one of {', '.join(names)}")
        return found

    return BeforeValidator(convert, json_schema_input_type=str)


ImpactName = Annotated[Impact, _named(Impact)]
UrgencyName = Annotated[Urgency, _named(Urgency)]
SeverityName = Annotated[Severity, _named(Severity)]


class RowEntry(Section):
    name: str = Field(min_length=1)
    when: str
    impact: ImpactName
    urgency: UrgencyName
    because: Words


class SeverityEntry(Section):
    """The first row whose condition holds wins; the last must hold always, so that every incident has a severity."""

    rows: tuple[RowEntry, ...] = Field(min_length=1)
    matrix: dict[ImpactName, dict[UrgencyName, SeverityName]]

    @field_validator("matrix")
    @classmethod
    def _complete(
        cls, matrix: dict[Impact, dict[Urgency, Severity]]
    ) -> dict[Impact, dict[Urgency, Severity]]:
        missing = [
            f"{impact.name.lower()}/{urgency.name.lower()}"
            for impact in Impact
            for urgency in Urgency
            if urgency not in matrix.get(impact, {})
        ]
        if missing:
            raise ValueError(f"no severity for {', '.join(missing)}")
        return matrix


_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")


class HoursEntry(Section):
    """Local times as HH:MM; `zone` is an IANA name; `holidays` are ISO dates."""

    zone: str = "Asia/Shanghai"
    weekdays: tuple[str, ...] = _DAYS
    opens: str = "00:00"
    closes: str = "24:00"
    holidays: tuple[str, ...] = ()

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{zone!r} is not a time zone; write it as Asia/Shanghai") from None
        return zone

    @field_validator("weekdays")
    @classmethod
    def _known_days(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [day for day in days if day.lower() not in _DAYS]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: must be among {', '.join(_DAYS)}")
        return days

    @field_validator("opens", "closes")
    @classmethod
    def _known_time(cls, time: str) -> str:
        if minutes(time) is None:
            raise ValueError(f"{time!r} is not a time of day; write it as 09:00")
        return time

    @field_validator("holidays")
    @classmethod
    def _known_dates(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        for day in days:
            try:
                date.fromisoformat(day)
            except ValueError:
                raise ValueError(f"{day!r} is not a date; write it as 2026-10-01") from None
        return days

    @model_validator(mode="after")
    def _in_order(self) -> HoursEntry:
        if (minutes(self.opens) or 0) >= (minutes(self.closes) or 0):
            raise ValueError("opens must be before closes")
        return self


def minutes(time: str) -> int | None:
    """Minutes from midnight of HH:MM, up to 24:00."""
    match = _CLOCK.fullmatch(time)
    if match is None:
        return None
    found = int(match[1]) * 60 + int(match[2])
    return found if found <= 24 * 60 else None


def build_severity(
    document: Document, problems: list[Problem]
) -> tuple[tuple[SeverityRow, ...], Mapping[tuple[Impact, Urgency], Severity]]:
    entry = validate(SeverityEntry, document, problems)
    if entry is None:
        return (), {}
    rows = []
    for index, item in enumerate(entry.rows):
        try:
            condition = compile_condition(item.when, SEVERITY)
        except ConditionError as error:
            problems.append(document.problem(("rows", index, "when"), str(error)))
            continue
        rows.append(
            SeverityRow(
                name=item.name,
                when=condition,
                impact=item.impact,
                urgency=item.urgency,
                because=item.because.frozen(),
            )
        )
    if entry.rows[-1].when.strip() != "true":
        problems.append(
            document.problem(
                ("rows", len(entry.rows) - 1, "when"),
                "the last row must be `when: true` in quotes, so that every incident has a severity",
            )
        )
    matrix = {
        (impact, urgency): severity
        for impact, row in entry.matrix.items()
        for urgency, severity in row.items()
    }
    return tuple(rows), matrix


def build_hours(document: Document, problems: list[Problem]) -> BusinessHours:
    entry = validate(HoursEntry, document, problems)
    if entry is None:
        return BusinessHours()
    return BusinessHours(
        zone=entry.zone,
        weekdays=frozenset(_DAYS.index(day.lower()) for day in entry.weekdays),
        opens=minutes(entry.opens) or 0,
        closes=minutes(entry.closes) or 0,
        holidays=frozenset(entry.holidays),
    )
