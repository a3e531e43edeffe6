"""`command`: a program of the installation's allow-list, as an argument vector, never through a shell.

A runbook names an entry of the allow-list and gives values for its parameters. A value takes the place of a whole
argument, must match the entry's expression in full, and never begins with a dash.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from controller.model.commands import RunAction
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.moments import Values
from controller.model.parameters import REFERENCE, unflatten
from controller.ports import ActionOutcome

MOST_OUTPUT = 64 * 1024
"""Octets kept of each stream; what follows is read and dropped, so that the program never blocks on it."""

LINGER = 0.5
"""Seconds that output is waited for after the program ended: a child it left behind may hold the pipe open."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


Expression = Annotated[str, AfterValidator(_expression)]


class Allowed(BaseModel):
    """One entry of the allow-list. `{name}` as a whole argument is a parameter, whose value must match its expression
    in full. Exit statuses with a meaning: 0 success; `refused`; `harmless` a failure without effect; `unknown`. Any
    other says nothing of what was done, and is unknown where the step is disruptive, else a failure.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    argv: Annotated[tuple[str, ...], Field(min_length=1)]
    parameters: Mapping[str, Expression] = {}
    environment: Mapping[str, str] = {}
    directory: str = "/"
    refused: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()
    harmless: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.argv[0].startswith("/"):
            raise ValueError(f"argv: {self.argv[0]!r} must be an absolute path")
        places = {match[1] for argument in self.argv if (match := _PLACE.fullmatch(argument))}
        if places != set(self.parameters):
            odd = ", ".join(sorted(places ^ set(self.parameters)))
            raise ValueError(f"argv and parameters don't agree on {odd}")
        counted = Counter((*self.refused, *self.unknown, *self.harmless))
        if twice := [str(status) for status, times in counted.items() if times > 1 or status == 0]:
            raise ValueError(f"exit status {', '.join(twice)} can't mean two things")
        return self


class Command:
    class Settings(BaseModel):
        """The allow-list: name -> what may be run under it."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        commands: Mapping[str, Allowed] = {}

    class Parameters(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        reports: ClassVar[Mapping[str, str]] = {"code": "int", "output": "string"}

        command: str = Field(min_length=1)
        arguments: Mapping[str, str | int] = {}

    @staticmethod
    def lacks(settings: Settings, parameters: Mapping[str, Any]) -> tuple[tuple[str, ...], str] | None:
        """What a call of a runbook or drill asks for and the allow-list does not hold: where in its parameters, and a
        sentence. None when nothing is wrong, or only a run can tell."""
        name, given = parameters.get("command"), parameters.get("arguments") or {}
        if not isinstance(name, str) or REFERENCE.search(name) or not isinstance(given, Mapping):
            return None
        allowed = settings.commands.get(name)
        if allowed is None:
            return (
                "command",
            ), f"no command {name!r} under actions.command.commands: the step would be refused"
        if odd := sorted(set(given) ^ set(allowed.parameters)):
            return ("arguments",), f"the command {name} has other parameters: {', '.join(odd)}"
        for argument, value in given.items():
            if not REFERENCE.search(str(value)) and not _fits(allowed, argument, str(value)):
                return ("arguments", argument), f"the command {name} does not allow {str(value)[:80]!r}"
        return None

    def __init__(self, settings: Settings) -> None:
        self._allowed = settings.commands

    async def run(self, command: RunAction) -> ActionOutcome:
        """Raises ActionError (arguments that don't fit, can't be started, failed without effect), ActionRefused (not on
        the allow-list, said no), ActionUnknown (killed at its timeout, or by somebody; ended as nobody declared)."""
        try:
            parameters = self.Parameters.model_validate(unflatten(command.parameters))
        except ValidationError as error:
            raise ActionError(f"wrong parameters: {error.errors()[0]['msg']}") from None
        allowed = self._allowed.get(parameters.command)
        if allowed is None:
            raise ActionRefused(f"no command {parameters.command!r} is on the allow-list")
        argv = _argv(allowed, parameters.arguments)
        code, output = await _run(argv, allowed, _environment(allowed, command), command.timeout)
        data: Values = (("code", code), ("output", output))
        if code == 0:
            return ActionOutcome(message="", data=data)
        message = f"{argv[0]} ended with {code}" + (f": {_last_line(output)}" if output.strip() else "")
        if code in allowed.refused:
            raise ActionRefused(message)
        if code < 0 or code in allowed.unknown or (command.disruptive and code not in allowed.harmless):
            raise ActionUnknown(message)
        raise ActionError(message)

    async def close(self) -> None:
        """Nothing outlives a run."""


def _argv(allowed: Allowed, given: Mapping[str, str | int]) -> tuple[str, ...]:
    odd = sorted(set(given) ^ set(allowed.parameters))
    if odd:
        raise ActionError(f"arguments don't fit: {', '.join(odd)}")
    argv = []
    for argument in allowed.argv:
        place = _PLACE.fullmatch(argument)
        if place is None:
            argv.append(argument)
            continue
        value = str(given[place[1]])
        if not _fits(allowed, place[1], value):
            raise ActionError(f"argument {place[1]} is not allowed: {value[:80]!r}")
        argv.append(value)
    return tuple(argv)


def _fits(allowed: Allowed, name: str, value: str) -> bool:
    matches = re.fullmatch(allowed.parameters[name], value) is not None
    return matches and not value.startswith("-") and "\0" not in value


def _environment(allowed: Allowed, command: RunAction) -> dict[str, str]:
    """Nothing of the controller's own environment: it may hold secrets."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        **allowed.environment,
        "THIRDRING_COMMAND": command.id,
        "THIRDRING_RUN": command.run,
        "THIRDRING_GROUP": command.group,
        "THIRDRING_EPOCH": str(command.epoch),
        "THIRDRING_DRILL": "1" if command.drill else "0",
    }


async def _run(
    argv: tuple[str, ...], allowed: Allowed, environment: Mapping[str, str], timeout: float
) -> tuple[int, str]:
    reading, writing = os.pipe()
    output = _Output(reading)
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                cwd=allowed.directory,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ActionError(f"{argv[0]} can't be started: {error}") from None
        finally:
            os.close(writing)
        try:
            async with asyncio.timeout(timeout):
                code = await process.wait()
        except TimeoutError:
            raise ActionUnknown(f"{argv[0]} was killed after {timeout:g} s") from None
        finally:
            if process.returncode is None:
                await _kill(process)
        await output.finish()
    finally:
        output.close()
    return code, output.text


class _Output:
    """The beginning of what a program writes. A pipe of our own: asyncio's would not let the program end before every
    child that inherited it has."""

    def __init__(self, reading: int) -> None:
        self._reading = reading
        self._kept = bytearray()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        os.set_blocking(reading, False)
        self._loop.add_reader(reading, self._read)

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")

    async def finish(self) -> None:
        try:
            async with asyncio.timeout(LINGER):
                await self._ended.wait()
        except TimeoutError:
            pass

    def close(self) -> None:
        self._loop.remove_reader(self._reading)
        os.close(self._reading)

    def _read(self) -> None:
        try:
            chunk = os.read(self._reading, 16 * 1024)
        except BlockingIOError:
            return
        self._kept.extend(chunk[: MOST_OUTPUT - len(self._kept)])
        if not chunk:
            self._loop.remove_reader(self._reading)
            self._ended.set()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """The program and everything it started in its session's group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    await process.wait()


def _last_line(output: str) -> str:
    return output.strip().splitlines()[-1][:200]
