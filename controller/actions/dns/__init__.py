"""DNS: the switch of a group whose callers find it by name."""

from controller.actions.dns.driver import Dns

__all__ = ["Dns"]
