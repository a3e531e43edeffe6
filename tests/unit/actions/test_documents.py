"""Documents of others: nothing may be lost by reading and writing them."""

from __future__ import annotations

import pytest

from controller.actions.documents import member, parse, rendered, same, with_member


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": 0.1000000000000000055511151231257827}',
        b'{"a": 1e999}',
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_could_not_be_written_again(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_numbers_texts_and_order_survive() -> None:
    text = '{"z": 1.10, "a": 12345678901234567890, "呼": "\\ud83d\\ude00", "e": 1e3}'.encode()
    once = parse(text)
    assert parse(rendered(once)) == once and list(once) == ["z", "a", "呼", "e"]


def test_a_pointer_finds_and_changes_one_member() -> None:
    document = {"a/b": [{"m~n": 1}, 2], "c": {}}
    assert member(document, "/a~1b/0/m~0n") == 1
    assert with_member(document, "/a~1b/1", "x") == {"a/b": [{"m~n": 1}, "x"], "c": {}}
    assert with_member(document, "/c/new", None)["c"] == {"new": None}
    assert document == {"a/b": [{"m~n": 1}, 2], "c": {}}, "it is a copy"


@pytest.mark.parametrize("pointer", ["/x/y", "/a~1b/2", "/a~1b/-", "/a~1b/1/q", "/a~1b/\u0661"])
def test_a_pointer_to_nothing(pointer: str) -> None:
    with pytest.raises(KeyError):
        with_member({"a/b": [{"m~n": 1}, 2]}, pointer, 1)


def test_true_is_not_one() -> None:
    assert same(1, 1.0) and same(True, True) and not same(True, 1) and not same(0, False)
