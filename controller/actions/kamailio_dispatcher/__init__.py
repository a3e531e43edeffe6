"""Kamailio's dispatcher: the switch of a group on its edges, and one destination's state as a runbook action."""

from controller.actions.kamailio_dispatcher.action import DispatcherAction
from controller.actions.kamailio_dispatcher.driver import KamailioDispatcher

__all__ = ["DispatcherAction", "KamailioDispatcher"]
