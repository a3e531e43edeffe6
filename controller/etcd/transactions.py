"""Requests of etcd's key-value API as the gateway wants them: base64 keys and values, 64-bit numbers as strings.

Source: etcd API reference v3.4 and v3.5, rpc.proto and kv.proto.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

Body = Mapping[str, Any]


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode("ascii")


def decoded(text: str) -> bytes:
    """Raises ValueError for what is no base64."""
    return base64.b64decode(text, validate=True)


def prefix_end(prefix: str) -> bytes:
    """The first key after all that begin with `prefix`, which must not be empty."""
    raw = bytearray(prefix.encode())
    while raw and raw[-1] == 0xFF:
        raw.pop()
    if not raw:
        raise ValueError("a prefix of nothing has no end")
    raw[-1] += 1
    return bytes(raw)


def created_at(key: str, revision: int) -> Body:
    """The key was created at this revision; 0: it does not exist."""
    return {"key": encoded(key), "target": "CREATE", "result": "EQUAL", "create_revision": str(revision)}


def changed_at(key: str, revision: int) -> Body:
    """The key was last changed at this revision; 0: it does not exist."""
    return {"key": encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def value_is(key: str, value: bytes) -> Body:
    """Never true of a key that does not exist."""
    return {"key": encoded(key), "target": "VALUE", "result": "EQUAL", "value": encoded(value)}


def put(key: str, value: bytes, *, lease: int = 0) -> Body:
    request: dict[str, Any] = {"key": encoded(key), "value": encoded(value)}
    if lease:
        request["lease"] = str(lease)
    return {"request_put": request}


def delete(key: str) -> Body:
    return {"request_delete_range": {"key": encoded(key)}}


def get(key: str) -> Body:
    return {"request_range": {"key": encoded(key)}}


def everything(prefix: str, *, most: int = 0) -> Body:
    """The keys that begin with `prefix`, or the first `most` of them, in order."""
    request = {"key": encoded(prefix), "range_end": encoded(prefix_end(prefix))}
    return {"request_range": {**request, **({"limit": str(most)} if most else {})}}


class KeyValue(NamedTuple):
    key: str
    value: bytes
    created: int  # revisions
    changed: int


class Answer(NamedTuple):
    """Of one transaction. `found`: what each range in the branch that was taken found, in their order."""

    succeeded: bool
    revision: int
    found: tuple[tuple[KeyValue, ...], ...]


def key_values(items: object) -> tuple[KeyValue, ...]:
    """Raises ValueError, KeyError or TypeError for what no etcd sends."""
    if items is None:
        return ()
    if not isinstance(items, list):
        raise TypeError("kvs is no list")
    return tuple(
        KeyValue(
            key=decoded(item["key"]).decode(),
            value=decoded(item.get("value", "")),
            created=int(item.get("create_revision", 0)),
            changed=int(item.get("mod_revision", 0)),
        )
        for item in items
    )


def answer(body: Body) -> Answer:
    """A TxnResponse. Raises ValueError, KeyError or TypeError for what no etcd sends."""
    found = tuple(
        key_values(response["response_range"].get("kvs"))
        for response in body.get("responses") or ()
        if "response_range" in response
    )
    return Answer(
        succeeded=bool(body.get("succeeded", False)), revision=int(body["header"]["revision"]), found=found
    )
