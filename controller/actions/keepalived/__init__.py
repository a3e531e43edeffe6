"""keepalived: the switch of a group whose virtual address VRRP moves, by a number in a file it tracks."""

from controller.actions.keepalived.driver import Keepalived

__all__ = ["Keepalived"]
