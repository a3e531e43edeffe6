"""A drill from the command line: how it went, and whether all that must hold held meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from controller.cli.exits import Exit
from tests.builders.consoles import Beside, Sides, beside, settings_of, write_configuration
from tests.builders.records import disobeyed
from tests.cli.conftest import Command


class Willing(BaseHTTPRequestHandler):
    """Injects and undoes whatever it is told, which is nothing."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def drillable(tmp_path: Path) -> Iterator[Beside]:
    """A controller whose one drill ends a second after its inject."""
    server = HTTPServer(("127.0.0.1", 0), Willing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    sides = Sides()
    url = f'url: "http://127.0.0.1:{server.server_port}/", method: POST'
    changes = {'url: "http://127.0.0.1:9/", method: POST': url, "expires: 60s": "expires: 1s"}
    settings = settings_of(write_configuration(tmp_path, sides, changes))
    try:
        with beside(settings) as made:
            made.do(made.controller.sides_seen())
            yield made
    finally:
        sides.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_drill_in_which_a_call_went_astray_says_so(drillable: Beside, thirdring: Command) -> None:
    run = ("--socket", drillable.socket, "drill", "run", "primary-killed", "--language", "en")
    clean = thirdring(*run, "--json")
    assert clean.json["state"] == "finished" and clean.json["violations"] == [], clean
    # After what the drill sees as its beginning, and before anything the controller records of it.
    story = [replace(fact, incident="") for fact in disobeyed("calls").facts]
    drillable.do(drillable.controller.controller.journal.record(story))
    said = thirdring(*run)
    assert said.code == Exit.PROBLEM
    assert "Invariants that did not hold during the drill:" in said.out
    assert ": calls: primary answers a call while backup takes them" in said.out
    again = thirdring(*run, "--json")
    assert again.json["violations"] == [], "what was broken before it is not this drill's"
