"""kind -> adapter, one explicit, lazy line each. Only configured kinds are imported.

What an adapter class offers, by category:
- probe:    `Parameters` (pydantic model of one target's `with:`), `mass` (bool). A mass probe is built with no
            arguments, once a prober; any other probe once a target with its validated parameters.
            Optional `values`: what its results report, name -> "string" | "int" | "double" | "bool"; fault rules are
            checked against it, and a rung of a probe that is not `mass` and has values reports every result.
- action:   `Parameters` (of one call) and `Settings` (of the installation); built once with its settings. Optional:
            `lacks(settings, parameters)`, where and why a call can't work with them, or None (static).
- driver:   `Parameters`; built once a group with (GroupPolicy, parameters). Optional: the parameters' `idle_verbs`,
            the verbs among FREEZE and PROMOTE for which nothing was configured; a switch leaves them out; and their
            `single_holder`, True where the side that is left must be fenced on the way back too. Optional:
            `coordinate(grants)`, called before the first verb where a coordination store is configured. Optional: the
            class's `problems(group, parameters)`, what only both together show to be wrong; `thirdring check` says it.
- notifier: `Parameters`; built once a channel with its parameters.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

PROBES: Mapping[str, str] = {
    "sip_options": "controller.probes.sip_options:SipOptions",
    "sip_call": "controller.probes.sip_call:SipCall",
    "sip_register": "controller.probes.sip_register:SipRegister",
    "icmp": "controller.probes.icmp:Icmp",
    "tcp": "controller.probes.tcp:Tcp",
    "http": "controller.probes.http:Http",
    "kamailio": "controller.probes.kamailio:Kamailio",
    "certificate": "controller.probes.certificate:Certificate",
    "file_age": "controller.probes.file_age:FileAge",
    "host_agent": "controller.probes.host_agent:HostAgent",
    "hold": "controller.probes.hold:Hold",
}
ACTIONS: Mapping[str, str] = {
    "http": "controller.actions.http:Http",
    "command": "controller.actions.command:Command",
    "kamailio.dispatcher": "controller.actions.kamailio_dispatcher:DispatcherAction",
    "asterisk": "controller.actions.asterisk:AsteriskAction",
    "freeswitch": "controller.actions.freeswitch:FreeswitchAction",
}
DRIVERS: Mapping[str, str] = {
    "kamailio_dispatcher": "controller.actions.kamailio_dispatcher:KamailioDispatcher",
    "vip": "controller.actions.vip:Vip",
    "http": "controller.actions.http_switch:HttpSwitch",
    "dns": "controller.actions.dns:Dns",
    "haproxy": "controller.actions.haproxy:Haproxy",
    "asterisk": "controller.actions.asterisk:Asterisk",
    "freeswitch": "controller.actions.freeswitch:Freeswitch",
    "keepalived": "controller.actions.keepalived:Keepalived",
}
NOTIFIERS: Mapping[str, str] = {
    "webhook": "controller.notifiers.webhook:Webhook",
    "smtp": "controller.notifiers.smtp:Smtp",
    "apprise": "controller.notifiers.apprise:Apprise",
}

CATEGORIES: Mapping[str, Mapping[str, str]] = {
    "probe": PROBES,
    "action": ACTIONS,
    "driver": DRIVERS,
    "notifier": NOTIFIERS,
}


def load(category: str, kind: str) -> type[Any]:
    """The adapter class. Raises KeyError for an unknown kind, ImportError when its library is not installed."""
    module, name = CATEGORIES[category][kind].split(":")
    loaded: type[Any] = getattr(importlib.import_module(module), name)
    return loaded
