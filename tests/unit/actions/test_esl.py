"""FreeSWITCH's event socket protocol, without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.actions.freeswitch.esl import LONGEST_BODY, EslError, Frame, Parser, encoded

RESULT = "总 total.\n\nafter an empty line\n"
INNER = f"Event-Name: BACKGROUND_JOB\nJob-UUID: 7\nName: %E6%80%BB\nContent-Length: {len(RESULT.encode())}\n\n{RESULT}"
STREAM = (
    "Content-Type: auth/request\n\n"
    "\nContent-Type: command/reply\nReply-Text: +OK accepted\n\n"
    f"Content-Length: {len(INNER.encode())}\nContent-Type: text/event-plain\n\n{INNER}"
    "Content-Type: text/disconnect-notice\nContent-Length: 4\n\nbye\n"
).encode()


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=8))
def test_pieces_of_any_size_say_the_same(cuts: list[int]) -> None:
    parser, found = Parser(), []
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in zip(places, places[1:], strict=False):
        found += parser.feed(STREAM[start:end])
    assert [frame.kind for frame in found] == [
        "auth/request",
        "command/reply",
        "text/event-plain",
        "text/disconnect-notice",
    ]
    assert found[1].reply == "+OK accepted" and found[3].body == "bye\n"
    event = found[2].event()
    assert (event.headers["job-uuid"], event.headers["name"], event.body) == ("7", "总", RESULT)


def test_an_event_without_a_body() -> None:
    assert Frame({}, "Event-Name: HEARTBEAT\n\n").event().body == ""


@pytest.mark.parametrize(
    "data",
    [
        b"no header\n\n",
        b"Content-Length: many\n\n",
        b"Content-Length: -1\n\n",
        f"Content-Length: {LONGEST_BODY + 1}\n\n".encode(),
        b"x" * 70_000,
    ],
)
def test_what_is_no_event_socket(data: bytes) -> None:
    with pytest.raises(EslError):
        Parser().feed(data)


def test_a_command_can_t_go_on_to_another() -> None:
    assert encoded("bgapi status", {"Job-UUID": "7"}) == b"bgapi status\nJob-UUID: 7\n\n"
    for command in ("api x\n\napi y", "api x\r"):
        with pytest.raises(ValueError):
            encoded(command)
