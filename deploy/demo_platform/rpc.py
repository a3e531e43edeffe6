"""The edge's JSON-RPC over HTTP, as Kamailio's xhttp and jsonrpcs give it, with the epoch gate.

A command that changes the dispatcher carries X-Epoch. One older than the newest seen, or none at all, is answered
with 409 and changes nothing. Errors are HTTP 500 (or 404) with a JSON-RPC body; what is not JSON gets no answer at all.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from demo_platform.dispatcher import Destination, Dispatcher, DispatcherError
from demo_platform.layout import CONTROLLER, LIVE_CALLS, Address
from demo_platform.switches import listen

GATED = re.compile(r"dispatcher\.(set_state|reload|add|remove)")
TABLE = "n"


class Rpc:
    """`counters`: what `htable.dump n` tells, by name. Only `controller` is heard."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        counters: Mapping[str, int],
        live_calls: Callable[[str], int],
        *,
        controller: str = CONTROLLER,
    ) -> None:
        self.epoch = 0
        self._dispatcher = dispatcher
        self._counters = counters
        self._live_calls = live_calls
        self._controller = controller
        self._started, self._started_wall = time.monotonic(), time.time()
        self._methods: Mapping[str, Callable[[list[Any]], object]] = {
            "core.uptime": self._uptime,
            "dispatcher.list": self._list,
            "dispatcher.reload": self._reload,
            "dispatcher.set_state": self._set_state,
            "dlg.profile_get_size": self._count,
            "htable.dump": self._dump,
        }
        application = web.Application(client_max_size=64 * 1024)
        application.router.add_route("*", "/{path:.*}", self._request)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)

    async def open(self, address: Address) -> None:
        """Raises AddressInUse."""
        await self._runner.setup()
        await listen(self._runner, address)

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _request(self, request: web.Request) -> web.Response:
        if request.remote != self._controller:
            return web.Response(status=403, reason="Forbidden")
        text = await request.text()
        if GATED.search(text):
            given = request.headers.get("X-Epoch", "")
            epoch = int(given) if re.fullmatch("[0-9]{1,9}", given) else -1
            if epoch < self.epoch:
                return web.Response(status=409, reason="Stale epoch", text=str(self.epoch))
            self.epoch = epoch
        try:
            document = json.loads(text)
        except ValueError:
            # Kamailio says nothing; who waits for an answer must have a deadline of its own.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=400)
        return self._call(document)

    def _call(self, document: Any) -> web.Response:
        if not isinstance(document, dict) or not isinstance(document.get("method"), str):
            return _answer(document, {"result": {}})
        method = self._methods.get(document["method"])
        params = document.get("params", [])
        # Named parameters are taken in the order in which they stand; their names mean nothing.
        values = (
            list(params.values()) if isinstance(params, dict) else params if isinstance(params, list) else []
        )
        try:
            if method is None:
                raise DispatcherError("Method Not Found")
            return _answer(document, {"result": method(values)})
        except DispatcherError as error:
            return _answer(
                document, {"error": {"code": error.code, "message": str(error)}}, status=error.code
            )

    def _uptime(self, params: list[Any]) -> object:
        return {
            "now": time.ctime(),
            "up_since": time.ctime(self._started_wall),
            "uptime": int(time.monotonic() - self._started),
        }

    def _list(self, params: list[Any]) -> object:
        sets = self._dispatcher.sets
        if not sets:
            raise DispatcherError("No Destination Sets")
        records = [
            {"SET": {"ID": number, "TARGETS": [{"DEST": _described(d)} for d in destinations]}}
            for number, destinations in sorted(sets.items())
        ]
        return {"NRSETS": len(sets), "RECORDS": records}

    def _reload(self, params: list[Any]) -> object:
        self._dispatcher.reload(time.monotonic())
        return "Ok. Dispatcher successfully reloaded."

    def _set_state(self, params: list[Any]) -> object:
        if len(params) < 3:
            raise DispatcherError("Invalid Parameters")
        letters, number, uri = params[:3]
        if isinstance(number, bool) or not isinstance(number, int) or not isinstance(uri, str):
            raise DispatcherError("State Update Failed")
        self._dispatcher.set_state(str(letters), number, uri)
        return "Ok. Dispatcher state updated."

    def _count(self, params: list[Any]) -> object:
        if not params or params[0] != LIVE_CALLS:
            raise DispatcherError(f"Profile not found: {params[0] if params else ''}", 404)
        return self._live_calls(str(params[1]) if len(params) > 1 else "")

    def _dump(self, params: list[Any]) -> object:
        if not params or params[0] != TABLE:
            raise DispatcherError("No such htable")
        return [
            {"entry": entry, "size": 1, "slot": [{"name": name, "value": value, "type": "int"}]}
            for entry, (name, value) in enumerate(sorted(self._counters.items()))
        ]


def _described(destination: Destination) -> dict[str, object]:
    return {
        "URI": destination.uri,
        "FLAGS": destination.flags,
        "PRIORITY": destination.priority,
        "ATTRS": {
            "BODY": destination.attributes,
            "DUID": None,
            "MAXLOAD": 0,
            "WEIGHT": 0,
            "RWEIGHT": 0,
            "SOCKET": None,
            "SOCKNAME": None,
            "OBPROXY": None,
        },
    }


def _answer(document: Any, content: Mapping[str, object], *, status: int = 200) -> web.Response:
    identity = document.get("id") if isinstance(document, dict) else None
    return web.json_response({"jsonrpc": "2.0", **content, "id": identity}, status=status)
