"""A session border controller, or anything else with its routing in a JSON document behind HTTP and ETags."""

from controller.actions.http_switch.driver import HttpSwitch

__all__ = ["HttpSwitch"]
