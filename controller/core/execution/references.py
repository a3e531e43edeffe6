"""What a run's `${name}` references and `when` conditions read.

Names: the run's inputs (`group`, `component`, `side`, `origin`, `target`, `fault` among them, fixed when it started),
`run`, `incident`, `<role>.component` and `<role>.destination` of the sides `origin` and `target`; `echo` and `edges`
(comma-joined) of the group; `component.<value>` as the configuration says of the component, its `kind` and `lines`;
`spare`, an unbroken member of the component's redundancy group; `incident.<field>`; and `steps.<name>.<data>` of steps
that have finished.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.core.topology import topology
from controller.model.moments import Value, Values
from controller.model.parameters import REFERENCE
from controller.model.policy import Component, GroupPolicy, Policy
from controller.model.runs import Run, StepRecord
from controller.model.state import State

ROLES = ("origin", "target")


class UnknownReference(LookupError):
    """A reference to a name that the run does not have. The argument is the name."""


def starting_inputs(
    given: Values, *, group: str, incident: str, fault: str, state: State, policy: Policy
) -> Values:
    """The inputs of a new run. What was given wins; the rest follows from the group, the incident and the fault.

    `origin` is the side active at the start and `target` the other one, whatever the run changes later.
    """
    known: dict[str, Value] = {"group": group, "fault": fault}
    known.update(given)
    root = state.incidents.get(incident)
    if not known.get("component"):
        known["component"] = _faulty(fault) or (root.root if root is not None else "")
    if not known["group"]:
        known["group"] = _group_of(policy.components.get(str(known["component"])))
    rules, standing = policy.groups.get(str(known["group"])), state.groups.get(str(known["group"]))
    if rules is not None and standing is not None:
        component = known["component"]
        own = next((side.name for side in rules.sides if side.component == component), standing.active)
        known.setdefault("origin", standing.active)
        if len(rules.sides) > 1:
            known.setdefault("target", rules.other(str(known["origin"])).name)
        known.setdefault("side", own)
    return tuple(known.items())


def names(run: Run, state: State, policy: Policy) -> dict[str, Value]:
    """Everything a reference or a condition of this run may read now."""
    known: dict[str, Value] = {"run": run.id, "incident": run.incident, "drill": run.drill}
    known.update(run.inputs)
    known["group"] = run.group
    rules = policy.groups.get(run.group)
    if rules is not None:
        known.update(_sides(rules, known))
    component = policy.components.get(str(known.get("component")))
    if component is not None:
        known.update(_of_component(component, state, policy))
    incident = state.incidents.get(run.incident)
    if incident is not None:
        known.update(
            {
                "incident.severity": int(incident.severity),
                "incident.kind": str(incident.kind),
                "incident.state": str(incident.state),
                "incident.affected": incident.affected,
                "incident.root": incident.root,
                "incident.drill": incident.drill,
            }
        )
    for record in run.steps:
        known.update(_of_step(record))
    return known


def resolve(values: Values, known: Mapping[str, Value]) -> Values:
    """`values` with every reference replaced. A text that is one reference takes over the value with its type.

    Raises UnknownReference.
    """
    return tuple((name, _resolved(value, known)) for name, value in values)


def _resolved(value: Value, known: Mapping[str, Value]) -> Value:
    if not isinstance(value, str):
        return value
    whole = REFERENCE.fullmatch(value)
    if whole is not None:
        return _value(whole[1], known)
    return REFERENCE.sub(lambda found: _text(_value(found[1], known)), value)


def _value(name: str, known: Mapping[str, Value]) -> Value:
    value = known.get(name)
    if value is None or value == "":
        raise UnknownReference(name)
    return value


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sides(rules: GroupPolicy, known: Mapping[str, Value]) -> dict[str, Value]:
    found: dict[str, Value] = {"echo": rules.echo, "edges": ",".join(rules.edges)}
    for role in ROLES:
        side = rules.side(str(known.get(role)))
        if side is not None:
            found[f"{role}.component"] = side.component
            found[f"{role}.destination"] = side.destination
    return found


def _of_component(component: Component, state: State, policy: Policy) -> dict[str, Value]:
    found: dict[str, Value] = {"component.destination": ""}
    found.update({f"component.{name}": value for name, value in component.values})
    found["component.kind"] = str(component.kind)
    found["component.lines"] = component.lines
    others = topology(policy).redundant.get(component.redundancy, ())
    unbroken = (name for name in sorted(others) if name != component.name and name not in state.broken)
    found["spare"] = next(unbroken, "")
    return found


def _group_of(component: Component | None) -> str:
    """The group a component belongs to, or the one that its configuration names (a trunk behind a group's edges)."""
    if component is None:
        return ""
    return component.group or str(dict(component.values).get("group") or "")


def _of_step(record: StepRecord) -> dict[str, Value]:
    prefix = f"steps.{record.path.rsplit('/', 1)[-1]}"
    found: dict[str, Value] = {f"{prefix}.state": str(record.state), f"{prefix}.message": record.message}
    found.update({f"{prefix}.{name}": value for name, value in record.data})
    return found


def _faulty(fault: str) -> str:
    """The component of a fault named as FaultKey's text, `kind:component`."""
    return fault.partition(":")[2]
