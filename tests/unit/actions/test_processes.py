"""Commands of a driver, on the event loop the controller runs on."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from controller.actions.kamailio_dispatcher.processes import CommandFailed, run


def on_uvloop(argv: list[str], text: str = "") -> str:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(argv, environment={}, text=text))


@pytest.mark.parametrize("text", ["", "x" * 300_000])
def test_a_command_may_end_without_reading_its_input(text: str) -> None:
    for _ in range(20):
        assert on_uvloop(["true"], text) == ""


def test_a_command_reads_its_input() -> None:
    assert on_uvloop(["sh", "-c", "cat | wc -c"], "x" * 300_000) == "300000"


def test_its_status_and_words_are_told() -> None:
    with pytest.raises(CommandFailed, match="ended with 3: no") as failed:
        on_uvloop(["sh", "-c", "echo no; exit 3"])
    assert failed.value.status == 3
