"""The console's words: both languages, none missing, none left over."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from controller.web.words import WORDS, word

ROOM = Path(__file__).parents[3] / "controller" / "web"

BUILT = {
    "ack_link_": {"expired", "used", "wrong"},  # LinkProblem
    "filter_": {"all", "actions", "people", "paging"},
}
"""Keys that are put together where they are used: the beginning, and what follows it."""

ACTIONS = {"acknowledge", "command", "mitigate", "resolve"}
"""Keys that are an incident's actions as well: `w(action)`."""


def of_templates() -> set[str]:
    """What the templates call `w` with, and every text in them that is a key."""
    used: set[str] = set()
    for path in (ROOM / "templates").glob("*.html"):
        tree = Environment().parse(path.read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "w":
                used.update(leaf.value for leaf in constants(call.args[0]))
    return used


def constants(node: nodes.Node) -> list[nodes.Const]:
    """Of `w("a")` and of `w("a" if x else "b")`, but not of the test between them."""
    if isinstance(node, nodes.Const):
        return [node]
    if isinstance(node, nodes.CondExpr):
        return [*constants(node.expr1), *(constants(node.expr2) if node.expr2 is not None else [])]
    return []


def of_code() -> set[str]:
    """Keys in calls of `.word(...)`, and texts of the code that are keys."""
    used: set[str] = set()
    for path in ROOM.glob("*.py"):
        if path.name == "words.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in WORDS:
                used.add(node.value)
    return used


def built() -> set[str]:
    return {beginning + end for beginning, ends in BUILT.items() for end in ends}


@pytest.mark.parametrize("key", sorted(WORDS))
def test_every_key_says_something_in_both_languages(key: str) -> None:
    chinese, english = WORDS[key]
    assert chinese.strip() == chinese != "" and english.strip() == english != ""
    assert sorted(re.findall(r"{\d}", chinese)) == sorted(re.findall(r"{\d}", english)), "the same values"
    if key not in ("language_other", "mos"):
        assert re.search(r"[\u4e00-\u9fff]", chinese), "is it Chinese?"
    if key not in ("language_other", "drill"):
        assert not re.search(r"[\u4e00-\u9fff]", english), "is it English?"


def test_templates_use_no_unknown_key() -> None:
    assert of_templates() <= set(WORDS)
    assert built() <= set(WORDS)


def test_no_key_is_left_over() -> None:
    assert set(WORDS) - of_templates() - of_code() - built() - ACTIONS == set()


def test_the_check_finds_what_it_looks_for() -> None:
    assert {"title", "sign_out", "approve", "armed", "not_armed"} <= of_templates()
    assert {"dry_run_says", "not_found"} <= of_code()


def test_values_are_put_in_and_a_wrong_key_is_an_error() -> None:
    assert word("rto", "zh", 3) == "恢复目标 3 秒"
    assert word("rto", "en", 3) == "RTO 3 s"
    with pytest.raises(KeyError):
        word("nothing", "zh")
