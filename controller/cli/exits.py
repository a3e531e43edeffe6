"""Exit codes of every command."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    DONE = 0
    PROBLEM = 1  # it ran, and what it looked at is wrong: a bad configuration, a broken chain, a failed drill
    USAGE = 2  # the command line can't be understood
    REFUSED = 3  # the controller named guards that stand against it; nothing was done
    UNREACHABLE = 4  # no controller answers at the control socket
    NOT_FOUND = 5  # no such group, incident, run or scenario
    INTERRUPTED = 130
