"""Every sentence that an action or a driver answers in words of its own is known to the readers' face, in both languages.

The record keeps such an answer as it was given, in English; `reports/answers.py` knows it by its pattern. A sentence that is
worded anew in an adapter and not there would be shown in English amid Chinese, and nothing else would tell.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

import controller.actions
from controller.reports.reasons import reason_text

ACTIONS: Final = Path(controller.actions.__file__).parent
ANSWERS: Final = frozenset({"ActionError", "ActionRefused", "ActionUnknown", "ActionOutcome"})
HELD: Final = "7"
"""Stands for each value in a sentence: a name, a place or a number."""

FREE: Final = {
    "7 is 7 at 7": "a destination's state is active or disabled, and both sentences are known",
}
"""Sentences that are not known as they stand here, and why."""

Names = Mapping[str, Sequence[ast.expr]]
"""What a function's own variables are set to."""

WORD: Final = re.compile(r"(?<![A-Za-z])[a-z]{2,}")
CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")


def sentences(node: ast.expr, names: Names) -> Iterator[str]:
    """What the expression may be, as far as it is written here; a value that comes from elsewhere is only held."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            for chosen in itertools.product(*(list(sentences(part, names)) for part in parts)):
                yield "".join(chosen)
        case ast.FormattedValue(value=ast.IfExp() as either):
            yield from sentences(either, names)
        case ast.FormattedValue(value=ast.Name() as name):
            yield from sentences(name, names)
        case ast.BoolOp(values=values):
            for value in values:
                yield from sentences(value, names)
        case ast.IfExp(body=body, orelse=orelse):
            yield from sentences(body, names)
            yield from sentences(orelse, names)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            for first, second in itertools.product(sentences(left, names), list(sentences(right, names))):
                yield first + second
        case ast.Name(id=name) if name in names:
            for value in names[name]:
                yield from sentences(value, {})
        case _:
            yield HELD


def message(call: ast.Call) -> ast.expr | None:
    name = call.func.id if isinstance(call.func, ast.Name) else None
    if name not in ANSWERS:
        return None
    if call.args:
        return call.args[0]
    return next((keyword.value for keyword in call.keywords if keyword.arg == "message"), None)


def said(tree: ast.AST) -> Iterator[str]:
    """The sentences of one file, as often as they are written."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names: dict[str, list[ast.expr]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and (expression := message(node)) is not None:
                yield from sentences(expression, names)


def written() -> Iterator[tuple[str, str]]:
    """Where it stands, and the sentence."""
    for path in sorted(ACTIONS.rglob("*.py")):
        for sentence in said(ast.parse(path.read_text())):
            if WORD.search(sentence):
                yield f"{path.relative_to(ACTIONS)}: {sentence}", sentence


def untranslated(sentence: str) -> list[str]:
    """The English words that are left of it in Chinese; the whole of it when nothing of it is Chinese."""
    zh = reason_text(sentence).zh
    return WORD.findall(zh) if CHINESE.search(zh) else [sentence]


SENTENCES: Final = dict(written())


@pytest.mark.parametrize("place", SENTENCES)
def test_every_answer_can_be_read_in_chinese(place: str) -> None:
    sentence = SENTENCES[place]
    if sentence in FREE:
        return
    assert untranslated(sentence) == []


def test_they_are_found_as_they_are_written() -> None:
    tree = ast.parse(
        "def perform():\n"
        "    told = f'{a} is gone'\n"
        "    raise ActionError(f'{a} is not {b}')\n"
        "    ActionOutcome(message='yes' if a else 'no')\n"
        '    ActionOutcome(message=f\'{a} is {"on" if b else "off"}\')\n'
        "    ActionRefused('not ready: ' + '; '.join(lacks))\n"
        "    ActionRefused(told)\n"
        "    ActionUnknown(str(error))\n"
        "    ActionOutcome(data=())\n"
        "    Other('not an answer')\n"
    )
    assert sorted(said(tree)) == sorted(
        ["7 is not 7", "yes", "no", "7 is on", "7 is off", "not ready: 7", "7 is gone", "7"]
    )
    assert len(SENTENCES) > 90


def test_a_sentence_that_is_not_known_is_found_out() -> None:
    assert untranslated("7 was put in its place by 7") == ["7 was put in its place by 7"]
    assert untranslated("no answer from 7") == []
    assert untranslated("the grant: 7 was put in its place") == ["was", "put", "in", "its", "place"]


@pytest.mark.parametrize("state", ["active", "disabled"])
def test_a_state_of_a_destination_is_known(state: str) -> None:
    assert untranslated(f"7 is {state} at 7") == []


def test_what_is_said_of_a_place_is_read_behind_its_name() -> None:
    said = reason_text("backup: 10.0.0.2:8021 gave no answer: timeout")
    assert (said.zh, said.en) == (
        "backup：10.0.0.2:8021 无应答：超时",
        "backup: 10.0.0.2:8021 gave no answer: timeout",
    )
    device = "Error: loose cable"
    assert (reason_text(device).zh, reason_text(device).en) == (device, device)


def test_what_is_free_is_still_said() -> None:
    assert FREE.keys() <= set(SENTENCES.values())
