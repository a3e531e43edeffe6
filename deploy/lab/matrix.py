"""Every fault of the reference against every phase of a switch that can be reached: `deploy/lab/run matrix`.

A phase is reached by a switch under way: the active side's host dies (with the gate as its only fence, so that fencing takes a
second), or a person returns the calls to the preferred side. Then the row's fault is put in beside it; a fault of a side is
put into the side that the switch goes to. Everything is undone after a few seconds, and the ring must be well again by itself.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from lab.callers import Callers
from lab.errors import LabError, NotReady
from lab.faults import (
    Fault,
    HostDead,
    LinkCut,
    OneWayRtp,
    PacketLoss,
    ProcessKilled,
    ProcessStopped,
    Stall,
    Zombie,
    inject,
)
from lab.holders import Holders
from lab.laboratory import LabSettings
from lab.ring import Ring
from lab.ring_faults import (
    DiskFrozen,
    DiskFull,
    HostsCut,
    LinkOneWay,
    NodesCut,
    RestartLoop,
    RoleKilled,
    RoleStopped,
    StoreDown,
    StoreFull,
    TwinStarted,
    Way,
)
from lab.ring_files import agent_role
from lab.topology import NODES, VIP, Host, other
from lab.trials import until, written

RATE: Final = 50
LASTS_S: Final = 3.0
AFTER_S: Final = 1.0
REACHED_S: Final = 5.0
WELL_S: Final = 40.0


class Column(StrEnum):
    """When the fault comes."""

    IDLE = "idle"
    DETECTING = "detecting"
    FENCING = "fencing"
    REDIRECTING = "redirecting"
    VERIFYING = "verifying"
    FAILING_BACK = "failing back"


@dataclass(frozen=True, kw_only=True)
class Row:
    """`breaks`: it takes the service of the side it hits away, so that a switch off that side is right."""

    fault: Callable[[Ring, Host], Fault]
    breaks: bool = False


ROWS: Final[Mapping[str, Row]] = {
    "process kill -9": Row(fault=lambda ring, side: ProcessKilled(side=side), breaks=True),
    "process SIGSTOP, 0.1 s": Row(fault=lambda ring, side: Stall(side=side, seconds=0.1)),
    "process SIGSTOP, 3 s": Row(fault=lambda ring, side: ProcessStopped(side=side), breaks=True),
    "process restart loop": Row(fault=lambda ring, side: RestartLoop(side=side), breaks=True),
    "zombie": Row(fault=lambda ring, side: Zombie(side=side), breaks=True),
    "host dead": Row(fault=lambda ring, side: HostDead(host=side), breaks=True),
    "agent SIGSTOP": Row(fault=lambda ring, side: RoleStopped(role=agent_role(side)), breaks=True),
    "agent kill -9": Row(fault=lambda ring, side: RoleKilled(role=agent_role(side)), breaks=True),
    "link cut": Row(fault=lambda ring, side: LinkCut(host=side), breaks=True),
    "link one-way, sent lost": Row(fault=lambda ring, side: LinkOneWay(host=side, way=Way.SENT), breaks=True),
    "link one-way, received lost": Row(
        fault=lambda ring, side: LinkOneWay(host=side, way=Way.RECEIVED), breaks=True
    ),
    "hosts cut off from each other": Row(fault=lambda ring, side: HostsCut()),
    "observers cut off": Row(fault=lambda ring, side: NodesCut(side=side)),
    "30 % loss": Row(fault=lambda ring, side: PacketLoss(per_mille=300)),
    "RTP one-way": Row(fault=lambda ring, side: OneWayRtp(side=side)),
    "leader's disk full": Row(fault=lambda ring, side: DiskFull(node=ring.operator.leader())),
    "leader's disk frozen": Row(fault=lambda ring, side: DiskFrozen(node=ring.operator.leader())),
    "etcd follower kill -9": Row(fault=lambda ring, side: RoleKilled(role=str(ring.store.follower()))),
    "etcd leader kill -9": Row(fault=lambda ring, side: RoleKilled(role=str(ring.store.leader()))),
    "etcd leader SIGSTOP": Row(fault=lambda ring, side: RoleStopped(role=str(ring.store.leader()))),
    "all of etcd kill -9": Row(fault=lambda ring, side: StoreDown()),
    "etcd NOSPACE": Row(fault=lambda ring, side: StoreFull()),
    "leader kill -9": Row(fault=lambda ring, side: RoleKilled(role=str(ring.operator.leader()))),
    "leader SIGSTOP": Row(fault=lambda ring, side: RoleStopped(role=str(ring.operator.leader()))),
    "a node started twice": Row(fault=lambda ring, side: TwinStarted(node=ring.operator.leader())),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`outage_ms` of the callers, None without one; `epochs` before and after; `switches` begun by the controllers, of which
    `false` had no cause; `two_holders`: how often two hosts answered as the address; `violations` that the nodes' journals
    show; `well_after_s`: until the ring was well by itself, None: not within its time. `note`: why the cell has no figures."""

    row: str
    column: str
    outage_ms: float | None = None
    failed: int = 0
    epochs: tuple[int, int] = (0, 0)
    switches: int = 0
    false: int = 0
    faults: tuple[str, ...] = ()
    two_holders: int = 0
    violations: tuple[str, ...] = ()
    well_after_s: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        return not self.note and self.two_holders == 0 and not self.violations and self.false == 0


def run(*, quick: bool, rows: Sequence[str] = (), columns: Sequence[str] = ()) -> list[Cell]:
    """Cell by cell in one ring, which is made anew when a cell has left it unwell."""
    cells = []
    wanted = [Column(name) for name in columns] or ([Column.IDLE] if quick else list(Column))
    with contextlib.ExitStack() as stack:
        ring = _made(stack)
        for column in wanted:
            for name in rows or ROWS:
                cells.append(cell := _cell(ring, name, column))
                print(f"{column}, {name}: {line(cell)}", file=sys.stderr, flush=True)
                if cell.well_after_s is None:
                    stack.close()
                    ring = _made(stack)
    return cells


def line(cell: Cell) -> str:
    if cell.note:
        return cell.note
    outage = "no outage" if cell.outage_ms is None else f"{cell.outage_ms:.0f} ms"
    well = "not well by itself" if cell.well_after_s is None else f"well after {cell.well_after_s:.1f} s"
    verdict = "holds" if cell.holds else f"VIOLATED {cell.two_holders} {cell.false} {cell.violations}"
    return f"{outage}, {cell.failed} lost, epoch {cell.epochs[0]} to {cell.epochs[1]}, {verdict}, {well}"


def table(cells: Sequence[Cell]) -> str:
    """Markdown: a row a fault, a column a phase."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    found = {(cell.row, cell.column): cell for cell in cells}
    lines = [
        f"Made by `deploy/lab/run matrix` on {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC: three controllers, three"
        " members of etcd, two hosts with an agent each, profile `fast`, D 1 s, no outside fence.",
        "",
        "A cell: the callers' outage in ms (-: none), epoch before>after, `ok` when no two hosts answered as the address, no"
        " invariant broke (`thirdring verify` on each node) and nothing was switched without cause.",
        "",
        "| fault | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name in dict.fromkeys(cell.row for cell in cells):
        lines.append(
            f"| {name} | " + " | ".join(_short(found.get((name, column))) for column in columns) + " |"
        )
    return "\n".join(lines) + "\n"


def document(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [asdict(cell) | {"holds": cell.holds} for cell in cells]


def _short(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.note:
        return cell.note
    outage = "-" if cell.outage_ms is None else f"{cell.outage_ms:.0f}"
    bad = [
        *(["two holders"] if cell.two_holders else []),
        *([f"{cell.false} false"] if cell.false else []),
        *(sorted({violation.split()[0] for violation in cell.violations})),
        *(["not well by itself"] if cell.well_after_s is None else []),
    ]
    return f"{outage}, {cell.epochs[0]}>{cell.epochs[1]}, {', '.join(bad) or 'ok'}"


def _made(stack: contextlib.ExitStack) -> Ring:
    ring = stack.enter_context(Ring.create(LabSettings(disks=True)))
    ring.arm()
    return ring


def _cell(ring: Ring, name: str, column: Column) -> Cell:
    row = ROWS[name]
    try:
        active = _standing(ring, column)
    except LabError as error:
        return Cell(row=name, column=column, note=f"the ring was not well: {error}"[:200])
    before, epoch = ring.operator.sequences(), _epoch(ring)
    hit = active if column is Column.IDLE else other(active)
    broken = ""
    with Holders(ring) as seen, Callers(ring, rate=RATE, seconds=120, targets=[VIP]) as callers:
        time.sleep(1.0)
        fault = row.fault(ring, hit)
        began = time.monotonic()
        try:
            with contextlib.ExitStack() as faults:
                if column not in (Column.IDLE, Column.FAILING_BACK):
                    faults.enter_context(inject(ring, HostDead(host=active), asserted=False))
                elif column is Column.FAILING_BACK:
                    ring.operator.fail_back()
                _reach(ring, column, seen, active, began)
                injected = faults.enter_context(inject(ring, fault, asserted=False))
                until(injected.applied_at + LASTS_S)
                healed = time.monotonic()
        except NotReady as error:
            broken = f"not reached: {error}"[:200]
            healed = time.monotonic()
        time.sleep(AFTER_S)
    try:
        ring.settle(timeout_s=WELL_S)
        well: float | None = time.monotonic() - healed
    except LabError:
        well = None
    report = callers.report
    outage = report.outage(since=began - 0.5)
    entries = written(ring, before)
    begun = [entry["data"] for entry in entries if entry["kind"] == "switch_started"]
    right = (column is not Column.IDLE) + row.breaks
    return Cell(
        row=name,
        column=column,
        outage_ms=None if outage is None else round(outage.duration_ms, 1),
        failed=sum(not call.answered for call in report.between(began - 0.5)),
        epochs=(epoch, _epoch(ring)),
        switches=len(begun),
        false=max(0, len(begun) - right),
        faults=tuple(
            sorted({str(one["data"].get("kind")) for one in entries if one["kind"] == "fault_raised"})
        ),
        two_holders=len(seen.both()),
        violations=tuple(violation for node in NODES for violation in ring.operator.verify(node)),
        well_after_s=None if well is None else round(well, 1),
        note=broken,
    )


def _standing(ring: Ring, column: Column) -> Host:
    """The ring is well, and for failing back away from its preferred side."""
    active = ring.settle(timeout_s=WELL_S)
    if column is Column.FAILING_BACK and active is Host.PRIMARY:
        ring.operator.switchover()
        ring.operator.wait(lambda: ring.operator.active() is Host.BACKUP, "the switchover", timeout_s=WELL_S)
        active = ring.settle(timeout_s=WELL_S)
    return active


def _reach(ring: Ring, column: Column, seen: Holders, active: Host, began: float) -> None:
    """Returns when the switch is in this phase. Raises NotReady."""
    target = other(active)

    def fencing() -> bool:
        grant = ring.store.grant()
        return grant is not None and grant["phase"] == "fencing"

    def given() -> bool:
        grant = ring.store.grant()
        return grant is not None and grant["phase"] == "held" and grant["holder"] == str(target)

    match column:
        case Column.IDLE:
            return
        case Column.DETECTING:
            time.sleep(0.06)
            return
        case Column.FENCING | Column.FAILING_BACK:
            reached: Callable[[], bool] = lambda: fencing() or given()  # noqa: E731
        case Column.REDIRECTING:
            reached = given
        case Column.VERIFYING:
            reached = lambda: seen.first(target, since=began) is not None  # noqa: E731
    deadline = time.monotonic() + REACHED_S
    while not reached():
        if time.monotonic() > deadline:
            raise NotReady(f"no {column} within {REACHED_S:g} s")
        time.sleep(0.002)


def _epoch(ring: Ring) -> int:
    grant = ring.store.grant()
    return -1 if grant is None else int(grant["epoch"])


def write(cells: Sequence[Cell], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table(cells))
