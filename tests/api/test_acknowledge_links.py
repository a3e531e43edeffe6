"""The link in a page: opening it does nothing, its button acknowledges once, and what is wrong with it is one clear page."""

from __future__ import annotations

import pytest

from tests.builders.consoles import Running

HTML = {"Accept": "text/html", "Accept-Language": "en"}


async def visit(controller: Running, token: str, method: str = "GET") -> tuple[int, str]:
    """As a browser without any account does: it follows redirections."""
    async with controller.session.request(method, f"{controller.address}/a/{token}", headers=HTML) as answer:
        return answer.status, await answer.text()


def link(controller: Running, incident: str, *, ago: float = 0.0, person: str = "li") -> str:
    return controller.controller.links.make(incident, person, controller.desk.clock.now().wall - ago)


async def test_opening_it_does_nothing_and_its_button_acknowledges_once(controller: Running) -> None:
    incident = await controller.incident()
    token = link(controller, incident)
    before = controller.desk.snapshot.sequence
    for _ in range(3):
        status, page = await visit(controller, token)
        assert status == 200 and '<form method="post"' in page and "Acknowledge (李雷)" in page
    assert not controller.state.incidents[incident].acknowledged_wall
    entries = (await controller.get(f"/api/v1/timeline?after={before}"))["entries"]
    assert not [entry for entry in entries if entry["actor"]]

    status, page = await visit(controller, token, "POST")
    assert status == 200 and "✔ Acknowledged by 李雷" in page
    found = controller.state.incidents[incident]
    assert (found.acknowledged_by, found.state) == ("li", "acknowledged")
    wall = found.acknowledged_wall

    status, page = await visit(controller, token, "POST")
    assert status == 200 and "✔ Acknowledged by 李雷" in page and "<form" not in page.split("<main")[1]
    status, again = await visit(controller, token)
    assert (status, again) == (200, page) or "✔ Acknowledged by 李雷" in again
    assert controller.state.incidents[incident].acknowledged_wall == wall
    entries = (await controller.get(f"/api/v1/timeline?incident={incident}"))["entries"]
    assert [entry["kind"] for entry in entries].count("incident_acknowledged") == 1
    assert all(page.next_due is None for page in controller.state.pages.values())


async def test_it_tells_the_four_lines_to_somebody_who_can_not_sign_in(controller: Running) -> None:
    incident = await controller.incident()
    _, page = await visit(controller, link(controller, incident))
    assert f"SEV3 Desk phone 7: fault reported by a person ({incident})" in page
    assert "Impact: few calls are affected" in page


async def test_it_says_who_was_faster(controller: Running) -> None:
    incident = await controller.incident()
    token = link(controller, incident)
    await controller.post(f"/api/v1/incidents/{incident}/acknowledge", account="administrator")
    _, page = await visit(controller, token)
    assert "Acknowledged by administrator" in page and "<button" not in page.split("<main")[1]


async def test_a_page_without_an_incident(controller: Running) -> None:
    await controller.waiting_run("ask-team")
    ((name, _),) = controller.state.pages.items()
    status, page = await visit(controller, link(controller, name))
    assert status == 200 and "Approve or refuse: May it go on" in page
    status, page = await visit(controller, link(controller, name), "POST")
    assert status == 200 and "Acknowledged by 李雷" in page
    assert controller.state.pages[name].state == "acknowledged"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda token: token[:-5], "incomplete"),
        (lambda token: "x" + token, "incomplete"),
        (lambda token: token.replace(".", ""), "incomplete"),
        (lambda token: "%F0%9F", "incomplete"),
        (lambda token: "a" * 5000, "incomplete"),
    ],
)
async def test_a_garbled_link(controller: Running, damage: object, says: str) -> None:
    incident = await controller.incident()
    token = damage(link(controller, incident))
    for method in ("GET", "POST"):
        status, page = await visit(controller, token, method)
        assert status == 410 and says in page and "latest page" in page
    assert not controller.state.incidents[incident].acknowledged_wall


async def test_an_expired_link_and_one_of_another_platform(controller: Running) -> None:
    incident = await controller.incident()
    for method in ("GET", "POST"):
        status, page = await visit(controller, link(controller, incident, ago=13 * 3600), method)
        assert status == 410 and "expired" in page
        status, page = await visit(controller, link(controller, "INC-9999"), method)
        assert status == 410 and "incomplete" in page
    assert not controller.state.incidents[incident].acknowledged_wall


async def test_its_language_is_the_readers(controller: Running) -> None:
    incident = await controller.incident()
    address = f"{controller.address}/a/{link(controller, incident)}"
    for headers, query, says in (
        ({"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}, "", "确认收到（李雷）"),
        ({"Accept-Language": "de,en;q=0.5"}, "", "Acknowledge (李雷)"),
        ({"Accept-Language": "fr"}, "", "确认收到（李雷）"),
        ({"Accept-Language": "zh"}, "?language=en", "Acknowledge (李雷)"),
    ):
        async with controller.session.get(address + query, headers=headers) as answer:
            assert says in await answer.text()


async def test_another_site_can_not_press_the_button(controller: Running) -> None:
    incident = await controller.incident()
    async with controller.session.post(
        f"{controller.address}/a/{link(controller, incident)}", headers={"Sec-Fetch-Site": "cross-site"}
    ) as answer:
        assert answer.status == 403
    assert not controller.state.incidents[incident].acknowledged_wall
