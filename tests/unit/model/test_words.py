from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import pytest

from controller.model import words
from controller.model.runbooks import Text

TABLES = [value for value in vars(words).values() if isinstance(value, Mapping) and value]
TABLES = [table for table in TABLES if all(isinstance(key, Enum) for key in table)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: type(next(iter(table))).__name__)
def test_every_member_has_both_languages(table: Mapping[Enum, Text]) -> None:
    kind = type(next(iter(table)))
    assert set(table) == set(kind)
    for text in table.values():
        assert text.en.isascii() and text.en.strip()
        assert any("\u4e00" <= character <= "\u9fff" for character in text.zh)


def test_all_tables_are_tested() -> None:
    assert len(TABLES) == 19
