"""Which variables exist for the conditions of fault rules, and which of them the configured components offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.configuration.kinds import Kinds
from controller.model.policy import Component, ComponentKind, Role
from controller.model.variables import COMPONENT, CONVENTIONAL_RUNGS, EDGE, ROLES, RUNG, WITHOUT_EDGES


class Offer:
    """What the configured components offer, by component kind and rung name.

    A value of one name and two types (two probes under one rung name) keeps the first type.
    """

    def __init__(self, components: Iterable[Component], kinds: Kinds) -> None:
        self._kinds = kinds
        self._values: dict[str, Mapping[str, str]] = {}
        self.unloadable: dict[str, str] = {}  # probe kind -> why its values are not known
        self.rungs: dict[ComponentKind, dict[str, dict[str, str]]] = {}
        seen: set[tuple[ComponentKind, str, str]] = set()
        for component in components:
            offered = self.rungs.setdefault(component.kind, {})
            for rung in component.ladder:
                if (component.kind, rung.name, rung.probe) in seen:
                    continue  # the other nine thousand phones offer nothing new
                seen.add((component.kind, rung.name, rung.probe))
                types = offered.setdefault(rung.name, dict(RUNG))
                for value, kind in self._of_probe(rung.probe).items():
                    types.setdefault(value, kind)

    def declared(self) -> dict[str, str]:
        """Every variable any rule may read: of all configured rungs and of the conventional ones."""
        rungs = {name: {**RUNG, **self._of_probe(probe)} for name, probe in CONVENTIONAL_RUNGS.items()}
        for offered in self.rungs.values():
            for name, types in offered.items():
                rungs[name] = {**types, **rungs.get(name, {})}
        variables = {f"{Role.EDGE}.{name}": kind for name, kind in EDGE.items()}
        for role in ROLES:
            variables.update({f"{role}.{name}": kind for name, kind in COMPONENT.items()})
            for rung, types in rungs.items():
                variables.update({f"{role}.{rung}.{value}": kind for value, kind in types.items()})
        return variables

    def lacks(self, variable: str, kinds: Iterable[ComponentKind]) -> bool:
        """Whether a rung that a rule about components of `kinds` reads is configured on none of them."""
        role, _, rest = variable.partition(".")
        rung = rest.partition(".")[0]
        if role in (Role.SELF, Role.PEER):
            offering = kinds
        elif role == Role.ECHO:
            offering = (ComponentKind.ECHO,)
        elif role == Role.EDGE:
            return rest not in WITHOUT_EDGES and not any("edge" in offered for offered in self.rungs.values())
        else:
            return False
        return rest not in COMPONENT and not any(rung in self.rungs.get(kind, {}) for kind in offering)

    def _of_probe(self, probe: str) -> Mapping[str, str]:
        if probe not in self._values:
            try:
                self._values[probe] = self._kinds.values_of(probe)
            except (ImportError, AttributeError) as error:
                self._values[probe] = {}
                self.unloadable[probe] = str(error)
        return self._values[probe]
