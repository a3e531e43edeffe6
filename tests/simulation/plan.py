"""From a seed to what will happen: how many nodes, what breaks when, and what people do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.simulation.troubles import BREAKING, HARMLESS, ONLY_SEVERAL, TROUBLES

WARM = 3.0
"""Seconds until everything has been seen and the group is armed."""


class Kind(StrEnum):
    QUIET = "quiet"  # a working platform and troubled controllers: nothing may be switched
    BROKEN = "broken"  # a side breaks, and troubles fall into the switch
    PLANNED = "planned"  # a person moves the calls, and troubles fall into it
    HAUNTED = "haunted"  # a side hangs, is switched away from behind a broken fence, and goes on
    LATE = "late"  # a person moves the calls there and back, and commands arrive late or twice
    DRILL = "drill"  # a drill makes a side hang, and real troubles fall into it
    STORM = "storm"  # anything, any time


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """`name`: of a trouble, or of what a person does. `lasts` in seconds."""

    at: float
    name: str
    lasts: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`heals`: true seconds at which everything that is still wrong is put right. `ends`: of the simulation."""

    kind: Kind
    nodes: int
    troubles: tuple[Happening, ...]
    acts: tuple[Happening, ...]
    heals: float
    ends: float
    rate: float  # calls per second and edge


ACTS = ("hold", "switchover", "force", "disarm", "double click", "drill")


def plan(seed: int) -> Plan:
    random = Random(f"{seed}/workload")
    nodes = 1 if random.random() < 0.84 else 3
    kind = random.choices(list(Kind), weights=[5, 8, 3, 3, 4, 2, 6])[0]
    troubles: list[Happening] = []
    acts: list[Happening] = []
    begins = WARM + random.random()
    possible = [name for name in TROUBLES if nodes > 1 or name not in ONLY_SEVERAL]
    match kind:
        case Kind.QUIET:
            harmless = [name for name in HARMLESS if name in possible]
            for _ in range(random.randint(2, 4)):
                troubles.append(_happening(random, random.choice(harmless), begins, 6.0))
            alone = random.random()
            if alone < 0.3:
                troubles = [Happening(at=begins, name="node strobed", lasts=4.5)]
            elif alone < 0.6 and nodes > 1:
                # One of several nodes is blind: its word is not the verdict.
                name = random.choice(["node cut from both sides", "leader cut from the busy side"])
                troubles = [Happening(at=begins, name=name, lasts=4.5)]
        case Kind.BROKEN:
            lasts = random.choice([0.8, 2.0, 4.0, 30.0, 30.0])
            troubles.append(Happening(at=begins, name=random.choice(BREAKING), lasts=lasts))
            for _ in range(random.randint(0, 3)):
                # Detection takes 1.5 s and the switch about half a second: most of it falls there.
                troubles.append(_happening(random, random.choice(possible), begins + 1.0, 2.0))
        case Kind.PLANNED:
            acts.append(Happening(at=begins, name=random.choice(["switchover", "force"]), lasts=0.0))
            for _ in range(random.randint(0, 3)):
                troubles.append(_happening(random, random.choice(possible), begins, 2.0))
        case Kind.HAUNTED:
            lasts = random.uniform(2.6, 4.5)
            troubles.append(Happening(at=begins, name="side hung", lasts=lasts))
            name = random.choice(["leader cut from the switch", "leader frozen", "loss", "slow links"])
            name = name if name in possible else "node frozen"
            troubles.append(Happening(at=begins + random.uniform(1.0, 2.0), name=name, lasts=3.0))
        case Kind.LATE:
            acts.append(Happening(at=begins, name="force", lasts=0.0))
            acts.append(Happening(at=begins + random.uniform(0.4, 1.2), name="force", lasts=0.0))
            troubles.append(Happening(at=begins - 0.05, name="packets doubled", lasts=0.6))
            if random.random() < 0.5:
                name = random.choice(["slow links", "leader frozen", "node crashes"])
                name = name if name in possible else "node frozen"
                troubles.append(Happening(at=begins + random.uniform(0.0, 0.4), name=name, lasts=2.5))
        case Kind.DRILL:
            acts.append(Happening(at=begins, name="drill", lasts=0.0))
            if random.random() < 0.5:
                # While the fault is in, or is being put in or taken out.
                name = random.choice(
                    ["leader crashes", "leader frozen", "node crashes", "leader cut from the switch"]
                )
                name = name if name in possible else "node crashes"
                troubles.append(_happening(random, name, begins, 2.5))
            for _ in range(random.randint(0, 2)):
                troubles.append(_happening(random, random.choice(possible), begins, 3.0))
        case Kind.STORM:
            for _ in range(random.randint(3, 7)):
                troubles.append(_happening(random, random.choice(possible), begins, 6.0))
            for _ in range(random.randint(0, 2)):
                acts.append(Happening(at=begins + 6.0 * random.random(), name=random.choice(ACTS), lasts=2.0))
    if nodes > 1 and random.random() < 0.25:
        troubles.append(Happening(at=begins, name="node of a newer version", lasts=0.05))
    heals = max([begins + 4.0, *(each.at + min(each.lasts, 5.0) for each in (*troubles, *acts))])
    return Plan(
        kind=kind,
        nodes=nodes,
        troubles=tuple(troubles),
        acts=tuple(acts),
        heals=heals,
        ends=heals + 8.0,
        rate=random.choice([2.0, 4.0]),
    )


def _happening(random: Random, name: str, begins: float, spread: float) -> Happening:
    lasts = random.choice([0.05, 0.3, 0.6, 1.2, 2.5, 2.5, 5.0])
    return Happening(at=begins + spread * random.random(), name=name, lasts=lasts)
