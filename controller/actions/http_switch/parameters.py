"""What a configuration says of a group switched by a document behind HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from yarl import URL

from controller.actions.documents import Pointer, Scalar, same
from controller.actions.fields import HttpUrl, Seconds, Strict, loopback
from controller.actions.routed import SideParameters, idle_verbs
from controller.model.groups import DriverVerb


class ResourceParameters(Strict):
    """`url`: the document with the routing, read by GET and replaced by PUT. `running`: another document with the same
    members that shows what the device does, not what it was told; where there is one it is what a switch is judged by.
    """

    url: HttpUrl
    running: HttpUrl | None = None
    headers: Mapping[str, SecretStr] = {}

    @model_validator(mode="after")
    def _no_secret_in_the_clear(self) -> Self:
        for url in (self.url, self.running):
            if (
                url is not None
                and self.headers
                and URL(url).scheme == "http"
                and not loopback(URL(url).host or "")
            ):
                raise ValueError(f"the headers would cross the network unencrypted: {url} must be https")
        if self.running == self.url:
            raise ValueError("running must be another document than url")
        return self


class HttpSideParameters(SideParameters):
    """`members`: what the document holds while this side gets the calls, by JSON Pointer."""

    members: Mapping[Pointer, Scalar] = Field(min_length=1)


class HttpSwitchParameters(Strict):
    """`edges` and `sides` are named as in the group. `epoch`: a member of the document for the epoch, a number or a text
    with `epoch=N` in it; without one an old epoch is refused by nobody and the driver declares `fencing: none`.
    `snapshots`: a directory for each document as it was before a switch, `keep` of them an edge. `settle`: how long
    `running` may take to show a change, seconds; `timeout`: of one request."""

    edges: dict[str, ResourceParameters] = Field(min_length=1)
    sides: dict[str, HttpSideParameters] = Field(min_length=2, max_length=2)
    epoch: Pointer | None = None
    snapshots: Path
    keep: int = Field(default=20, ge=1)
    timeout: Seconds = 0.2
    settle: Seconds = 0.5
    ca: str = ""

    @property
    def idle_verbs(self) -> frozenset[DriverVerb]:
        return idle_verbs(self.sides.values())

    @property
    def longest(self) -> float:
        """A request without an answer, another that tells what became of it, and what is running."""
        return 2 * self.timeout + self.settle

    @model_validator(mode="after")
    def _reversible(self) -> Self:
        one, other = (side.members for side in self.sides.values())
        if set(one) != set(other):
            odd = ", ".join(sorted(set(one) ^ set(other)))
            raise ValueError(f"sides: both must say what {odd} is, or a switch could not be taken back")
        if all(same(one[pointer], other[pointer]) for pointer in one):
            raise ValueError("sides: the members of both are the same, nothing tells them apart")
        pointers = sorted([*one, *([] if self.epoch is None else [self.epoch])])
        for index, pointer in enumerate(pointers):
            for longer in pointers[index + 1 :]:
                if longer == pointer or longer.startswith(f"{pointer}/"):
                    raise ValueError(f"{longer} lies within {pointer}")
        if not self.snapshots.is_absolute():
            raise ValueError("snapshots: an absolute path")
        return self
