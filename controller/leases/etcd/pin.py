"""Which store this node belongs to, on its own disk: a store that was wiped or restored is not the one it knew."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from controller.etcd.client import EtcdClient
from controller.etcd.transactions import Body, created_at, get, put, value_is
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationError, CoordinationForeign

ADOPT = "nothing is done until a person adopts it (thirdring adopt)"


class Known(NamedTuple):
    """`cluster`: etcd's own id. It is made of the members' addresses, so members that were all wiped and started with
    the same settings have it again: therefore `identity`, a random word that is kept in the store. `revision`: the
    highest that was seen, which a store that was put back to an older state has not reached."""

    cluster: str
    identity: str
    revision: int


class Pin:
    """The pin in the file at `path`. Without one (a node's first start) the store that answers is believed."""

    def __init__(self, path: Path, client: EtcdClient, places: Places) -> None:
        self._path = path
        self._client = client
        self._places = places
        self._known: Known | None = None

    @property
    def guard(self) -> Body:
        """True in a transaction only in the store that this node belongs to. Raises CoordinationError before `open`."""
        if self._known is None:
            raise CoordinationError("etcd: it is not known yet which store this node belongs to")
        return value_is(self._places.identity, self._known.identity.encode())

    async def open(self) -> None:
        """Raises CoordinationForeign when the store is another one, CoordinationError when that can't be told."""
        if self._known is not None:
            return
        known = self._load()
        if known is not None:
            self._client.pin(known.cluster, revision=known.revision)
        await self._client.check()
        if known is None:
            await self.adopt()
            return
        _, found = await self._client.get(self._places.identity)
        self.verify(None if found is None else found.value, known)
        self._known = known

    async def adopt(self) -> None:
        """The store that answers is this node's from now on; the first that adopts it gives it its identity."""
        self._client.pin("")
        await self._client.check()
        answer = await self._client.transact(
            [created_at(self._places.identity, 0)],
            [put(self._places.identity, secrets.token_hex(16).encode()), get(self._places.identity)],
            [get(self._places.identity)],
            repeatable=True,
        )
        try:
            identity = answer.found[0][0].value.decode("ascii")
        except (IndexError, ValueError) as error:
            raise CoordinationError(
                f"etcd: {self._places.identity} can't be read; another program uses this prefix"
            ) from error
        self._keep(Known(self._client.cluster, identity, answer.revision))

    def verify(self, found: bytes | None, known: Known | None = None) -> None:
        """`found`: the identity that the store shows. Raises CoordinationForeign."""
        known = known or self._known
        if known is not None and (found is None or found != known.identity.encode()):
            what = "was wiped" if found is None else "is another one, or was wiped and begun anew"
            raise CoordinationForeign(f"etcd: the store {what}; {ADOPT}")

    def remember(self) -> None:
        """How far the store has come, on disk. Raises CoordinationError."""
        if self._known is not None and self._client.revision > self._known.revision:
            self._keep(self._known._replace(revision=self._client.revision))

    def _load(self) -> Known | None:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return Known(str(document["cluster"]), str(document["identity"]), int(document["revision"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CoordinationError(f"{self._path} can't be read: {error}; {ADOPT}") from error

    def _keep(self, known: Known) -> None:
        text = json.dumps({"version": 1, **known._asdict()}) + "\n"
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise CoordinationError(f"{self._path}: {error.strerror}") from error
        self._known = known
