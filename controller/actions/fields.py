"""Fields that the parameters of several adapters have in common."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from yarl import URL


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _http_url(text: str) -> str:
    try:
        url = URL(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{text!r} is not an http or https URL")
    if url.user or url.password:
        raise ValueError("credentials belong into a header, not into the URL: it is shown in the timeline")
    return text


def _one_line(text: str) -> str:
    """A line break in a value would be read as the next command, header or argument."""
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError("holds a control character")
    return text


HttpUrl = Annotated[str, AfterValidator(_http_url)]

Argv = Annotated[tuple[str, ...], Field(min_length=1)]
"""An argument vector; run without a shell, with THIRDRING_GROUP, _SIDE and _EPOCH in its environment."""

Seconds = Annotated[float, Field(gt=0.0)]
Port = Annotated[int, Field(ge=1, le=65535)]
Line = Annotated[str, AfterValidator(_one_line)]
"""Text on one line."""

Word = Annotated[str, Field(pattern=r"^[^\s;]+$"), AfterValidator(_one_line)]
"""Text without blanks or semicolons: one argument of a line protocol."""


def loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
