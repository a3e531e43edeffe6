"""Every test has loopback addresses of its own, so that tests, demos and other programs don't meet."""

import itertools
import os

import pytest

from demo_platform.layout import Address, Layout

BLOCKS = itertools.count()


@pytest.fixture
def layout() -> Layout:
    """The demo's ports on hosts of 127.64.0.0/10 that no other test uses."""
    block = f"127.{64 + next(BLOCKS) % 64}.{os.getpid() % 250}"
    return Layout(
        edge=Address(f"{block}.10", 15060),
        edge_rpc=Address(f"{block}.10", 18090),
        primary=Address(f"{block}.11", 15061),
        primary_control=Address(f"{block}.11", 18091),
        backup=Address(f"{block}.12", 15061),
        backup_control=Address(f"{block}.12", 18091),
        echo=Address(f"{block}.21", 15062),
        agents=Address(f"{block}.31", 15062),
        callers=Address(f"{block}.41", 15063),
        console=Address(f"{block}.1", 18080),
        pager=Address(f"{block}.1", 18092),
    )
