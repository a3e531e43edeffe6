"""One authenticated connection to FreeSWITCH's event socket.

Every command is a background job: a plain `api` holds the socket until it is done, and `fsctl shutdown asap` only then. The
job's number is ours, so that its result is known however early it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Self

from controller.actions.freeswitch.esl import EslError, Frame, Parser, encoded
from controller.actions.freeswitch.parameters import SocketParameters
from controller.actions.kept import Kept
from controller.actions.points import Unreachable
from controller.model.errors import ActionError, ActionRefused, ActionUnknown


class Closed(EOFError):
    """The far end said that it goes, or went."""


class Session:
    """One command at a time. Every wait is bounded by the caller."""

    def __init__(self, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.place = place
        self._reader = reader
        self._writer = writer
        self._parser = Parser()
        self._waiting: list[Frame] = []

    @classmethod
    async def open(cls, parameters: SocketParameters) -> Self:
        """Raises Unreachable (no connection, no greeting), ActionRefused (it does not let us in)."""
        place = f"{parameters.address}:{parameters.port}"
        try:
            async with asyncio.timeout(parameters.timeout):
                reader, writer = await asyncio.open_connection(parameters.address, parameters.port)
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"{place}: {_told(error)}") from error
        session = cls(place, reader, writer)
        try:
            async with asyncio.timeout(parameters.timeout):
                await session._log_in(parameters.password.get_secret_value())
        except BaseException as error:
            session.close()
            if isinstance(error, TimeoutError | OSError | EOFError | EslError):
                raise Unreachable(f"{place}: {_told(error)}") from error
            raise
        return session

    async def job(self, command: str) -> str:
        """What it printed. Raises ActionRefused (the job was not taken), OSError, EOFError or EslError."""
        number = str(uuid.uuid4())
        self._writer.write(encoded(f"bgapi {command}", {"Job-UUID": number}))
        await self._writer.drain()
        taken, result = False, None
        while not taken or result is None:
            frame = await self._next()
            if frame.kind == "command/reply":
                if not frame.reply.startswith("+OK"):
                    raise ActionRefused(f"{self.place}: {command}: {frame.reply.strip()}")
                taken = True
            elif frame.kind == "text/event-plain":
                event = frame.event()
                if event.headers.get("job-uuid") == number:
                    result = event.body
        return result

    async def ended(self) -> None:
        """Returns when the far end closes the connection."""
        with contextlib.suppress(Closed, ConnectionError):
            while True:
                await self._next()

    def close(self) -> None:
        self._writer.close()

    async def _log_in(self, password: str) -> None:
        frame = await self._next()
        if frame.kind == "text/rude-rejection":
            raise ActionRefused(f"{self.place} does not listen to this address")
        if frame.kind != "auth/request":
            raise EslError(f"{frame.kind!r:.40} instead of a greeting")
        for command in (f"auth {password}", "event plain BACKGROUND_JOB"):
            self._writer.write(encoded(command))
            await self._writer.drain()
            reply = await self._next()
            if reply.kind != "command/reply" or not reply.reply.startswith("+OK"):
                raise ActionRefused(
                    f"{self.place}: {command.split()[0]}: {reply.reply.strip() or reply.kind}"
                )

    async def _next(self) -> Frame:
        while True:
            while not self._waiting:
                piece = await self._reader.read(64 * 1024)
                if not piece:
                    raise Closed("closed the connection")
                self._waiting += self._parser.feed(piece)
            frame = self._waiting.pop(0)
            if frame.kind != "text/disconnect-notice":
                return frame
            if frame.headers.get("content-disposition") != "linger":
                raise Closed("said that it disconnects")


class Switch:
    """One FreeSWITCH. Reads share a connection that is opened again when it broke; a change has one of its own, so that
    it is known to have been sent to somebody who listens."""

    def __init__(self, parameters: SocketParameters) -> None:
        self._parameters = parameters
        self._reading = Kept(lambda: Session.open(parameters))

    async def read(self, command: str) -> str:
        """What it printed. Raises Unreachable, ActionRefused."""
        return await self._reading.ask(lambda session: self._said(session, command))

    async def change(self, command: str) -> str:
        """Raises Unreachable (nothing was sent), ActionRefused (its words: -ERR, -USAGE, Invalid ...), ActionUnknown."""
        session = await Session.open(self._parameters)
        try:
            said = (await self._said(session, command)).strip()
        finally:
            session.close()
        if not said.startswith("+OK"):
            raise ActionRefused(f"{session.place}: {command}: {said or 'no word'}")
        return said

    async def stop(self, timeout: float) -> None:
        """`fsctl shutdown asap`: no new calls, and an end with the last one. Returns when the connection closes.

        Raises Unreachable, ActionRefused, and ActionUnknown while calls go on after `timeout` seconds.
        """
        session = await Session.open(self._parameters)
        try:
            async with asyncio.timeout(timeout):
                try:
                    said = await session.job("fsctl shutdown asap")
                except (Closed, ConnectionError):
                    return
                if said.strip() and not said.startswith("+OK"):
                    raise ActionRefused(f"{session.place}: {said.strip()}")
                await session.ended()
        except TimeoutError as error:
            raise ActionUnknown(f"{session.place}: calls still go on after {timeout:g} s") from error
        except EslError as error:
            raise ActionUnknown(f"{session.place}: {error}") from error
        finally:
            session.close()

    async def close(self) -> None:
        self._reading.close()

    async def _said(self, session: Session, command: str) -> str:
        try:
            async with asyncio.timeout(self._parameters.timeout):
                return await session.job(command)
        except ValueError as error:
            raise ActionError(f"{session.place}: it can't be sent: {error}") from error
        except (OSError, EOFError, TimeoutError, EslError) as error:
            raise ActionUnknown(f"{session.place}: no answer to {command}: {_told(error)}") from error


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
