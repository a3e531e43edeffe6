"""All members of a cluster, and how one request is brought to them: in turn, in copies, or to all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import aiohttp

from controller.etcd.member import Cluster, ConnectionLost, Member, NotSent, Refused
from controller.etcd.settings import EtcdSettings
from controller.etcd.transactions import Body
from controller.model.errors import CoordinationError, CoordinationForeign, CoordinationUnknown

T = TypeVar("T")


class Members:
    """In the order of the settings; whichever answered last is asked first."""

    def __init__(self, settings: EtcdSettings, cluster: Cluster) -> None:
        self.all = [Member(endpoint, settings, cluster) for endpoint in settings.endpoints]
        self._timeout = settings.timeout
        self._preferred = self.all[0]
        self._late: set[asyncio.Task[Any]] = set()

    async def vet(self, session: aiohttp.ClientSession) -> Mapping[Member, str | CoordinationError]:
        """Each member's version, or why it is not to be believed."""
        found = await asyncio.gather(
            *(_within(member.vet(session), self._timeout) for member in self.all), return_exceptions=True
        )
        vetted: dict[Member, str | CoordinationError] = {}
        for member, result in zip(self.all, found, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, CoordinationError):
                raise result
            vetted[member] = result
        return vetted

    async def ask(
        self,
        session: aiohttp.ClientSession,
        path: str,
        request: Body,
        *,
        again: bool,
        within: float,
        hedge: float,
    ) -> Mapping[str, Any]:
        """The first answer within that many seconds. `again`: what may be asked twice goes to one more member each time
        nobody answered for `hedge` seconds, or one failed; anything else, to another only where the
        first was not reached at all. Raises CoordinationUnknown when any copy may have taken effect, else
        CoordinationError.

        Copies that are still under way are let go on: a connection that is closed under a request must be made anew, and
        they do nothing that they would not have done if they were cut off.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        waiting = [self._preferred, *(member for member in self.all if member is not self._preferred)]
        asked: dict[asyncio.Task[Mapping[str, Any]], Member] = {}
        failures: list[tuple[Member, CoordinationError]] = []
        retried: set[Member] = set()
        try:
            while (waiting or asked) and (left := end - loop.time()) > 0:
                if waiting and (again or not asked):
                    member = waiting.pop(0)
                    task = asyncio.create_task(_within(member.call(session, path, request), left))
                    asked[task] = member
                pause = min(hedge, left) if waiting and again else left
                done, _ = await asyncio.wait(asked, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    member = asked.pop(task)
                    error = task.exception()
                    if error is None:
                        self._preferred = member
                        return task.result()
                    if not isinstance(error, CoordinationError):
                        raise error
                    failures.append((member, error))
                    if isinstance(error, Refused) and not asked and not _doubtful(failures):
                        raise error
                    if not again and not isinstance(error, NotSent):
                        self._avoid(member)
                        raise error
                    if again and isinstance(error, ConnectionLost) and member not in retried:
                        # The connection may have been kept from an earlier request, and the member be a new process.
                        retried.add(member)
                        waiting.insert(0, member)
        finally:
            for task in asked:
                self._late.add(task)
                task.add_done_callback(self._finished)
        self._avoid(self._preferred)
        first = f" ({failures[0][1]})" if failures else ""
        if asked or not failures:
            raise CoordinationUnknown(f"etcd: no answer within {within:g} s{first}")
        raise min(_doubtful(failures) or [error for _, error in failures], key=_weight)

    async def close(self) -> None:
        late = tuple(self._late)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _avoid(self, member: Member) -> None:
        if self._preferred is member:
            self._preferred = self.all[(self.all.index(member) + 1) % len(self.all)]

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # nobody waits for it any longer


async def _within(work: Coroutine[Any, Any, T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise CoordinationUnknown("etcd: no answer in time") from error


def _doubtful(failures: list[tuple[Member, CoordinationError]]) -> list[CoordinationError]:
    """Those after which the request may have taken effect. A member that turned out to belong to another store has none:
    what became of a request to the old one is no matter."""
    newest = dict(failures)
    return [
        error
        for member, error in failures
        if isinstance(error, CoordinationUnknown) and not isinstance(newest[member], CoordinationForeign)
    ]


def _weight(error: CoordinationError) -> int:
    """What only a person can mend is told first."""
    return 0 if isinstance(error, CoordinationForeign) else 1
