"""FreeSWITCH, by its event socket (ESL): the switch of a group by its trunks, and verbs for runbooks."""

from controller.actions.freeswitch.action import FreeswitchAction
from controller.actions.freeswitch.driver import Freeswitch

__all__ = ["Freeswitch", "FreeswitchAction"]
