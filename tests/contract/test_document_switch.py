"""What is the document's own: compare-and-set under lost answers and others' changes, what can't be compared, snapshots."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.actions.http_switch import HttpSwitch
from controller.actions.http_switch.parameters import HttpSwitchParameters
from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused, ActionUnknown, ConfigurationError
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from controller.model.policy import EdgesRule
from tests.builders.documents import TARGETS, Device, DocumentWorld, Quirk
from tests.builders.platform import GROUP


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[DocumentWorld]:
    world = DocumentWorld(tmp_path)
    for edge in world.devices:
        await world.start(edge)
    yield world
    await world.close()


def drive(verb: DriverVerb, side: str, epoch: int = 2) -> Drive:
    return Drive(id="CMD-0001", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=5.0)


async def redirect(world: DocumentWorld, epoch: int = 2) -> dict[str, Value]:
    return dict((await world.driver.perform(drive(DriverVerb.REDIRECT, "backup", epoch))).data)


def target(device: Device) -> str:
    return str(device.document["routing"]["target"])


async def test_what_is_not_its_own_stays(world: DocumentWorld) -> None:
    await redirect(world)
    for device in world.devices.values():
        assert device.document == {
            "note": "by hand, epoch=2",
            "weights": [1.5, 2],
            "routing": {"target": TARGETS["backup"]},
        }


async def test_the_secret_and_the_tag_go_along(world: DocumentWorld) -> None:
    tag = world.devices["edge1"].etag
    await redirect(world)
    put = next(request for request in world.devices["edge1"].seen if request.method == "PUT")
    assert put.headers["If-Match"] == tag and put.headers["Authorization"] == "Bearer t0ken"
    assert "t0ken" not in repr(world.parameters)


@pytest.mark.parametrize("quirk", [Quirk.LOST_AFTER, Quirk.BROKEN_AFTER])
async def test_a_lost_answer_to_a_write_that_was_carried_out_is_found_out(
    world: DocumentWorld, quirk: Quirk
) -> None:
    world.devices["edge1"].quirks["PUT"] = [quirk]
    await redirect(world)
    assert len(world.devices["edge1"].writes) == 1, "it is not written twice"


@pytest.mark.parametrize("quirk", [Quirk.LOST_BEFORE, Quirk.BROKEN, Quirk.LATER, Quirk.IGNORES])
async def test_a_write_that_may_still_come_is_unknown(world: DocumentWorld, quirk: Quirk) -> None:
    device = world.devices["edge1"]
    device.quirks["PUT"] = [quirk] * (
        2 if quirk is Quirk.LOST_BEFORE else 1
    )  # a PUT is sent twice, see requests.py
    with pytest.raises(ActionUnknown):
        await redirect(world)
    device.catch_up()
    await redirect(world)
    assert target(device) == TARGETS["backup"]


@pytest.mark.parametrize(("quirk", "error"), [(Quirk.BUSY, ActionError), (Quirk.FORBIDDEN, ActionRefused), (Quirk.REDIRECTS, ActionRefused)])  # fmt: skip
async def test_a_write_that_was_not_carried_out_says_so(
    world: DocumentWorld, quirk: Quirk, error: type[ActionError]
) -> None:
    world.devices["edge1"].quirks["PUT"] = [quirk]
    with pytest.raises(error) as raised:
        await redirect(world)
    assert type(raised.value) is error
    assert target(world.devices["edge1"]) == TARGETS["primary"]


@pytest.mark.parametrize(
    "quirk", [Quirk.WEAK, Quirk.UNTAGGED, Quirk.GARBAGE, Quirk.REDIRECTS, Quirk.FORBIDDEN]
)
async def test_a_document_that_can_t_be_compared_is_not_written(world: DocumentWorld, quirk: Quirk) -> None:
    device = world.devices["edge1"]
    device.quirks["GET"] = [quirk] * 10
    with pytest.raises(ActionError) as raised:
        await redirect(world)
    assert not isinstance(raised.value, ActionUnknown)
    assert not device.writes and not [request for request in device.seen if request.method == "PUT"]
    seen = await world.driver.perform(drive(DriverVerb.READ_BACK, "primary", 1))
    assert dict(seen.data)["unreachable"] == "edge1" and "edge1: " in seen.message
    assert quirk is not Quirk.WEAK or "is weak" in seen.message
    with pytest.raises(ActionRefused):
        await world.driver.perform(drive(DriverVerb.PRECHECK, "backup"))


@pytest.mark.parametrize("quirk", [Quirk.LOST_BEFORE, Quirk.HALF, Quirk.BUSY])
async def test_a_document_that_can_t_be_read_leaves_an_edge_out(world: DocumentWorld, quirk: Quirk) -> None:
    world.devices["edge1"].quirks["GET"] = [quirk] * 2
    data = await redirect(world)
    assert (data["edges"], data["unreachable"]) == ("edge2", "edge1")
    everywhere = HttpSwitch(world.group(EdgesRule.ALL), world.parameters)
    world.devices["edge1"].quirks["GET"] = [quirk] * 2
    with pytest.raises(ActionError):
        await everywhere.perform(drive(DriverVerb.REDIRECT, "backup"))
    await everywhere.close()


async def test_a_write_whose_effect_can_t_be_read_is_unknown(world: DocumentWorld) -> None:
    device = world.devices["edge1"]
    device.before_put = lambda: device.quirks.setdefault("GET", []).append(Quirk.BUSY)
    with pytest.raises(ActionUnknown, match="read back"):
        await redirect(world)


async def test_another_s_change_in_between_is_kept(world: DocumentWorld) -> None:
    device = world.devices["edge1"]
    once = [lambda: device.write({**device.document, "weights": [7]})]
    device.before_put = lambda: once.pop()() if once else None
    await redirect(world)
    assert device.document["weights"] == [7] and target(device) == TARGETS["backup"]


async def test_one_who_changes_it_all_the_time_is_named(world: DocumentWorld) -> None:
    device = world.devices["edge1"]
    count = iter(range(100))
    device.before_put = lambda: device.write({**device.document, "weights": [next(count)]})
    with pytest.raises(ActionError, match="edge1 is changed by somebody else"):
        await redirect(world)
    assert not device.writes


async def test_a_newer_epoch_that_comes_in_between_is_obeyed(world: DocumentWorld) -> None:
    """A controller that stalls between its read and its write meets the tag of whoever came meanwhile."""
    device = world.devices["edge1"]

    def newer() -> None:
        device.write({**device.document, "note": "epoch=9"})

    device.before_put = newer
    with pytest.raises(ActionRefused, match="older than 9"):
        await redirect(world)
    assert target(device) == TARGETS["primary"] and not device.writes


async def test_a_change_right_after_the_read_is_not_overwritten(world: DocumentWorld) -> None:
    """The tag is that of what was read and judged, not of whatever is there by now."""
    device = world.devices["edge1"]
    once = [lambda: device.write({**device.document, "note": "epoch=9"})]
    device.after_get = lambda: once.pop()() if once else None
    with pytest.raises(ActionRefused, match="older than 9"):
        await redirect(world)
    assert target(device) == TARGETS["primary"] and not device.writes


async def test_a_lost_write_that_somebody_overtook_never_comes(world: DocumentWorld) -> None:
    device = world.devices["edge1"]
    device.quirks["PUT"] = [Quirk.LOST_AFTER]
    applied = device.write

    def undone(document: dict[str, Any]) -> None:
        applied(document)
        device.write = applied  # type: ignore[method-assign]
        applied({**document, "note": "by hand", "routing": {"target": TARGETS["primary"]}})

    device.write = undone  # type: ignore[method-assign]
    await redirect(world)
    assert target(device) == TARGETS["backup"] and len(device.writes) == 2


async def test_a_snapshot_is_taken_before_each_switch_and_once(world: DocumentWorld) -> None:
    before = world.devices["edge1"].document
    await redirect(world, 2)
    await redirect(world, 2)
    await world.driver.perform(drive(DriverVerb.REDIRECT, "primary", 3))
    files = sorted(path.name for path in world.snapshots.glob("calls-edge1-*.json"))
    assert files == ["calls-edge1-0000000002.json", "calls-edge1-0000000003.json"]
    kept = json.loads((world.snapshots / files[0]).read_text())
    assert json.loads(kept["body"]) == before and kept["epoch"] == 2
    assert (world.snapshots / files[0]).stat().st_mode & 0o077 == 0, "a configuration may hold secrets"


async def test_without_a_snapshot_nothing_is_written(world: DocumentWorld) -> None:
    world.snapshots.rmdir()
    with pytest.raises(ActionError, match="snapshot"):
        await redirect(world)
    assert not world.devices["edge1"].writes
    with pytest.raises(ActionRefused, match="snapshots"):
        await world.driver.perform(drive(DriverVerb.PRECHECK, "backup"))


async def test_snapshots_are_bounded(world: DocumentWorld) -> None:
    parameters = world.parameters.model_copy(update={"keep": 2})
    driver = HttpSwitch(world.group(), parameters)
    for epoch in range(2, 7):
        side = "backup" if epoch % 2 else "primary"
        await driver.perform(drive(DriverVerb.REDIRECT, side, epoch))
    await driver.close()
    assert len(list(world.snapshots.glob("calls-edge2-*.json"))) == 2


async def test_what_runs_is_what_counts(tmp_path: Path) -> None:
    world = DocumentWorld(tmp_path, running=True)
    for edge in world.devices:
        await world.start(edge)
    try:
        await redirect(world)
        device = world.devices["edge2"]
        device.applies = False
        with pytest.raises(ActionUnknown, match="running"):
            await world.driver.perform(drive(DriverVerb.REDIRECT, "primary", 3))
        seen = dict((await world.driver.perform(drive(DriverVerb.READ_BACK, "primary", 3))).data)
        assert (seen["active"], seen["drifted"]) == ("", "edge2")
        device.catch_up()
        seen = dict((await world.driver.perform(drive(DriverVerb.READ_BACK, "primary", 3))).data)
        assert (seen["active"], seen["drifted"]) == ("primary", "")
    finally:
        await world.close()


async def test_without_an_epoch_it_claims_no_fencing(world: DocumentWorld) -> None:
    assert world.driver.fencing == "cas"
    assert HttpSwitch(world.group(), world.configured(epoch=None)).fencing == "none"


async def test_an_epoch_that_is_a_number_or_not_there_yet(world: DocumentWorld) -> None:
    driver = HttpSwitch(world.group(), world.configured(epoch="/routing/epoch"))
    await driver.perform(drive(DriverVerb.REDIRECT, "backup", 5))
    assert world.devices["edge1"].document["routing"]["epoch"] == 5
    await driver.perform(drive(DriverVerb.REDIRECT, "backup", 6))
    assert world.devices["edge1"].document["routing"]["epoch"] == 6
    await driver.close()


async def test_without_an_outside_fence_the_fence_is_never_ready(world: DocumentWorld) -> None:
    sides = {
        name: side.model_copy(update={"fence": None if name == "backup" else side.fence})
        for name, side in world.parameters.sides.items()
    }
    driver = HttpSwitch(world.group(), world.parameters.model_copy(update={"sides": sides}))
    seen = dict((await driver.perform(drive(DriverVerb.READ_BACK, "primary", 1))).data)
    assert (seen["fence_ready"], seen["fence_lacks"]) == (False, "backup has no outside fence")
    for verb, side in ((DriverVerb.PRECHECK, "backup"), (DriverVerb.FENCE, "backup"), (DriverVerb.CONFIRM_FENCE, "backup")):  # fmt: skip
        with pytest.raises(ActionRefused, match="fence not ready: backup has no outside fence"):
            await driver.perform(drive(verb, side))
    await driver.close()


async def test_a_stale_epoch_fences_nobody(world: DocumentWorld) -> None:
    await redirect(world, 7)
    stale = world.second()
    with pytest.raises(ActionRefused):
        await stale.perform(drive(DriverVerb.FENCE, "backup", 6))
    await stale.close()
    assert not world.marks.stands("backup")


async def test_a_document_of_neither_side_is_not_switched_in_a_plan(world: DocumentWorld) -> None:
    device = world.devices["edge1"]
    device.write({**device.document, "routing": {"target": "10.9.9.9"}})
    with pytest.raises(ActionRefused, match="neither side"):
        await world.driver.perform(drive(DriverVerb.PRECHECK, "backup"))
    device.write({"note": ""})
    with pytest.raises(ActionRefused, match="no member"):
        await redirect(world)


def test_edges_and_sides_are_the_group_s(tmp_path: Path) -> None:
    world = DocumentWorld(tmp_path)
    edges = {"edge9": world.parameters.edges["edge1"]}
    with pytest.raises(ConfigurationError, match=r"edge1.*\n.*edge2.*\n.*edge9"):
        HttpSwitch(world.group(), world.parameters.model_copy(update={"edges": edges}))


Change = Callable[[dict[str, Any]], object]

WRONG: dict[str, Change] = {
    "a secret in the clear": lambda it: it["edges"]["edge1"].update(url="http://sbc.example.net/routing"),
    "credentials in the URL": lambda it: it["edges"]["edge1"].update(url="https://a:b@sbc.example.net/"),
    "no HTTP": lambda it: it["edges"]["edge1"].update(url="ftp://127.0.0.1/"),
    "running is the same": lambda it: it["edges"]["edge1"].update(running=it["edges"]["edge1"]["url"]),
    "no edge": lambda it: it.update(edges={}),
    "one side": lambda it: it["sides"].pop("backup"),
    "nothing tells them apart": lambda it: it["sides"]["backup"].update(
        members={"/routing/target": "10.0.0.21"}
    ),
    "not reversible": lambda it: it["sides"]["backup"].update(members={"/routing/other": "x"}),
    "no pointer": lambda it: it["sides"]["backup"].update(members={"routing": "x"}),
    "a bad escape": lambda it: it["sides"]["backup"].update(members={"/a~b": "x"}),
    "the epoch within a member": lambda it: it.update(epoch="/routing/target/epoch"),
    "a relative directory": lambda it: it.update(snapshots="snapshots"),
    "freeze without thaw": lambda it: it["sides"]["backup"].update(freeze=["true"]),
    "no proof in a confirm": lambda it: it["sides"]["backup"]["fence"].update(
        confirm={"url": "https://switch.example.net/port/7", "method": "GET"}
    ),
    "a confirm that changes": lambda it: it["sides"]["backup"]["fence"].update(
        confirm={"url": "https://switch.example.net/port/7", "method": "POST", "shows": {"/up": False}}
    ),
    "unknown": lambda it: it.update(retries=3),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_parameters_that_make_no_sense(tmp_path: Path, wrong: str) -> None:
    written = {
        "edges": {
            "edge1": {"url": "http://127.0.0.1:8080/routing", "headers": {"Authorization": "Bearer x"}},
        },
        "sides": {
            side: {
                "members": {"/routing/target": address},
                "fence": {"fence": ["a"], "confirm": ["b"], "release": ["c"]},
            }
            for side, address in TARGETS.items()
        },
        "epoch": "/note",
        "snapshots": str(tmp_path),
    }
    HttpSwitchParameters.model_validate(written)
    WRONG[wrong](written)
    with pytest.raises(ValidationError):
        HttpSwitchParameters.model_validate(written)
