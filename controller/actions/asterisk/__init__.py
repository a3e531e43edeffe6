"""Asterisk, by its manager interface (AMI): the switch of a group by its trunks, and verbs for runbooks."""

from controller.actions.asterisk.action import AsteriskAction
from controller.actions.asterisk.driver import Asterisk

__all__ = ["Asterisk", "AsteriskAction"]
