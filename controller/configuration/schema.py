"""The JSON Schema of a configuration file, for editors. It accepts what `load` accepts, and what only `load` refuses
(names that exist nowhere, conditions that do not compile)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from controller.configuration.components import ComponentEntry, FleetEntry
from controller.configuration.drills import ScenarioEntry
from controller.configuration.fields import Section
from controller.configuration.groups import GroupEntry
from controller.configuration.kinds import Kinds, NoParameters
from controller.configuration.ladders import Template
from controller.configuration.limits import LimitsEntry
from controller.configuration.node import HttpEntry, NodeEntry
from controller.configuration.oncall import EscalationEntry, PersonEntry
from controller.configuration.rules import DomainEntry, RuleEntry
from controller.configuration.severity import HoursEntry, SeverityEntry
from controller.model.policy import Profile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class ConfigurationFile(Section):
    """One file of a configuration of Third Ring. Included files have the same keys."""

    name: str | None = Field(
        default=None, description="The configuration's name, on every screen and report."
    )
    language: Literal["zh", "en"] = "zh"
    profile: Profile = Profile.STANDARD
    include: str | tuple[str, ...] = Field(
        default=(),
        description="Files relative to this one, or shipped:NAME. What this file says replaces theirs.",
    )
    runbooks: str | tuple[str, ...] = Field(
        default=(), description="Directories or files relative to this one, or shipped: for the shipped ones."
    )
    node: NodeEntry | None = None
    http: HttpEntry | None = None
    ladders: dict[str, Template] | None = None
    components: dict[str, ComponentEntry] | None = None
    fleets: dict[str, FleetEntry] | None = None
    groups: dict[str, GroupEntry] | None = None
    rules: tuple[RuleEntry, ...] | None = None
    domains: tuple[DomainEntry, ...] | None = None
    severity: SeverityEntry | None = None
    hours: HoursEntry | None = None
    people: dict[str, PersonEntry] | None = None
    escalation: EscalationEntry | None = None
    drills: dict[str, ScenarioEntry] | None = None
    limits: LimitsEntry | None = None
    actions: dict[str, dict[str, Any]] | None = None


_PLACES: tuple[tuple[str, str, str, str], ...] = (
    ("Rung", "probe", "probe", "Parameters"),
    ("ChannelEntry", "kind", "notifier", "Parameters"),
    ("DriverEntry", "kind", "driver", "Parameters"),
    ("CallEntry", "action", "action", "Parameters"),
)
"""Where adapters' own parameters stand: definition, the key that names the kind, category, model."""


def schema(kinds: Kinds) -> dict[str, Any]:
    """JSON Schema (2020-12) with the parameters of every registered kind.

    Raises ImportError when a kind's library is not installed.
    """
    document = ConfigurationFile.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = document.setdefault("$defs", {})
    for place, key, category, model in _PLACES:
        definition = definitions[place]
        known = sorted(kinds.names.get(category, ()))
        definition["properties"][key] = {**definition["properties"][key], "enum": known}
        definition["allOf"] = [
            {
                "if": {"properties": {key: {"const": kind}}},
                "then": {"properties": {"with": _parameters(kinds, category, kind, model, definitions)}},
            }
            for kind in known
        ]
    document["properties"]["actions"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            kind: _parameters(kinds, "action", kind, "Settings", definitions)
            for kind in sorted(kinds.names.get("action", ()))
        },
    }
    return {"$schema": DIALECT, **document}


def _parameters(
    kinds: Kinds, category: str, kind: str, model: str, definitions: dict[str, Any]
) -> Mapping[str, Any]:
    """A reference to the kind's own schema. In a ladder any value may be a `${reference}` instead of what it becomes."""
    declared: type[BaseModel] = getattr(kinds.load(category, kind), model, NoParameters)
    name = f"{category}.{kind}.{model}"
    own = declared.model_json_schema(by_alias=True, ref_template=f"#/$defs/{name}.{{model}}")
    for inner, definition in own.pop("$defs", {}).items():
        definitions[f"{name}.{inner}"] = definition
    if category == "probe":
        reference = {"type": "string", "pattern": r"\$\{"}
        own["properties"] = {
            key: {"anyOf": [value, reference]} for key, value in own.get("properties", {}).items()
        }
    definitions[name] = own
    return {"$ref": f"#/$defs/{name}"}
