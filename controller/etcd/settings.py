"""How a cluster of etcd is reached."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

from controller.model.errors import CoordinationError


class EtcdSettings(NamedTuple):
    """`timeout` in seconds: of one operation, however many members it takes. `hedge`: seconds without an answer after
    which the next member is asked as well, where asking twice does no harm. `password` with `user`. PEM files.
    `accept_old`: servers whose leases can't be trusted after a pause, explicitly.

    A client certificate proves who connects, and no more: the gateway does not take a user's name from it (etcd, "TLS
    guide", notes on the gateway). With etcd's own access control on, `user` and `password` are needed besides, and the
    certificate must have no common name: the gateway refuses every request under one that has.
    """

    endpoints: tuple[str, ...]
    timeout: float = 0.5
    hedge: float = 0.06
    user: str = ""
    password: str = ""
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    accept_old: bool = False

    def __repr__(self) -> str:
        return f"EtcdSettings({', '.join(self.endpoints)})"  # never the password


def tls_context(settings: EtcdSettings) -> ssl.SSLContext | None:
    """Raises CoordinationError when a PEM file can't be used."""
    if settings.authority is None and settings.certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.authority)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise CoordinationError(f"etcd: TLS files: {error}") from error
    return context
