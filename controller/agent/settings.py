"""What a host's agent is told in its file. Unknown keys are refused, and every error is reported at once."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from controller.agent.gate import ARMED, Guarded

ROUND: Final = 0.100
"""Seconds between two heartbeats of a hold."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _usable(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if address.is_multicast or address.is_loopback or address.is_unspecified or address.is_link_local:
        raise ValueError(f"{address} can't be a virtual address")
    return address


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Device = Annotated[str, Field(pattern=r"^[^\s/\"\\]{1,15}$")]
VirtualAddress = Annotated[IPv4Address | IPv6Address, AfterValidator(_usable)]
Seconds = Annotated[float, Field(gt=0.0, le=3600.0, strict=False)]
Argv = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
"""An argument vector. It runs without a shell, with THIRDRING_GROUP, _SIDE and _EPOCH in its environment."""


class WithoutEtcd(StrEnum):
    DROP = "drop"  # the hold runs out
    KEEP = "keep"  # it is extended on the promise of every other agent of the group


class Stop(StrEnum):
    SUSPEND = (
        "suspend"  # SIGSTOP, or the freezer of the unit's cgroup; continued when the side is let back in
    )
    KILL = "kill"  # SIGKILL; started again by `start`


class TlsSettings(Strict):
    """PEM files. Both ends show a certificate of `authority`; `controllers` and `agents` are the names (subject
    alternative names) that may ask for a switch, and that may ask for a promise."""

    certificate: Path
    key: Path
    authority: Path
    controllers: Annotated[tuple[str, ...], Field(min_length=1)]
    agents: tuple[str, ...] = ()


class EtcdSettings(Strict):
    """`endpoints`: URLs of the members. `authority`, `certificate`, `key`: PEM files. `accept_old_etcd`: servers before
    3.4.31 and 3.5.13, whose leases can't be trusted after a pause; the hold does not rest on them."""

    endpoints: Annotated[tuple[Annotated[str, Field(pattern=r"^https?://\S+$")], ...], Field(min_length=1)]
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password_file: Path | None = None
    accept_old_etcd: bool = False

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("user and password_file belong together")
        return self


class AddressSettings(Strict):
    address: VirtualAddress
    interface: Device

    @property
    def guarded(self) -> Guarded:
        return Guarded(address=self.address, device=self.interface)


class ProcessSettings(Strict):
    """The side's process group: of a systemd `unit`, of the process in `pid_file` (its session), or every process whose
    command line begins with the words of `match`. `start`: needed after `kill`, unless the unit can be started."""

    unit: str = Field(default="", pattern=r"^$|^[A-Za-z0-9@:._\\-]+\.(service|scope|slice)$")
    pid_file: Path | None = None
    match: tuple[str, ...] = ()
    stop: Stop = Stop.SUSPEND
    start: Argv | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum((bool(self.unit), self.pid_file is not None, bool(self.match))) != 1:
            raise ValueError("one of unit, pid_file and match names the processes")
        if self.stop is Stop.KILL and self.start is None and not self.unit:
            raise ValueError("what is killed needs a start command to come back")
        return self


class ActivitySettings(Strict):
    """Something the side does from the host's own address, which no gate stops: trunk registrations, diallers, cron.
    `verify` ends with 0 only if it is stopped."""

    name: Name
    stop: Argv
    verify: Argv
    start: Argv | None = None
    timeout: Seconds = 5.0


class EvidenceSettings(Strict):
    """`ports`: local UDP and TCP ports whose queues are watched. `options`: a SIP URI asked on the host itself, over UDP;
    `hung_after`: seconds without an answer while the process is there. `interval`: seconds between two looks."""

    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = ()
    options: str = Field(default="", pattern=r"^$|^sip:(.+@)?(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]+$")
    interval: Annotated[float, Field(ge=0.01, le=5.0)] = 0.05
    hung_after: Annotated[float, Field(ge=0.05, le=60.0)] = 0.25


class CommandSettings(Strict):
    """A command that a controller may have run here, by its name. Its epoch is checked before; `{name}` in an argument
    stands for a value that was given, which must match `values[name]` whole."""

    argv: Argv
    values: dict[Name, str] = {}
    timeout: Seconds = 10.0

    @model_validator(mode="after")
    def _declared(self) -> Self:
        for pattern in self.values.values():
            re.compile(pattern)
        wanted = {name for word in self.argv for name in re.findall(r"\{([A-Za-z0-9._-]+)\}", word)}
        if wanted != set(self.values):
            raise ValueError(f"argv names {sorted(wanted)}, values declare {sorted(self.values)}")
        return self


class GroupSettings(Strict):
    """`side`: which side of the group this host is. `hold_time`: D in seconds, the same in the group's `vip` driver.
    `peers`: every *other* agent of the group, name -> its URL; with `keep` each of them must promise."""

    side: Name
    addresses: Annotated[tuple[AddressSettings, ...], Field(min_length=1)]
    hold_time: Annotated[float, Field(ge=0.3, le=60.0)] = 1.0
    write_timeout: Annotated[float, Field(ge=0.02, le=5.0)] = 0.150
    without_etcd: WithoutEtcd = WithoutEtcd.DROP
    peers: dict[Name, Annotated[str, Field(pattern=r"^https://\S+$")]] = {}
    process: ProcessSettings | None = None
    activities: tuple[ActivitySettings, ...] = ()
    commands: dict[Name, CommandSettings] = {}
    live_calls: Argv | None = None
    evidence: EvidenceSettings = EvidenceSettings()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        addresses = [one.address for one in self.addresses]
        if len(set(addresses)) != len(addresses):
            raise ValueError("an address is named twice")
        if self.without_etcd is WithoutEtcd.KEEP and not self.peers:
            raise ValueError("keep needs every other agent of the group in peers")
        if self.hold_time < 2 * (ROUND + self.write_timeout) - ARMED:
            raise ValueError("hold_time leaves no room for one lost write: 2 x (0.1 + write_timeout) - 0.05")
        return self


class AgentSettings(Strict):
    """`name`: of this agent, once in the cluster. `cluster`: as in the controllers' configuration. `data`: what it must
    remember; on a disk that survives a reboot."""

    version: Literal[1] = 1
    name: Name
    cluster: Name
    data: Path
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 8752
    tls: TlsSettings
    etcd: EtcdSettings
    groups: Annotated[dict[Name, GroupSettings], Field(min_length=1)]

    def at(self, directory: Path) -> Self:
        """With relative paths meant from `directory`."""

        def placed(path: Path | None) -> Path | None:
            return None if path is None else directory / path

        files = {name: placed(getattr(self.tls, name)) for name in ("certificate", "key", "authority")}
        etcd = {
            name: placed(getattr(self.etcd, name))
            for name in ("certificate", "key", "authority", "password_file")
        }
        return self.model_copy(
            update={
                "data": directory / self.data,
                "tls": self.tls.model_copy(update=files),
                "etcd": self.etcd.model_copy(update=etcd),
            }
        )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        owners: dict[IPv4Address | IPv6Address, str] = {}
        for name, group in self.groups.items():
            for one in group.addresses:
                if (other := owners.setdefault(one.address, name)) != name:
                    raise ValueError(f"{one.address} belongs to both {other} and {name}")
        return self
