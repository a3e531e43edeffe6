"""HAProxy: the switch of a group whose callers come in over TCP or TLS through its edges."""

from controller.actions.haproxy.driver import Haproxy

__all__ = ["Haproxy"]
