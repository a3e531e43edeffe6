"""The exported JSON Schema: whole, and about the same keys as the loader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from controller.configuration import sources
from controller.configuration.kinds import Kinds
from controller.configuration.schema import schema
from tests.builders.adapters import UNLOADABLE, kinds


@pytest.fixture(scope="module")
def exported() -> dict[str, Any]:
    every = kinds()
    names = {
        category: [kind for kind in known if (category, kind) != UNLOADABLE]
        for category, known in every.names.items()
    }
    return schema(Kinds(names=names, load=every.load))


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_reference_leads_somewhere(exported: dict[str, Any]) -> None:
    exported = json.loads(json.dumps(exported))
    found = list(references(exported))
    assert len(found) > 20
    for reference in found:
        assert reference.removeprefix("#/$defs/") in exported["$defs"], reference


def test_it_has_the_keys_of_the_loader(exported: dict[str, Any]) -> None:
    known = {*sources.NAMED, *sources.LISTED, *sources.SINGLE, *sources.PLAIN}
    assert set(exported["properties"]) == known
    assert exported["additionalProperties"] is False


def test_each_kind_has_its_parameters(exported: dict[str, Any]) -> None:
    rung = exported["$defs"]["Rung"]
    assert "sip_options" in rung["properties"]["probe"]["enum"]
    assert "uri" in exported["$defs"]["probe.sip_options.Parameters"]["properties"]
    assert set(exported["properties"]["actions"]["properties"]) == {"command", "http"}


def test_a_kind_that_can_not_be_loaded_is_an_error() -> None:
    with pytest.raises(ImportError, match="pysnmp"):
        schema(kinds())
