"""Files -> Settings, or every problem there is, at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from immutables import Map
from pydantic import RootModel

from controller.configuration import node, oncall, rules, severity
from controller.configuration.components import Roster
from controller.configuration.documents import Document
from controller.configuration.drills import build_scenarios
from controller.configuration.group_policies import Builder
from controller.configuration.groups import profiles_of, read_groups
from controller.configuration.kinds import Kinds
from controller.configuration.ladders import Ladders
from controller.configuration.library import read_library, warn_of_approvers
from controller.configuration.limits import build_limits
from controller.configuration.provided import check_provided
from controller.configuration.references import (
    check_dependencies,
    check_holds,
    check_redundancy,
    placed,
    warn_of_group,
    warn_of_takeover,
)
from controller.configuration.settings import Settings
from controller.configuration.sources import Sources, gather
from controller.configuration.validation import validate
from controller.configuration.variables import Offer
from controller.core.objectives import WorstCase
from controller.model.errors import ConfigurationError, Problem
from controller.model.policy import BusinessHours, GroupPolicy, Policy, Profile
from controller.model.runbooks import Runbook

__all__ = ["Settings", "load", "revision"]


class _Name(RootModel[str]):
    pass


class _Language(RootModel[Literal["zh", "en"]]):
    pass


class _Profile(RootModel[Profile]):
    pass


def load(
    path: Path,
    kinds: Kinds,
    shipped: Callable[[str], Path],
    *,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read a configuration and everything it includes. `shipped("config")` and `shipped("runbooks")` are the
    directories that `shipped:` names refer to. `environment`: where `${env:NAME}` looks; the process's own unless given.

    Raises ConfigurationError with every problem found.
    """
    problems: list[Problem] = []
    known = os.environ if environment is None else environment
    sources = gather(path, shipped, known, problems)
    if sources is None:
        raise ConfigurationError(problems)
    settings = _Loading(sources, kinds, path, known, problems).settings()
    if problems:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    return settings


class _Loading:
    """One load. Each section is built as far as it goes, so that one mistake does not hide another."""

    def __init__(
        self,
        sources: Sources,
        kinds: Kinds,
        path: Path,
        environment: Mapping[str, str],
        problems: list[Problem],
    ) -> None:
        self.sources = sources
        self.kinds = kinds
        self.path = path
        self.environment = environment
        self.problems = problems
        self.warnings: list[Problem] = []

    def settings(self) -> Settings:
        sources, problems, warnings = self.sources, self.problems, self.warnings
        main = sources.main
        name = self._plain("name", _Name, self.path.stem)
        language: str = self._plain("language", _Language, "zh")
        profile: Profile = self._plain("profile", _Profile, Profile.STANDARD)

        entries = read_groups(self._named("groups"), problems)
        roster = self._components(profiles_of(entries, profile), profile)
        components = placed(roster.components, entries, problems)
        children = check_dependencies(components, roster.places, problems)
        check_redundancy(components, roster.places, warnings)

        library = read_library(sources, self.kinds, self.environment, problems, warnings)
        runbooks = library.runbooks
        groups: dict[str, GroupPolicy] = {}
        worst_cases: dict[str, WorstCase] = {}
        builder = Builder(
            components=components,
            places=roster.places,
            runbooks=library.names,
            kinds=self.kinds,
            default=profile,
            problems=problems,
        )
        for group, (entry, document) in entries.items():
            built = builder.build(group, entry, document)
            if built is not None:
                groups[group], worst_cases[group] = built
                warn_of_group(*built, document, warnings)

        fault_rules = rules.build_rules(
            self._named("rules"), Offer(components.values(), self.kinds), problems, warnings
        )
        domains = rules.build_domains(self._named("domains"), library.names, main, problems)
        rows, matrix = self._severity()
        hours = (
            severity.build_hours(sources.single["hours"], problems)
            if "hours" in sources.single
            else BusinessHours()
        )
        people, riding = oncall.build_people(
            self._named("people"),
            frozenset(roster.places) | frozenset(self._named("groups")),
            self.kinds,
            problems,
        )
        warn_of_approvers(library, people.values(), warnings)
        escalation = None
        if "escalation" in sources.single:
            escalation = oncall.build_escalation(
                sources.single["escalation"], people, riding, problems, warnings
            )
        else:
            warnings.append(main.problem(("escalation",), "no escalation: nobody is paged"))
        drills = self._named("drills")
        scenarios = build_scenarios(drills, roster.places, self._named("groups"), self.kinds, problems)
        used = dict(library.used)
        for scenario in scenarios.values():
            for key, (action, _) in (("inject", scenario.inject), ("undo", scenario.undo)):
                used.setdefault(action, drills[scenario.name].part((key, "action"), action))
        limits, common_cause = build_limits(sources.single.get("limits"), problems)
        actions = node.build_actions(self._named("actions"), self.kinds, used, problems)
        node_settings = node.build_node(
            sources.single.get("node"),
            sources.single.get("http"),
            language,
            self.path.parent,
            actions,
            problems,
        )
        node.warn_of_archive(sources.single.get("node"), node_settings, warnings)
        group_documents = {name: document for name, (_, document) in entries.items()}
        check_holds(groups, group_documents, node_settings.coordination, problems)
        warn_of_takeover(groups, worst_cases, group_documents, node_settings.coordination, warnings)
        if not components:
            problems.append(main.problem(("components",), "nothing to watch: no components and no fleets"))
        policy = Policy(
            name=name,
            revision=revision(sources.digests.values(), runbooks.values()),
            components=Map(components),
            groups=Map(groups),
            rules=fault_rules,
            domains=domains,
            severities=rows,
            matrix=matrix,
            hours=hours,
            runbooks=Map(runbooks),
            people=Map(people),
            escalation=escalation,
            scenarios=Map(scenarios),
            common_cause=common_cause,
            settle=limits.settle,
            resolve_after=limits.resolve_after,
            beat_timeout=limits.beat_timeout,
            timer_gap=limits.timer_gap,
            children=children,
        )
        check_provided(policy, library, drills, actions, self.kinds, problems, warnings)
        return Settings(
            policy=policy,
            node=node_settings,
            warnings=tuple(sorted(dict.fromkeys(warnings))),
            worst_cases=worst_cases,
            files=tuple(sources.digests),
        )

    def _named(self, section: str) -> Mapping[str, Document]:
        return self.sources.entries.get(section, {})

    def _plain(self, key: str, model: type[RootModel[Any]], default: Any) -> Any:
        document = self.sources.plain.get(key)
        if document is None or document.content is None:
            return default
        found = validate(model, document, self.problems)
        return default if found is None else found.root

    def _components(self, profiles: Mapping[str, Profile], default: Profile) -> Roster:
        ladders = Ladders(self.kinds, self.problems)
        for name, document in self._named("ladders").items():
            ladders.add(name, document)
        roster = Roster(ladders, profiles, default, self.problems)
        for name, document in self._named("components").items():
            roster.add(name, document)
        for name, document in self._named("fleets").items():
            roster.add_fleet(name, document, self.sources.directory(document), self.sources.digests)
        ladders.check_unused()
        return roster

    def _severity(self) -> tuple[Any, Any]:
        document = self.sources.single.get("severity")
        if document is None:
            self.problems.append(
                self.sources.main.problem(
                    ("severity",), "no severity rows and matrix: include shipped:severity.yaml or write them"
                )
            )
            return (), {}
        return severity.build_severity(document, self.problems)


def revision(digests: Iterable[str], runbooks: Iterable[Runbook]) -> str:
    """SHA-256, hex, over the files' and the runbooks' own digests, whatever they are called and wherever they are."""
    parts = sorted([*digests, *(f"{runbook.name}={runbook.revision}" for runbook in runbooks)])
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
