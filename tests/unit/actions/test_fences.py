"""An outside fence over HTTP: a switch that can cut a port off, and what it says when it can't."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.actions.fences import Fence, FenceParameters
from controller.model.errors import ActionError, ActionRefused, ActionUnknown


class Port:
    """A switch port behind HTTP. `answers`: statuses to give instead of working, once each."""

    def __init__(self) -> None:
        self.up = True
        self.epochs: list[str] = []
        self.answers: list[int] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.epochs.append(request.headers.get("X-Epoch", ""))
        if self.answers:
            return web.Response(status=self.answers.pop(0))
        if request.method != "GET":
            wanted = (await request.json())["up"]
            if wanted and self.up:
                return web.Response(status=409, text="is up")
            self.up = wanted
        return web.json_response({"port": {"up": self.up}})


@pytest.fixture
async def port() -> AsyncIterator[tuple[Port, Fence]]:
    port = Port()
    application = web.Application()
    application.router.add_route("*", "/port/7", port.handle)
    server = TestServer(application)
    await server.start_server()
    url = str(server.make_url("/port/7"))
    fence = Fence(
        FenceParameters.model_validate(
            {
                "fence": {"url": url, "method": "PUT", "json": {"up": False}},
                "confirm": {"url": url, "method": "GET", "shows": {"/port/up": False}},
                "release": {"url": url, "method": "PUT", "json": {"up": True}},
            }
        ),
        {},
    )
    yield port, fence
    await fence.close()
    await server.close()


async def test_it_cuts_off_proves_it_and_lets_in_again(port: tuple[Port, Fence]) -> None:
    there, fence = port
    assert await fence.lacks() == []
    with pytest.raises(ActionError, match=r"/port/up"):
        await fence.confirm(7)
    await fence.fence(7)
    await fence.fence(7)
    await fence.confirm(7)
    assert not there.up and "7" in there.epochs
    await fence.release(8)
    assert there.up
    assert await fence.release(8) == "was not fenced"


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, ActionError), (403, ActionRefused), (302, ActionRefused), (500, ActionUnknown)],
)
async def test_a_fence_that_was_not_carried_out(
    port: tuple[Port, Fence], status: int, error: type[ActionError]
) -> None:
    there, fence = port
    there.answers = [status]
    with pytest.raises(error) as raised:
        await fence.fence(7)
    assert type(raised.value) is error


async def test_a_release_that_failed_while_the_fence_stands_has_failed(port: tuple[Port, Fence]) -> None:
    there, fence = port
    await fence.fence(7)
    there.answers = [403]
    with pytest.raises(ActionRefused):
        await fence.release(8)


async def test_a_device_that_is_away_or_refuses_us_is_not_ready(port: tuple[Port, Fence]) -> None:
    there, fence = port
    there.answers = [401]
    assert "401" in (await fence.lacks())[0]
    away = Fence(
        FenceParameters.model_validate(
            {
                "fence": ["/nowhere/fence"],
                "confirm": {"url": "http://127.0.0.1:9/", "method": "GET", "shows": {"/up": False}},
                "release": ["true"],
            }
        ),
        {},
    )
    lacks = await away.lacks()
    assert lacks[0] == "/nowhere/fence can't be run" and "127.0.0.1:9" in lacks[1]
    await away.close()


@pytest.mark.parametrize(("confirm", "told"), [(["false"], "was not fenced"), (["/nowhere"], "ended with 1")])
async def test_a_release_that_failed_is_believed_only_where_no_fence_is_seen(
    confirm: list[str], told: str
) -> None:
    fence = Fence(
        FenceParameters.model_validate({"fence": ["true"], "confirm": confirm, "release": ["false"]}), {}
    )
    if confirm == ["false"]:
        assert await fence.release(7) == told
    else:
        with pytest.raises(ActionError, match=told):
            await fence.release(7)
    await fence.close()
