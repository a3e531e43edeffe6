"""What must stop with a side: its processes, and what it does from the host's own address, which no gate holds back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from controller.agent import commands
from controller.agent.processes import ProcessError, Processes
from controller.agent.settings import ActivitySettings, Argv, GroupSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Of one part. `trouble`: empty when it is as asked for."""

    name: str
    trouble: str


class Side:
    """The side that this host is. Every verb is idempotent, runs everything at once, and leaves nothing out because
    another part failed."""

    def __init__(self, group: str, settings: GroupSettings) -> None:
        self._settings = settings
        self._environment = {"THIRDRING_GROUP": group, "THIRDRING_SIDE": settings.side}
        self._acting = asyncio.Lock()
        self.processes = (
            Processes(settings.process, self._environment) if settings.process is not None else None
        )

    async def stop(self, epoch: int) -> tuple[Outcome, ...]:
        """Stops and verifies."""
        async with self._acting:
            parts = [self._stop_activity(one, epoch) for one in self._settings.activities]
            return tuple(await asyncio.gather(self._stop_processes(), *parts))

    async def start(self, epoch: int) -> tuple[Outcome, ...]:
        async with self._acting:
            told = [await self._start_processes()]
            starts = [
                self._run(one.name, one.start, one.timeout, epoch)
                for one in self._settings.activities
                if one.start is not None
            ]
            return (*told, *await asyncio.gather(*starts))

    async def stopped(self, epoch: int) -> tuple[Outcome, ...]:
        """Whether everything is stopped now, by looking again."""
        trouble = "" if self.processes is None or self.processes.stopped() else "runs"
        parts = [self._run(one.name, one.verify, one.timeout, epoch) for one in self._settings.activities]
        return (Outcome(name="processes", trouble=trouble), *await asyncio.gather(*parts))

    async def live_calls(self, epoch: int) -> int | None:
        """By the configured command, which prints a number. None: they can't be counted."""
        argv = self._settings.live_calls
        if argv is None:
            return None
        try:
            ended = await commands.run(argv, timeout=2.0, environment=self.environment(epoch))
            return int(ended.output.split()[0]) if ended.status == 0 else None
        except (commands.CommandError, ValueError, IndexError):
            return None

    def environment(self, epoch: int) -> Mapping[str, str]:
        return {**self._environment, "THIRDRING_EPOCH": str(epoch)}

    async def _stop_processes(self) -> Outcome:
        if self.processes is not None:
            try:
                await self.processes.stop(timeout=2.0)
            except ProcessError as error:
                return Outcome(name="processes", trouble=str(error))
        return Outcome(name="processes", trouble="")

    async def _start_processes(self) -> Outcome:
        if self.processes is not None:
            try:
                await self.processes.start()
            except ProcessError as error:
                return Outcome(name="processes", trouble=str(error))
        return Outcome(name="processes", trouble="")

    async def _stop_activity(self, activity: ActivitySettings, epoch: int) -> Outcome:
        stopped = await self._run(activity.name, activity.stop, activity.timeout, epoch)
        verified = await self._run(activity.name, activity.verify, activity.timeout, epoch)
        if verified.trouble and stopped.trouble:
            return Outcome(name=activity.name, trouble=f"{stopped.trouble}; {verified.trouble}")
        return verified

    async def _run(self, name: str, argv: Argv, timeout: float, epoch: int) -> Outcome:
        try:
            ended = await commands.run(argv, timeout=timeout, environment=self.environment(epoch))
        except commands.CommandError as error:
            return Outcome(name=name, trouble=str(error))
        trouble = f"{argv[0]} ended with {ended.status}: {ended.output}".rstrip(": ") if ended.status else ""
        return Outcome(name=name, trouble=trouble)


def troubles(outcomes: tuple[Outcome, ...]) -> tuple[str, ...]:
    return tuple(f"{one.name}: {one.trouble}" for one in outcomes if one.trouble)
