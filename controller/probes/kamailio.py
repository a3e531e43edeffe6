"""A Kamailio edge by JSON-RPC: the dispatcher's flags and epoch, and what it saw of live calls by side."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import aiohttp
from pydantic import Field, HttpUrl

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.moments import Value, Values
from controller.probes.parameters import SipUri, Strict
from controller.sip.uri import parse_uri

_EPOCH = re.compile(r"(?:\A|;)\s*epoch=([0-9]{1,15})\s*(?:;|\Z)")
LARGEST_ANSWER = 4 * 1024 * 1024
"""Bytes; a list of 2,000 destinations is half a megabyte."""


class KamailioParameters(Strict):
    """`sides`: side name -> destination URI, byte for byte as in the dispatcher's list. `table` is the htable with the
    counters `<side address>::<status>` and `<side address>::timeout`; empty: the edge keeps none. `window` in seconds:
    counts are of the time since the previous poll, or of the last `window` seconds where that is longer."""

    url: HttpUrl
    group: int = Field(ge=0)
    sides: dict[str, SipUri] = Field(min_length=1)
    table: str = "n"
    window: float = Field(default=0.0, ge=0.0)


class Destination(NamedTuple):
    """One line of `dispatcher.list`. `flags`: A, T, I or D, then P or X. `epoch` -1 when its attributes have none."""

    uri: str
    flags: str
    epoch: int


class Counts(NamedTuple):
    """Replies to INVITE, final ones, as they came from one side; 408 and 5xx among them; INVITEs left unanswered."""

    invites: int = 0
    failures: int = 0
    timeouts: int = 0


class MalformedAnswer(Exception):
    """Not JSON-RPC, or not of the shape this method has."""


class RpcError(Exception):
    """The edge answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Kamailio:
    """ports.Probe. UP when the edge answered and its list holds every side; what the flags ought to be is not judged."""

    Parameters = KamailioParameters
    mass = False
    values: ClassVar[Mapping[str, str]] = {"epoch": "int", "reached": "bool"}

    def __init__(self, parameters: KamailioParameters) -> None:
        self._parameters = parameters
        self._session: aiohttp.ClientSession | None = None
        self._window = _Window(parameters.window)
        self._names: dict[str, str] = {}  # counter prefix -> side
        uris = {side: parse_uri(destination) for side, destination in parameters.sides.items()}
        hosts = [uri.address for uri in uris.values()]
        for side, uri in uris.items():
            self._names[f"{uri.address}:{uri.port or 5060}"] = side
            # Two sides behind one address can only be told apart by an edge that counts by port as well.
            if hosts.count(uri.address) == 1:
                self._names[uri.address] = side

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        sent_at = time.monotonic()
        code, note = 0, ""
        values: Values = (("reached", False),)
        try:
            async with asyncio.timeout(timeout):
                values, note = await self._poll()
            outcome = Outcome.FAILED if note else Outcome.UP
        except TimeoutError:
            outcome = Outcome.NO_REPLY
        except RpcError as error:
            outcome, code, note = Outcome.ERROR, error.code, str(error)
        except (MalformedAnswer, aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
            outcome, note = Outcome.MALFORMED, str(error)
        except (aiohttp.ClientError, OSError) as error:
            outcome, note = Outcome.TRANSPORT, str(error) or type(error).__name__
        now = time.monotonic()
        return ProbeResult(
            key, sent_at, now, outcome, outcome is Outcome.UP, now - sent_at, code, 1, note, values
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _poll(self) -> tuple[Values, str]:
        """The values, and what is wrong with the edge's configuration ("" for nothing)."""
        parameters = self._parameters
        destinations = {
            destination.uri: destination
            for destination in read_list(await self._call("dispatcher.list", []), parameters.group)
        }
        values: list[tuple[str, Value]] = [("reached", True)]
        epochs = [destination.epoch for destination in destinations.values()]
        values.append(("epoch", max(epochs, default=-1)))
        missing = [uri for uri in parameters.sides.values() if uri not in destinations]
        for side, uri in parameters.sides.items():
            values.append((f"{side}.flags", destinations[uri].flags if uri in destinations else ""))
        notes = [f"{uri} is not in group {parameters.group}" for uri in missing]
        if parameters.table:
            try:
                totals = count_by_side(await self._call("htable.dump", [parameters.table]), self._names)
            except RpcError as error:
                # Its flags are known all the same; the counters are left out, never zero.
                notes.append(f"table {parameters.table}: {error}")
            else:
                counts = self._window.add(time.monotonic(), totals)
                for side in parameters.sides:
                    seen = counts.get(side, Counts())
                    values += [(f"{side}.{name}", number) for name, number in seen._asdict().items()]
        return tuple(values), ", ".join(notes)

    async def _call(self, method: str, arguments: list[Any]) -> Any:
        request = {"jsonrpc": "2.0", "method": method, "params": arguments, "id": 1}
        async with self._opened().post(str(self._parameters.url), json=request) as response:
            body = await response.content.read(LARGEST_ANSWER)
            while chunk := await response.content.read(LARGEST_ANSWER):
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise MalformedAnswer("an answer of more than 4 MiB")
        return read_result(response.status, body)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A connection each time: after a restart of the edge a kept one would fail a probe that tells of nothing.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        return self._session


class _Window:
    """Running totals turned into what happened lately. A total that fell was started anew by a restart of the edge."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._totals: dict[str, Counts] | None = None
        self._steps: deque[tuple[float, dict[str, Counts]]] = deque()

    def add(self, now: float, totals: dict[str, Counts]) -> dict[str, Counts]:
        """Counts by side since the previous call and, where that is longer, of the window. The first call has
        nothing to compare with and yields zeros."""
        previous, self._totals = self._totals, totals
        if previous is None:
            return {}
        step = {side: _since(previous.get(side, Counts()), total) for side, total in totals.items()}
        self._steps.append((now, step))
        while len(self._steps) > 1 and self._steps[0][0] <= now - self._seconds:
            self._steps.popleft()
        summed: dict[str, Counts] = {}
        for _, counts in self._steps:
            for side, count in counts.items():
                summed[side] = Counts(*map(sum, zip(summed.get(side, Counts()), count, strict=True)))
        return summed


def _since(before: Counts, after: Counts) -> Counts:
    if any(now < then for then, now in zip(before, after, strict=True)):
        return after
    return Counts(*(now - then for then, now in zip(before, after, strict=True)))


def read_result(status: int, body: bytes) -> Any:
    """The `result` of a JSON-RPC answer. Kamailio sends errors as HTTP 500 with a JSON-RPC body.

    Raises RpcError for an error, MalformedAnswer for anything that is no answer.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedAnswer(f"status {status} and no JSON: {body[:60]!r}") from None
    if not isinstance(answer, dict):
        raise MalformedAnswer("JSON, but no JSON-RPC answer")
    error = answer.get("error")
    if isinstance(error, dict):
        code = error.get("code")
        raise RpcError(code if isinstance(code, int) else status, str(error.get("message", "")))
    if "result" not in answer or error is not None:
        raise MalformedAnswer("neither a result nor an error")
    return answer["result"]


def read_list(result: Any, group: int) -> list[Destination]:
    """The destinations of one group: RECORDS[].SET{ID,TARGETS[].DEST{URI,FLAGS,ATTRS{BODY}}}. Raises MalformedAnswer."""
    try:
        sets = [record["SET"] for record in result["RECORDS"]]
        found: list[Destination] = []
        for each in sets:
            if each["ID"] != group:
                continue
            for entry in each["TARGETS"]:
                destination = entry["DEST"]
                attributes = (destination.get("ATTRS") or {}).get("BODY") or ""
                epoch = _EPOCH.search(attributes)
                found.append(
                    Destination(
                        str(destination["URI"]), str(destination["FLAGS"]), int(epoch[1]) if epoch else -1
                    )
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedAnswer(f"dispatcher.list of an unknown shape: {error}") from None
    return found


def count_by_side(result: Any, names: dict[str, str]) -> dict[str, Counts]:
    """Running totals by side from `htable.dump`: [{slot: [{name, value}]}]. Raises MalformedAnswer."""
    totals: dict[str, Counts] = {side: Counts() for side in names.values()}
    try:
        slots = [slot for entry in result for slot in entry["slot"]]
        for slot in slots:
            address, separator, what = str(slot["name"]).rpartition("::")
            side = names.get(address) if separator else None
            if side is None:
                continue
            value = int(slot["value"])
            invites, failures, timeouts = totals[side]
            if what == "timeout":
                totals[side] = Counts(invites + value, failures, timeouts + value)
            elif what.isdigit() and int(what) >= 200:
                bad = what == "408" or what.startswith("5")
                totals[side] = Counts(invites + value, failures + bad * value, timeouts)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MalformedAnswer(f"htable.dump of an unknown shape: {error}") from None
    return totals
