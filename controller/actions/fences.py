"""What cuts a side off from outside: commands, or requests to a device that can (switch port, hypervisor, firewall)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, SecretStr, Tag, model_validator
from yarl import URL

from controller.actions import documents, processes
from controller.actions.documents import Pointer, Scalar
from controller.actions.fields import Argv, HttpUrl, Seconds, Strict
from controller.actions.points import Unreachable
from controller.actions.requests import Answer, Requests
from controller.model.errors import ActionError, ActionRefused, ActionUnknown


class Request(Strict):
    """`shows`: what the answer's JSON must hold, by JSON Pointer; the status alone says that somebody answered."""

    url: HttpUrl
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: Mapping[str, SecretStr] = {}
    json_: Any = Field(default=None, alias="json")
    shows: Mapping[Pointer, Scalar] = {}


def _tag(value: Any) -> str:
    return "request" if isinstance(value, (dict, Request)) else "command"


Means = Annotated[
    Annotated[Argv, Tag("command")] | Annotated[Request, Tag("request")],
    Discriminator(_tag),
]
"""An argument vector, or a request."""


class FenceParameters(Strict):
    """Exit status 0 or a 2xx: done. `confirm`: only if the side is cut off, by evidence outside the side's own word.
    `timeout`: of one request, seconds."""

    fence: Means
    confirm: Means
    release: Means
    timeout: Seconds = 1.0
    ca: str = ""

    @model_validator(mode="after")
    def _proof(self) -> Self:
        if isinstance(self.confirm, Request) and (self.confirm.method != "GET" or not self.confirm.shows):
            raise ValueError("confirm: a request must be a GET that says in `shows` what proves the fence")
        return self


class Fence:
    """One side's. Every verb is idempotent at the far end; the epoch goes along (THIRDRING_EPOCH, X-Epoch)."""

    def __init__(self, parameters: FenceParameters, environment: Mapping[str, str]) -> None:
        self._parameters = parameters
        self._environment = environment
        self._requests = Requests(timeout=parameters.timeout, ca=parameters.ca)

    async def lacks(self) -> list[str]:
        """Why it could not be used now; empty when it is ready. Changes nothing."""
        found = []
        means = (self._parameters.fence, self._parameters.confirm, self._parameters.release)
        for program in sorted({item[0] for item in means if not isinstance(item, Request)}):
            if shutil.which(program) is None:
                found.append(f"{program} can't be run")
        if isinstance(self._parameters.confirm, Request):
            try:
                answer = await self._ask(self._parameters.confirm, epoch=0)
            except Unreachable as error:
                found.append(str(error))
            else:
                if not 200 <= answer.status < 300:
                    found.append(f"{_place(self._parameters.confirm)}: {answer.told}")
        return found

    async def fence(self, epoch: int) -> str:
        """Raises ActionError, ActionRefused or ActionUnknown."""
        return await self._do(self._parameters.fence, epoch)

    async def confirm(self, epoch: int) -> str:
        """What proves it. Raises ActionError when it is not proved."""
        return await self._do(self._parameters.confirm, epoch)

    async def release(self, epoch: int) -> str:
        """One that fails because nothing was fenced has been done before."""
        try:
            return await self._do(self._parameters.release, epoch)
        except ActionUnknown:
            raise
        except ActionError:
            try:
                await self.confirm(epoch)
            except Unreachable:
                pass
            except ActionError:
                return "was not fenced"
            raise

    async def close(self) -> None:
        await self._requests.close()

    async def _do(self, means: Argv | Request, epoch: int) -> str:
        if not isinstance(means, Request):
            environment = {**self._environment, "THIRDRING_EPOCH": str(epoch)}
            return await processes.run(means, environment=environment)
        answer = await self._ask(means, epoch)
        if answer.status in (425, 429, 503):
            raise ActionError(f"{_place(means)}: {answer.told}")
        if answer.status == 408 or answer.status >= 500:
            unknown = ActionError if means.method == "GET" else ActionUnknown
            raise unknown(f"{_place(means)}: {answer.told}")
        if not 200 <= answer.status < 300:
            raise ActionRefused(f"{_place(means)}: {answer.told}")
        if means.shows:
            _shown(means, answer)
        return answer.told if answer.status != 200 else f"{_place(means)}: done"

    async def _ask(self, means: Request, epoch: int) -> Answer:
        headers = {name: value.get_secret_value() for name, value in means.headers.items()}
        body = None
        if means.json_ is not None:
            body = documents.rendered(means.json_)
            headers.setdefault("Content-Type", "application/json")
        if epoch:
            headers["X-Epoch"] = str(epoch)
        if means.method == "GET":
            return await self._requests.read(means.url, headers=headers)
        return await self._requests.exchange(means.method, means.url, headers=headers, body=body)


def _shown(means: Request, answer: Answer) -> None:
    """Raises ActionError unless the answer holds everything it must."""
    try:
        document = documents.parse(answer.body)
    except ValueError as error:
        raise ActionError(f"{_place(means)}: {error}") from error
    for pointer, wanted in means.shows.items():
        try:
            found = documents.member(document, pointer)
        except KeyError:
            raise ActionError(f"{_place(means)} shows nothing at {pointer}") from None
        if not documents.same(found, wanted):
            raise ActionError(f"{_place(means)} shows {found!r:.80} at {pointer}, not {wanted!r}")


def _place(means: Request) -> str:
    url = URL(means.url)
    return f"{url.host}:{url.port}"
