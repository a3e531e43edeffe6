"""Adapter kinds of small, known shape, for tests of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from controller.configuration.kinds import Kinds


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OptionsProbe:
    mass = True

    class Parameters(Strict):
        uri: str = Field(pattern="^sip:")
        port: int = 5060


class CallProbe:
    mass = False
    values: ClassVar[Mapping[str, str]] = {
        "side": "string",
        "mos": "double",
        "answered": "bool",
        "one_way": "string",
    }

    class Parameters(Strict):
        uri: str
        user: str = "probe"
        password: SecretStr = SecretStr("")


class HostProbe:
    mass = True

    class Parameters(Strict):
        address: str


class EdgeProbe:
    mass = False
    values: ClassVar[Mapping[str, str]] = {"epoch": "int", "reached": "bool"}

    class Parameters(Strict):
        rpc: str
        sides: dict[str, str] = {}


class CommandAction:
    class Parameters(Strict):
        name: str

    class Settings(Strict):
        commands: dict[str, list[str]]


class HttpAction:
    class Parameters(Strict):
        url: str


class Driver:
    class Parameters(Strict):
        rpc: list[str]
        edges: dict[str, str] | None = None


class Webhook:
    class Parameters(Strict):
        url: str
        token: SecretStr | None = None


ADAPTERS: Mapping[tuple[str, str], type[Any]] = {
    ("probe", "sip_options"): OptionsProbe,
    ("probe", "sip_call"): CallProbe,
    ("probe", "sip_register"): OptionsProbe,
    ("probe", "icmp"): HostProbe,
    ("probe", "tcp"): HostProbe,
    ("probe", "kamailio"): EdgeProbe,
    ("action", "command"): CommandAction,
    ("action", "http"): HttpAction,
    ("driver", "kamailio_dispatcher"): Driver,
    ("notifier", "webhook"): Webhook,
}

UNLOADABLE = ("probe", "snmp")
"""A kind whose library is not installed."""


def kinds() -> Kinds:
    names: dict[str, list[str]] = {}
    for category, kind in (*ADAPTERS, UNLOADABLE):
        names.setdefault(category, []).append(kind)

    def load(category: str, kind: str) -> type[Any]:
        if (category, kind) == UNLOADABLE:
            raise ImportError("No module named 'pysnmp'")
        return ADAPTERS[category, kind]

    return Kinds(names=names, load=load)
