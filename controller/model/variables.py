"""The variables that conditions of fault rules and severity rows may read, with their types.

`configuration` compiles conditions against them; `core.evidence` and `core.severity` fill them in.
Types are "string", "int", "double" and "bool".
"""

from __future__ import annotations

from collections.abc import Mapping

RUNG: Mapping[str, str] = {"state": "string", "outcome": "string", "failures": "int", "code": "int"}
"""Of every rung, as <role>.<rung>.<name>. `state` is the k-of-n verdict, never "UNKNOWN": then it is missing.
`outcome` and `code` are the last result's, `failures` is how many failed in a row with that same outcome."""

CONVENTIONAL_RUNGS: Mapping[str, str] = {
    "host": "icmp",
    "port": "tcp",
    "sip": "sip_options",
    "call": "sip_call",
    "call_other": "sip_call",
    "register": "sip_register",
    "edge": "kamailio",
    "agent": "host_agent",
    "hold": "hold",
    "certificate": "certificate",
    "backup": "file_age",
}
"""Rung name -> the probe kind whose values it reports. Shipped rules may read them whether configured or not: a rung
that is not there is UNKNOWN. `call_other` calls a second test destination, independent of the first."""

COMPONENT: Mapping[str, str] = {
    "state": "string",  # DOWN with a broken rung, UP with none and one known to be up, else missing
    "broken": "string",  # the first broken rung, "" when none is known to be
    "active": "bool",  # of a side: whether its group is on it; unknown for anything else
    "fenced": "bool",  # of a side: whether a fence of ours keeps calls from it; unknown for anything else
    "flapping": "bool",
}
"""Of every role but edge, as <role>.<name>."""

ROLES: tuple[str, ...] = ("self", "peer", "echo", "parent")

WITHOUT_EDGES = frozenset({"total", "reached"})
"""Of EDGE: known of every side, 0 where its group has no edges."""

EDGE: Mapping[str, str] = {
    "total": "int",  # edges the group has
    "reached": "int",  # edges read within their freshness; the counters below are sums over these
    "invites": "int",  # in the latest poll windows: INVITEs of live traffic that this side ended or left unanswered
    "failures": "int",  # of them, answered 408 or 5xx
    "timeouts": "int",  # of them, not answered at all
    "failed_in_a_row": "int",  # failures and timeouts since an edge last saw this side answer
    "timeouts_in_a_row": "int",
    "missed_answers": "double",  # answers to expect, at the rate before, since an edge last saw this side answer
    "answered_meanwhile": "int",  # answered in windows that began after this component's first failed probe
    "failed_meanwhile": "int",  # failed or timed out in those windows
    "quiet": "double",  # seconds since an edge last saw an INVITE for this side
    "peer_answered": "int",  # answered by the other side in the latest windows
}
"""As edge.<name>: what the group's edges see of the live traffic to this side."""

SEVERITY: Mapping[str, str] = {
    "fault.kind": "string",
    "component.kind": "string",  # "group" for a fault of a whole group
    "lines": "int",  # phones, agents or channels behind what is affected
    "affected": "int",  # components with a fault of this cause
    "vip": "bool",
    "active_side": "bool",  # the fault is on the side its group is on
    "masked": "bool",  # the edges carry the calls of a broken active side over to the other one
    "business_hours": "bool",
    "redundancy_left": "int",  # unbroken members of its redundancy group, or unbroken other sides
}
