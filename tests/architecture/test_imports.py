"""Who may import whom (the table of the design). A new room must be added here before anything may live in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.registry import CATEGORIES

ROOT = Path(__file__).parents[2] / "controller"

ROOMS = {
    "model",
    "core",
    "ports",
    "configuration",
    "engine",
    "sip",
    "probes",
    "actions",
    "notifiers",
    "stores",
    "leases",
    "etcd",
    "agent",
    "reports",
    "web",
    "cli",
    "registry",
    "app",
    "__main__",
}

MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "core": {"model"},
    "ports": {"model"},
    "sip": set(),
    "configuration": {"model", "core"},  # of core only `objectives`: the arithmetic that `check` prints
    "engine": {"model", "core", "ports"},
    "probes": {"model", "ports", "sip"},
    "actions": {"model", "ports", "sip"},
    "notifiers": {"model", "ports", "sip"},
    "stores": {"model", "ports"},
    "leases": {"model", "ports", "etcd"},
    "etcd": {"model"},  # errors only
    "agent": {"model", "sip", "etcd"},
    "reports": {"model", "core"},  # of core only `timeline`: phases and outage, computed once
    "web": {"model", "engine", "reports"},  # of engine only `desk`, `loop`'s snapshot and `audit`'s error
    # A host's agent is no controller, and loads none: of it only its own file and how files are read.
    "cli": {"model", "reports", "app", "agent", "configuration"},
    "registry": set(),
    "__main__": {
        "cli",
        "registry",
        "engine",
        "stores",
    },  # of these only the processes beside the engine's, which must stay small
}
"""`app` is the composition root and may import everything."""

ONLY: dict[tuple[str, str], set[str]] = {
    ("configuration", "core"): {"controller.core.objectives", "controller.core.takeover"},
    ("reports", "core"): {"controller.core.timeline"},
    ("web", "engine"): {"controller.engine.desk", "controller.engine.loop", "controller.engine.audit"},
    ("__main__", "engine"): {"controller.engine.prober_main", "controller.engine.audit_main"},
    ("__main__", "stores"): {"controller.stores.journal_reader", "controller.stores.migration_main"},
    ("cli", "agent"): {"controller.agent.main", "controller.agent.settings"},
    ("cli", "configuration"): {"controller.configuration.documents", "controller.configuration.validation"},
}

STANDARD_ONLY = {"model": {"immutables"}, "core": {"immutables"}, "sip": set[str](), "ports": set[str]()}
"""Rooms that use the standard library and these alone."""


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            if node.module and node.module.count(".") < 2:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


SOURCES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.name != "__init__.py")


def room_of_file(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of_file(path)
    assert room in ROOMS, f"{path} lives in a room the design does not have"
    if room == "app":
        return
    for module in imports_of(path):
        if not module.startswith("controller"):
            continue
        target = room_of(module)
        if target in ("", room):
            continue
        assert target in MAY_IMPORT[room], f"{room} must not import {module}"
        allowed = ONLY.get((room, target))
        if allowed is not None:
            assert any(module == name or module.startswith(name + ".") for name in allowed), (
                f"of {target}, {room} may import {sorted(allowed)} only, not {module}"
            )


KINDS = {place.split(":")[0] for kinds in CATEGORIES.values() for place in kinds.values()}
"""The modules of the registered adapters."""


def home(path: Path) -> str:
    """The registered adapter that a file belongs to; "" for what several share."""
    module = ".".join(("controller", *path.relative_to(ROOT).with_suffix("").parts))
    return next((kind for kind in KINDS if module == kind or module.startswith(f"{kind}.")), "")


def borrowed(path: Path, kind: str) -> set[str]:
    """What a file of adapter `kind`, or a shared one (""), imports of other adapters."""
    return {
        module
        for module in imports_of(path)
        for other in KINDS
        if other != kind and (module == other or module.startswith(f"{other}."))
    }


def test_adapters_never_import_each_other() -> None:
    """Each can be taken out alone; what they have in common lives in modules that know none of them."""
    files = [
        path
        for path in SOURCES
        if room_of_file(path) in ("probes", "actions", "notifiers", "stores", "leases")
    ]
    assert len(files) > len(KINDS)
    for path in files:
        assert not borrowed(path, home(path)), f"{path} imports {borrowed(path, home(path))}"


@pytest.mark.parametrize("room", sorted(STANDARD_ONLY))
def test_pure_rooms_import_nothing_foreign(room: str) -> None:
    import sys

    files = [path for path in SOURCES if room_of_file(path) == room]
    assert files
    for path in files:
        for module in imports_of(path):
            top = module.split(".")[0]
            assert top == "controller" or top in sys.stdlib_module_names or top in STANDARD_ONLY[room], (
                f"{path} imports {module}"
            )


@pytest.mark.parametrize("room", ["model", "core"])
def test_decisions_read_no_clock_and_no_randomness(room: str) -> None:
    forbidden = {"time", "random", "secrets", "uuid", "os", "socket", "asyncio", "threading", "subprocess"}
    for path in SOURCES:
        if room_of_file(path) == room:
            used = {module.split(".")[0] for module in imports_of(path)}
            assert not used & forbidden, f"{path} imports {sorted(used & forbidden)}"
            assert not clocks_in(path), f"{path} reads the clock by {clocks_in(path)}"


FOR_READERS = {"controller.engine.desk", "controller.engine.records"}
"""Of the engine, what serves people who look something up; nothing else of it knows these two."""


@pytest.mark.parametrize("room", ["core", "engine", "leases", "actions", "agent"])
def test_decisions_read_no_archive(room: str) -> None:
    """Whoever decides or acts has no way to the archive: it may be away, slow or wrong, and nothing is decided by it."""
    files = [
        path
        for path in SOURCES
        if room_of_file(path) == room and f"controller.{room}.{path.stem}" not in FOR_READERS
    ]
    assert files
    for path in files:
        ways = {
            name
            for name in imports_of(path)
            if name in {"controller.ports.Archive", *FOR_READERS} or room_of(name) == "stores"
        }
        assert not ways, f"{path} imports {sorted(ways)}"


def clocks_in(path: Path) -> set[str]:
    """Calls of datetime's that read the clock or the host's time zone."""
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    return calls & {"now", "utcnow", "today"}


def test_only_step_calls_the_stages() -> None:
    """The order of the one flow is in one place."""
    stages = {
        "controller.core.diagnosis.verdicts",
        "controller.core.diagnosis.faults",
        "controller.core.response.incidents",
        "controller.core.execution.runs",
        "controller.core.switching.failover",
        "controller.core.paging.escalation",
        "controller.core.drills",
    }
    assert all((ROOT.parent / (stage.replace(".", "/") + ".py")).is_file() for stage in stages)
    for path in SOURCES:
        if room_of_file(path) != "core":
            assert not stages & set(imports_of(path)), path


CORE: dict[str, set[str]] = {
    "diagnosis": set(),
    "invariants": set(),
    "switching": set(),
    "response": {"diagnosis", "switching", "execution"},
    "execution": {"switching"},
    "paging": set(),
}
"""Which room of the core may import which other one."""

SHOWN = {"switching": "permit", "execution": "need"}
"""All that the other rooms use of it."""


@pytest.mark.parametrize("room", sorted(CORE))
def test_the_rooms_of_the_core_import_one_way(room: str) -> None:
    files = sorted((ROOT / "core" / room).glob("*.py"))
    assert len(files) > 1
    for path in files:
        for module in imports_of(path):
            parts = module.split(".")
            if parts[:2] != ["controller", "core"] or len(parts) < 4 or parts[2] == room:
                continue
            assert parts[2] in CORE[room], f"{path} imports {module}"
            assert parts[3] == SHOWN.get(parts[2], parts[3]), f"{path} imports {module}"


def test_the_core_has_no_other_rooms() -> None:
    found = {path.parent.name for path in (ROOT / "core").glob("*/__init__.py")}
    assert found == set(CORE)


def test_the_checker_catches_a_violation(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from controller.engine.loop import Engine\nimport time\nfrom datetime import datetime\n"
        "from controller.probes.tcp import Tcp\nstarted = datetime.now()\n"
    )
    found = set(imports_of(wrong))
    assert {"controller.engine.loop", "time"} <= found
    assert room_of("controller.engine.loop") not in MAY_IMPORT["core"]
    assert clocks_in(wrong) == {"now"}
    assert borrowed(wrong, "controller.probes.icmp") == {"controller.probes.tcp"}
    assert not borrowed(wrong, "controller.probes.tcp")
