"""Which store this node belongs to, on its own disk: a store that was wiped or restored is not the one it knew."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from controller.etcd.client import EtcdClient, WentBack
from controller.etcd.transactions import Body, changed_at, get, put, value_is
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationError, CoordinationForeign

log = logging.getLogger(__name__)

ADOPT = "nothing is done until a person adopts it (thirdring adopt)"

UNFINISHED = f"etcd: an adoption of the store was begun and not finished; {ADOPT}"


class Known(NamedTuple):
    """`cluster`: etcd's own id. It is made of the members' addresses, so members that were all wiped and started with
    the same settings have it again: therefore `identity`, a random word that is kept in the store. `revision`: the
    highest that was seen, which a store that was put back to an older state has not reached. `doubt`: why it is not
    believed although it shows all that, empty otherwise."""

    cluster: str
    identity: str
    revision: int
    doubt: str = ""


class Adoption(Enum):
    FIRST = auto()  # nobody adopted it before: what it holds, if anything, is from before its loss
    RESUMED = auto()  # this node was, and did not come to the end
    JOINED = auto()  # another node has, or it never was another store


class Pin:
    """The pin in the file at `path`. Without one (a node's first start) the store that answers is believed."""

    def __init__(self, path: Path, client: EtcdClient, places: Places) -> None:
        self._path = path
        self._client = client
        self._places = places
        self._known: Known | None = None
        self._writing = asyncio.Lock()
        self._remembering: asyncio.Task[None] | None = None

    @property
    def identity(self) -> str:
        """Raises CoordinationError before `open`."""
        if self._known is None:
            raise CoordinationError("etcd: it is not known yet which store this node belongs to")
        return self._known.identity

    @property
    def guard(self) -> Body:
        """True in a transaction only in the store that this node belongs to. Raises CoordinationError before `open`."""
        return value_is(self._places.identity, self.identity.encode())

    async def open(self) -> None:
        """Raises CoordinationForeign when the store is another one, CoordinationError when that can't be told."""
        if self._known is not None:
            return
        known = self._load()
        if known is None:
            await self._client.check()
            await self._keep(await self._identified(0, secrets.token_hex(16)))
            return
        if known.doubt:
            raise CoordinationForeign(known.doubt)
        self._client.pin(known.cluster, revision=known.revision)
        await self._client.check()
        try:
            _, found = await self._client.get(self._places.identity)
        except WentBack as error:
            await self._keep(known._replace(doubt=str(error)))
            self._known = None
            raise
        self.verify(None if found is None else found.value, known)
        self._known = known

    def verify(self, found: bytes | None, known: Known | None = None) -> None:
        """`found`: the identity that the store shows. Raises CoordinationForeign."""
        known = known or self._known
        if known is not None and (found is None or found != known.identity.encode()):
            what = "was wiped" if found is None else "is another one, or was wiped or restored and begun anew"
            raise CoordinationForeign(f"etcd: the store {what}; {ADOPT}")

    async def doubt(self, reason: str) -> None:
        """Not believed from now on, not after a restart either. Raises CoordinationError when that can't be kept."""
        if self._known is not None and not self._known.doubt:
            await self._keep(self._known._replace(doubt=reason))

    def remember(self) -> None:
        """How far the store has come, on disk, behind. Nobody waits for it: what is not written is only noticed less
        finely after a restart."""
        known = self._known
        if known is None or self._remembering is not None or self._client.revision <= known.revision:
            return
        self._remembering = asyncio.create_task(
            self._remember(known._replace(revision=self._client.revision)), name="etcd-pin"
        )

    async def _remember(self, known: Known) -> None:
        try:
            async with self._writing:
                if self._known is not None and self._known._replace(revision=known.revision) == known:
                    await asyncio.to_thread(self._write, known)
                    self._known = known
        except CoordinationError as error:
            log.warning(
                "how far the store has come is not kept: %s", error, extra={"action": "pin_unwritten"}
            )
        finally:
            self._remembering = None

    async def close(self) -> None:
        if self._remembering is not None:
            await self._remembering

    async def begin_adoption(self) -> Adoption:
        """The store that answers is this node's, as soon as the adoption is finished. If this node is the first, it
        gives the store a new identity, and every node that knew the old one has to adopt it as well."""
        known = self._load()
        self._client.pin("")
        await self._client.check()
        _, standing = await self._client.get(self._places.identity)
        word = secrets.token_hex(16)
        if standing is None:
            found = await self._identified(0, word)
        elif known is not None and standing.value == known.identity.encode() and self._is_older(known):
            found = await self._identified(standing.changed, word)
        else:
            found = await self._identified(0, word)
        adoption = Adoption.JOINED
        if found.identity == word:
            adoption = Adoption.FIRST
        elif known is not None and known.doubt == UNFINISHED and known.identity == found.identity:
            adoption = Adoption.RESUMED
        await self._keep(found._replace(doubt=UNFINISHED))
        return adoption

    async def finish_adoption(self) -> None:
        if self._known is not None:
            await self._keep(self._known._replace(doubt=""))

    def _is_older(self, known: Known) -> bool:
        """What answers has the identity that this node knew, and is a copy of it as it once was."""
        if self._client.cluster != known.cluster or self._client.revision < known.revision:
            return True
        return known.doubt not in ("", UNFINISHED)

    async def _identified(self, changed: int, word: str) -> Known:
        """`word` is its identity if that stands at revision `changed` (0: there is none); else the one it has."""
        place = self._places.identity
        answer = await self._client.transact(
            [changed_at(place, changed)],
            [put(place, word.encode()), get(place)],
            [get(place)],
            repeatable=True,
        )
        try:
            identity = answer.found[0][0].value.decode("ascii")
        except (IndexError, ValueError) as error:
            raise CoordinationError(
                f"etcd: {place} can't be read; another program uses this prefix"
            ) from error
        return Known(self._client.cluster, identity, answer.revision)

    def _load(self) -> Known | None:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return Known(
                str(document["cluster"]),
                str(document["identity"]),
                int(document["revision"]),
                str(document.get("doubt", "")),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CoordinationError(f"{self._path} can't be read: {error}; {ADOPT}") from error

    async def _keep(self, known: Known) -> None:
        async with self._writing:
            await asyncio.to_thread(self._write, known)
            self._known = known

    def _write(self, known: Known) -> None:
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
