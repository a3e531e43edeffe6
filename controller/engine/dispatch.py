"""Carries commands out; every outcome, exceptions and timeouts included, comes back as an event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

from controller.model.commands import Command, Drive, Notify, RunAction, RunLadder
from controller.model.errors import ActionError, ActionRefused, ActionUnknown, NotificationError
from controller.model.events import ActionFinished, Event, LadderFinished, NotificationFinished
from controller.model.pages import DeliveryState
from controller.model.runs import ActionStatus
from controller.model.state import State
from controller.ports import Action, ActionOutcome, Clock, Prober, SwitchDriver

log = logging.getLogger(__name__)

GRACE = 1.0
"""Seconds past a ladder's own timeout after which its prober counts as silent."""

NOTIFY_TIMEOUT = 20.0
"""Seconds one hand-over to a channel may take."""

COURTESY = 0.1
"""Seconds a page waits: rendering and sending it takes the time in which the fence of the same decision leaves."""


class Pager(Protocol):
    """Renders a page in the person's language, with its link, and hands it to the channel."""

    async def send(self, command: Notify) -> str:
        """Returns the far end's word. Raises NotificationError."""


Submit = Callable[[Event], None]


class Dispatcher:
    def __init__(
        self,
        *,
        clock: Clock,
        prober: Prober,
        actions: Mapping[str, Action],
        drivers: Mapping[str, SwitchDriver],
        pager: Pager,
    ) -> None:
        self._clock = clock
        self._prober = prober
        self._actions = actions
        self._drivers = drivers
        self._pager = pager
        self._tasks: set[asyncio.Task[None]] = set()
        self._ladders: dict[str, asyncio.TimerHandle] = {}

    def dispatch(self, command: Command, state: State, submit: Submit) -> None:
        """Start it; returns at once. `state` is the one whose commit the command belongs to."""
        match command:
            case RunAction():
                if command.disruptive and (reason := self._unsafe(state)):
                    self._refuse(command.id, reason, submit)
                    return
                action = self._actions.get(command.action)
                if action is None:
                    self._refuse(command.id, f"no action named {command.action} is configured", submit)
                    return
                self._start(self._act(command.id, command.timeout, action.run(command), submit))
            case Drive():
                if command.disruptive and (reason := self._unsafe(state)):
                    self._refuse(command.id, reason, submit)
                    return
                driver = self._drivers.get(command.group)
                if driver is None:
                    self._refuse(command.id, f"group {command.group} has no driver", submit)
                    return
                self._start(self._act(command.id, command.timeout, driver.perform(command), submit))
            case RunLadder():
                self._start(self._probe(command, submit))
            case Notify():
                self._start(self._page(command, submit))

    def answered(self, event: LadderFinished) -> bool:
        """A prober answered. False when the answer came after the ladder was given up, and must be dropped."""
        handle = self._ladders.pop(event.command, None)
        if handle is None:
            return False
        handle.cancel()
        return True

    async def close(self) -> None:
        """Cancel what is in flight: its outcome is unknown, and the next start reads it back."""
        for handle in self._ladders.values():
            handle.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _unsafe(self, state: State) -> str:
        """Leadership and the timer gap, checked again on the clock just before a disruptive command leaves."""
        now = self._clock.now().mono
        if state.lease_deadline is None or now >= state.lease_deadline:
            return "leadership is not held"
        if now < state.gap_until:
            return "a timer gap: observing, not acting"
        return ""

    def _refuse(self, command: str, reason: str, submit: Submit) -> None:
        submit(
            ActionFinished(at=self._clock.now(), command=command, status=ActionStatus.FAILED, message=reason)
        )

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _act(
        self, command: str, timeout: float, work: Coroutine[None, None, ActionOutcome], submit: Submit
    ) -> None:
        outcome = ActionOutcome()
        try:
            async with asyncio.timeout(timeout):
                outcome = await work
            status = ActionStatus.SUCCEEDED
            message = outcome.message
        except TimeoutError:
            status, message = ActionStatus.UNKNOWN, f"no answer within {timeout:g} s"
        except ActionRefused as error:
            status, message = ActionStatus.REFUSED, str(error)
        except ActionUnknown as error:
            status, message = ActionStatus.UNKNOWN, str(error)
        except ActionError as error:
            status, message = ActionStatus.FAILED, str(error)
        except Exception as error:
            # A defect in an adapter: whether it took effect can't be told.
            log.exception("action raised", extra={"action": "adapter_defect"})
            status, message = ActionStatus.UNKNOWN, f"{type(error).__name__}: {error}"
        submit(
            ActionFinished(
                at=self._clock.now(), command=command, status=status, message=message, data=outcome.data
            )
        )

    async def _probe(self, command: RunLadder, submit: Submit) -> None:
        def give_up() -> None:
            self._ladders.pop(command.id, None)
            submit(LadderFinished(at=self._clock.now(), command=command.id, results=()))

        self._ladders[command.id] = asyncio.get_running_loop().call_later(command.timeout + GRACE, give_up)
        try:
            await self._prober.run_ladder(command.id, command.keys, command.timeout, command.count)
        except Exception:
            log.exception("prober refused a ladder", extra={"action": "ladder_failed"})
            if (handle := self._ladders.get(command.id)) is not None:
                handle.cancel()
                give_up()

    async def _page(self, command: Notify, submit: Submit) -> None:
        await asyncio.sleep(COURTESY)
        try:
            async with asyncio.timeout(NOTIFY_TIMEOUT):
                message = await self._pager.send(command)
            state = DeliveryState.SENT
        except NotificationError as error:
            message = str(error)
            state = DeliveryState.FAILED_PERMANENTLY if error.permanent else DeliveryState.FAILED
        except TimeoutError:
            state, message = DeliveryState.FAILED, f"no answer within {NOTIFY_TIMEOUT:g} s"
        except Exception as error:
            log.exception("notifier raised", extra={"action": "adapter_defect"})
            state, message = DeliveryState.FAILED, f"{type(error).__name__}: {error}"
        submit(NotificationFinished(at=self._clock.now(), command=command.id, state=state, message=message))
