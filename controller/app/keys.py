"""Secrets that a node makes for itself, once."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from controller.configuration.settings import Settings


def web_token(settings: Settings) -> str:
    """The token made for a configuration that declares none; empty when it declares some."""
    node = settings.node
    return "" if node.http.tokens else key(node.data / "web.token").hex()


def key(path: Path) -> bytes:
    """32 secret bytes kept in `path`, made on first use, readable by this user alone."""
    with contextlib.suppress(FileNotFoundError):
        return bytes.fromhex(path.read_text().strip())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = secrets.token_bytes(32)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(made.hex() + "\n")
        return made
    return bytes.fromhex(path.read_text().strip())
