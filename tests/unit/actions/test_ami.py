"""Asterisk's manager protocol, without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.actions.asterisk.ami import LONGEST_LINE, AmiError, Parser, encoded

STREAM = (
    "Asterisk Call Manager/9.0.0\r\n"
    "Response: Success\r\nActionID: 1\r\nMessage: Command output follows\r\n"
    "Output: a: b\r\nOutput: \r\nOutput:  总机\r\n\r\n"
    "\r\nEvent: X\r\nEventList: Complete\r\n\r\n"
).encode()


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=8))
def test_pieces_of_any_size_say_the_same(cuts: list[int]) -> None:
    parser, found = Parser(), []
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in zip(places, places[1:], strict=False):
        found += parser.feed(STREAM[start:end])
    assert parser.banner == "Asterisk Call Manager/9.0.0"
    first, second = found
    assert first.get("actionid") == "1" and first.is_response and first.succeeded
    assert first.all("Output") == ["a: b", "", " 总机"]
    assert second.ends_list and not second.is_response


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"Asterisk Call Manager/2.10.6\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"Asterisk Call Manager/9.0.0\r\nno field\r\n",
        b"x" * (LONGEST_LINE + 1),
    ],
)
def test_what_is_no_manager(data: bytes) -> None:
    with pytest.raises(AmiError):
        Parser().feed(data)


def test_a_message_ends() -> None:
    parser = Parser()
    with pytest.raises(AmiError, match="without an end"):
        parser.feed(b"Asterisk Call Manager/9.0.0\r\n" + b"A: b\r\n" * 30_000)


def test_a_value_can_t_begin_a_field() -> None:
    assert encoded("Ping", "7", [("A", "b")]) == b"Action: Ping\r\nActionID: 7\r\nA: b\r\n\r\n"
    for value in ("a\nAction: Logoff", "a\rb"):
        with pytest.raises(ValueError):
            encoded("Ping", "7", [("A", value)])
