"""What is to be done, in the imperative. Every outcome comes back as an event with the same id."""

from __future__ import annotations

from dataclasses import dataclass

from controller.model.groups import DriverVerb
from controller.model.health import RungKey
from controller.model.moments import Values
from controller.model.pages import PageText


@dataclass(frozen=True, kw_only=True, slots=True)
class RunAction:
    """Run a registered action. `parameters` are resolved. `timeout` in seconds. `epoch` is the
    group's fencing token, or 0 for an action that touches no group."""

    id: str
    action: str
    parameters: Values
    timeout: float
    run: str = ""
    step: str = ""
    attempt: int = 1
    incident: str = ""
    group: str = ""
    epoch: int = 0
    disruptive: bool = False
    drill: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drive:
    """One verb of a group's switch driver or fence. Idempotent; carries the epoch.

    `side` is the side the verb is about; for REDIRECT, PROMOTE, READ_BACK and REASSERT the side that is to be (or is)
    active; for FENCE, CONFIRM_FENCE, UNFENCE, FREEZE, THAW and DRAIN the side they act on.
    `host_alive`: the side may still be running (hung or reachable), so taking it out of rotation is no fence.
    """

    id: str
    group: str
    verb: DriverVerb
    side: str
    epoch: int
    timeout: float
    switch: str = ""
    disruptive: bool = True
    host_alive: bool = True
    drill: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLadder:
    """Run these rungs now, `count` times each, and answer with `LadderFinished`."""

    id: str
    keys: tuple[RungKey, ...]
    timeout: float
    count: int = 1
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notify:
    """Hand one page to one channel of one person. The acknowledge link is made at the edge."""

    id: str
    page: str
    incident: str
    person: str
    channel: str
    text: PageText
    severity: int
    drill: bool = False
    link: bool = True


Command = RunAction | Drive | RunLadder | Notify
