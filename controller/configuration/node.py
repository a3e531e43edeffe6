"""Where this node keeps its things, listens, and whom it lets in."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from controller.configuration.documents import Document
from controller.configuration.fields import Flag, PositiveCount, PositiveSeconds, Section
from controller.configuration.kinds import Kinds
from controller.configuration.secrets import UNREFERRED
from controller.configuration.validation import validate
from controller.model.errors import Problem

LONGEST_RENEWAL = 0.5
"""Seconds."""


class AccessRole(StrEnum):
    """Each includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """Whoever shows `secret` acts as the account `name`."""

    name: str
    role: AccessRole
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpSettings:
    """`public_url` is what links in pages begin with, without a slash at its end. No tokens: one is made at start."""

    host: str = "127.0.0.1"
    port: int = 8750
    public_url: str = "http://127.0.0.1:8750"
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordinationSettings:
    """Who may act, and where several nodes keep what they share. `ttl` in seconds: of leadership. `cluster`: the name of
    this controller in the store, the same on all its nodes. `timeout` in seconds: of one request. `election` in seconds:
    what etcd's members are started with (--election-timeout), which they tell nobody. PEM files."""

    kind: str = "local"
    ttl: float = 3.0
    cluster: str = "default"
    endpoints: tuple[str, ...] = ()
    timeout: float = 0.5
    election: float = 1.0
    user: str = ""
    password: str = field(default="", repr=False)
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    accept_old_etcd: bool = False

    @property
    def renewal(self) -> float:
        """Seconds between two renewals of leadership: whatever its lifetime, a node that lost it knows soon."""
        return min(self.ttl / 3, LONGEST_RENEWAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSettings:
    """`realtime`: before whatever else the machine does, where that is permitted. `data` is an absolute directory. `control` is the Unix socket the command line talks to. `archive` is an
    SQLAlchemy URL. `actions`: kind -> the adapter's own validated settings, for every registered action."""

    name: str
    data: Path
    control: Path
    archive: str
    failure_domain: str = ""
    probers: int = 1
    realtime: bool = True
    language: str = "zh"
    coordination: CoordinationSettings = CoordinationSettings()
    http: HttpSettings = HttpSettings()
    actions: Mapping[str, object] = field(default_factory=dict)


class CoordinationEntry(Section):
    """`local`: this node stands alone. `etcd`: several nodes share a cluster of etcd; the rest belongs to it. `election`
    is etcd's own default unless its members are started with another."""

    kind: Literal["local", "etcd"] = "local"
    ttl: Annotated[PositiveSeconds, Field(ge=0.5, le=60)] = 3.0
    cluster: str = Field(default="default", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    endpoints: tuple[Annotated[str, Field(pattern=r"^https?://[^\s/]+$")], ...] = ()
    timeout: Annotated[PositiveSeconds, Field(le=10)] = 0.5
    election: Annotated[PositiveSeconds, Field(ge=0.05, le=50)] = 1.0
    user: str = ""
    password: str = ""
    authority: str = ""
    certificate: str = ""
    key: str = ""
    accept_old_etcd: Flag = False

    @model_validator(mode="after")
    def _whole(self) -> CoordinationEntry:
        if self.kind == "local":
            given = self.model_fields_set - {"kind", "ttl"}
            if given:
                raise ValueError(f"{', '.join(sorted(given))}: only with kind: etcd")
            return self
        if not self.endpoints:
            raise ValueError("endpoints: where the members of etcd answer, e.g. [http://10.0.0.1:2379]")
        if self.ttl != int(self.ttl):
            raise ValueError("ttl: etcd counts whole seconds")
        if self.timeout > self.ttl / 2:
            raise ValueError(f"timeout: leadership of {self.ttl:g} s leaves no time for {self.timeout:g} s")
        if bool(self.user) is not bool(self.password):
            raise ValueError("user and password belong together")
        if bool(self.certificate) is not bool(self.key):
            raise ValueError("certificate and key belong together")
        return self


class NodeEntry(Section):
    """Relative paths are relative to this file. `control` and `archive` are in the data directory unless given."""

    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    data: str = "data"
    control: str = ""
    archive: str = Field(default="", pattern=r"^$|^[a-z0-9+]+://")
    failure_domain: str = ""
    probers: Annotated[PositiveCount, Field(le=64)] = 1
    realtime: Flag = True
    coordination: CoordinationEntry = CoordinationEntry()


class TokenEntry(Section):
    name: str = Field(min_length=1)
    role: AccessRole
    secret: str = Field(min_length=16)


class HttpEntry(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 8750
    public_url: str = Field(default="", pattern=r"^$|^https?://[^\s]+$")
    tokens: tuple[TokenEntry, ...] = ()


def build_node(
    document: Document | None,
    http: Document | None,
    language: str,
    directory: Path,
    actions: Mapping[str, object],
    problems: list[Problem],
) -> NodeSettings:
    """`directory` is the main file's. The node's name is the host's unless given."""
    entry = (NodeEntry() if document is None else validate(NodeEntry, document, problems)) or NodeEntry()
    data = (directory / Path(entry.data).expanduser()).absolute()
    return NodeSettings(
        name=entry.name or socket.gethostname().partition(".")[0] or "node",
        data=data,
        control=(directory / Path(entry.control).expanduser()).absolute()
        if entry.control
        else data / "control",
        archive=entry.archive or f"sqlite+aiosqlite:///{data / 'archive.db'}",
        failure_domain=entry.failure_domain,
        probers=entry.probers,
        realtime=entry.realtime,
        language=language,
        coordination=_coordination(entry.coordination, document, directory, problems),
        http=_http(http, problems),
        actions=actions,
    )


def warn_of_archive(document: Document | None, node: NodeSettings, warnings: list[Problem]) -> None:
    """Nodes that take over from each other read what the others archived; a file of SQLite's is each node's own."""
    if document is not None and node.coordination.kind == "etcd" and node.archive.startswith("sqlite"):
        warnings.append(
            document.problem(
                ("archive",),
                "each node archives to a SQLite file of its own, so what another one began or finished is told in part; "
                "give all nodes one archive (postgresql+asyncpg://...)",
            )
        )


def _coordination(
    entry: CoordinationEntry, document: Document | None, directory: Path, problems: list[Problem]
) -> CoordinationSettings:
    place = ("coordination", "password")
    if document is not None and entry.password and not document.referred(place):
        problems.append(document.problem(place, UNREFERRED))

    def file(name: str) -> Path | None:
        return (directory / Path(name).expanduser()).absolute() if name else None

    return CoordinationSettings(
        kind=entry.kind,
        ttl=entry.ttl,
        cluster=entry.cluster,
        endpoints=entry.endpoints,
        timeout=entry.timeout,
        election=entry.election,
        user=entry.user,
        password=entry.password,
        authority=file(entry.authority),
        certificate=file(entry.certificate),
        key=file(entry.key),
        accept_old_etcd=entry.accept_old_etcd,
    )


def _http(document: Document | None, problems: list[Problem]) -> HttpSettings:
    if document is None:
        return HttpSettings()
    written = document.content.get("tokens") if isinstance(document.content, dict) else None
    for index, item in enumerate(written if isinstance(written, list) else ()):
        if isinstance(item, dict) and "secret" in item and not document.referred(("tokens", index, "secret")):
            problems.append(document.problem(("tokens", index, "secret"), UNREFERRED))
    entry = validate(HttpEntry, document, problems)
    if entry is None:
        return HttpSettings()
    names = [token.name for token in entry.tokens]
    for index, token in enumerate(entry.tokens):
        if token.name in names[:index]:
            problems.append(document.problem(("tokens", index, "name"), f"a second token for {token.name}"))
        if any(token.secret == other.secret for other in entry.tokens[:index]):
            problems.append(
                document.problem(("tokens", index, "secret"), "the same secret as another token's")
            )
    shown = "127.0.0.1" if entry.host in ("", "0.0.0.0", "::") else entry.host
    shown = f"[{shown}]" if ":" in shown else shown
    return HttpSettings(
        host=entry.host,
        port=entry.port,
        public_url=entry.public_url.rstrip("/") or f"http://{shown}:{entry.port}",
        tokens=tuple(Token(name=token.name, role=token.role, secret=token.secret) for token in entry.tokens),
    )


def build_actions(
    documents: Mapping[str, Document],
    kinds: Kinds,
    used: Mapping[str, Document],
    problems: list[Problem],
) -> dict[str, object]:
    """Settings of every configured action and of every one a runbook or drill uses (`used`: kind -> who says so)."""
    settings: dict[str, object] = {}
    for kind, document in documents.items():
        adapter = kinds.adapter("action", kind, document, (), problems)
        if adapter is not None:
            found = kinds.validated(
                adapter, document.part((), document.content or {}), problems, model="Settings"
            )
            if found is not None:
                settings[kind] = found
    for kind, user in used.items():
        if kind in documents or kind not in kinds.names.get("action", ()):
            continue
        adapter = kinds.adapter("action", kind, user, (), problems)
        if adapter is None:
            continue
        empty: dict[str, Any] = {}
        missing: list[Problem] = []
        found = kinds.validated(adapter, user.part((), empty), missing, model="Settings")
        if found is None:
            problems.append(user.problem((), f"the action {kind} needs its settings under actions.{kind}"))
        else:
            settings[kind] = found
    return settings
