"""One logged-in connection to Asterisk's manager interface."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import ssl
from typing import Self

from controller.actions.asterisk.ami import AmiError, Message, Parser, encoded
from controller.actions.asterisk.parameters import ManagerParameters
from controller.actions.kept import Kept
from controller.actions.points import Nonsense, Unreachable
from controller.model.errors import ActionError, ActionRefused, ActionUnknown

_numbers = itertools.count(1)


class Session:
    """One action at a time. Every wait is bounded by the caller."""

    def __init__(self, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.place = place
        self._reader = reader
        self._writer = writer
        self._parser = Parser()
        self._waiting: list[Message] = []

    @classmethod
    async def open(cls, parameters: ManagerParameters) -> Self:
        """Raises Unreachable (no connection, no banner), ActionRefused (it does not let us in)."""
        place = f"{parameters.address}:{parameters.port}"
        try:
            async with asyncio.timeout(parameters.timeout):
                reader, writer = await asyncio.open_connection(
                    parameters.address,
                    parameters.port,
                    ssl=ssl.create_default_context(cafile=parameters.ca or None) if parameters.tls else None,
                )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise Unreachable(f"{place}: {_told(error)}") from error
        session = cls(place, reader, writer)
        try:
            async with asyncio.timeout(parameters.timeout):
                await session._log_in(parameters.user, parameters.secret.get_secret_value())
        except BaseException as error:
            session.close()
            if isinstance(error, TimeoutError | OSError | EOFError | AmiError):
                raise Unreachable(f"{place}: {_told(error)}") from error
            raise
        return session

    async def ask(self, action: str, *fields: tuple[str, str]) -> Message:
        """Raises ActionRefused (its own words), OSError, EOFError or AmiError."""
        return (await self._exchange(action, fields, listed=False))[0]

    async def listed(self, action: str, *fields: tuple[str, str]) -> list[Message]:
        """The events of a list, without the response and the end. Raises as `ask`."""
        return (await self._exchange(action, fields, listed=True))[1:-1]

    def close(self) -> None:
        self._writer.close()

    async def _log_in(self, user: str, secret: str) -> None:
        """By challenge: the secret does not cross the network."""
        challenge = (await self.ask("Challenge", ("AuthType", "MD5"))).get("Challenge")
        key = hashlib.md5((challenge + secret).encode()).hexdigest()
        await self.ask("Login", ("AuthType", "MD5"), ("Username", user), ("Key", key), ("Events", "off"))

    async def _exchange(
        self, action: str, fields: tuple[tuple[str, str], ...], *, listed: bool
    ) -> list[Message]:
        number = f"third-ring-{next(_numbers)}"
        self._writer.write(encoded(action, number, fields))
        await self._writer.drain()
        found: list[Message] = []
        while True:
            message = await self._next()
            if message.get("ActionID") != number or message.is_response is bool(found):
                continue  # an event of its own accord, or of an action that was given up
            found.append(message)
            if len(found) == 1:
                if not message.succeeded:
                    raise ActionRefused(f"{self.place}: {action}: {message.get('Message') or 'refused'}")
                if not listed:
                    return found
            elif message.ends_list:
                if message.get("EventList").lower() == "cancelled":
                    raise AmiError(f"the list of {action} was cancelled")
                return found

    async def _next(self) -> Message:
        while not self._waiting:
            piece = await self._reader.read(64 * 1024)
            if not piece:
                raise EOFError("closed the connection")
            self._waiting += self._parser.feed(piece)
        return self._waiting.pop(0)


class Manager:
    """One Asterisk. Reads share a connection that is opened again when it broke; a change has one of its own, so that it
    is known to have been sent to somebody who listens."""

    def __init__(self, parameters: ManagerParameters) -> None:
        self._parameters = parameters
        self._reading = Kept(lambda: Session.open(parameters))

    async def read(self, action: str, *fields: tuple[str, str], listed: bool = False) -> list[Message]:
        """The response, or the events of a list. Raises Unreachable, ActionRefused."""
        return await self._reading.ask(lambda session: self._said(session, action, fields, listed=listed))

    async def change(self, action: str, *fields: tuple[str, str]) -> Message:
        """Raises Unreachable (nothing was sent), ActionRefused, ActionUnknown (no answer)."""
        session = await Session.open(self._parameters)
        try:
            return (await self._said(session, action, fields, listed=False))[0]
        finally:
            session.close()

    async def close(self) -> None:
        self._reading.close()

    async def _said(
        self, session: Session, action: str, fields: tuple[tuple[str, str], ...], *, listed: bool
    ) -> list[Message]:
        try:
            async with asyncio.timeout(self._parameters.timeout):
                if listed:
                    return await session.listed(action, *fields)
                return [await session.ask(action, *fields)]
        except ValueError as error:
            raise ActionError(f"{session.place}: {action} can't be sent: {error}") from error
        except AmiError as error:
            raise ActionUnknown(f"{session.place}: {action}: {error}") from error
        except (OSError, EOFError, TimeoutError) as error:
            raise ActionUnknown(f"{session.place}: no answer to {action}: {_told(error)}") from error


def number(message: Message, name: str) -> int:
    """Raises Nonsense."""
    try:
        return int(message.get(name))
    except ValueError:
        raise Nonsense(f"{name} is {message.get(name)!r:.40}, which is no number") from None


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
