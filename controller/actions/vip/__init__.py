"""The switch of a group whose callers reach it at a virtual address that host agents hold."""

from controller.actions.vip.driver import Vip

__all__ = ["Vip"]
