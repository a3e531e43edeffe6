"""The on-call reader's pages in a real browser, on a phone and on a desk, in both languages, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.browser.conftest import Screen
from tests.builders.consoles import Beside

pytestmark = pytest.mark.browser

Open = Callable[..., Screen]

WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def incident_with_run(controller: Beside) -> tuple[str, str]:
    incident = controller.do(controller.controller.incident("没有声音"))
    return incident, controller.do(controller.controller.waiting_run("ask", incident))


def recorded(controller: Beside, kind: str) -> int:
    entries = controller.do(controller.controller.get("/api/v1/timeline?limit=1000"))["entries"]
    return sum(entry["kind"] == kind for entry in entries)


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_every_page_fits_and_complains_of_nothing(
    controller: Beside, screen: Open, size: str, language: str
) -> None:
    incident, run = incident_with_run(controller)
    controller.do(controller.controller.waiting_run("ask-team"))
    long = "https://example.net/" + "x" * 300
    controller.do(controller.controller.post(f"/api/v1/incidents/{incident}/note", {"note": long}))
    shown = screen(size, language)
    shown.open("/")
    assert shown.page.url.endswith("/login?next=/")
    assert shown.page.evaluate(WIDER) <= 0
    shown.sign_in()
    for path, says in (
        ("/", {"zh": "未结束的事件", "en": "Open incidents"}),
        (
            f"/incidents/{incident}",
            {"zh": "七号话机：人工报告的故障", "en": "Desk phone 7: fault reported by a person"},
        ),
        (f"/runs/{run}", {"zh": "等待批准", "en": "Waits for approval"}),
        ("/groups/calls", {"zh": "操作票", "en": "Switch sheet"}),
        (
            controller.link(incident).removeprefix(controller.address),
            {"zh": "确认收到（李雷）", "en": "Acknowledge (李雷)"},
        ),
        ("/a/nonsense", {"zh": "这个链接不能用", "en": "This link can't be used"}),
    ):
        shown.open(path)
        assert says[language] in shown.page.inner_text("body"), path
        assert shown.page.evaluate(WIDER) <= 0, f"{path} is wider than the screen"
    # A link that can't be used is answered with 410, which the browser notes.
    shown.complaints[:] = [said for said in shown.complaints if "410" not in said]


def test_the_timeline_is_live_and_a_half_written_note_stays(controller: Beside, screen: Open) -> None:
    incident, _ = incident_with_run(controller)
    shown = screen("phone", "en")
    shown.sign_in(then=f"/incidents/{incident}")
    page = shown.page
    page.evaluate("window.neverReloaded = true")
    page.fill("input[name=note]", "half a no")
    controller.do(
        controller.controller.post(f"/api/v1/incidents/{incident}/note", {"note": "from elsewhere"})
    )
    page.wait_for_selector("text=note: from elsewhere")
    assert page.input_value("input[name=note]") == "half a no"
    assert page.evaluate("document.activeElement.name") == "note"
    controller.do(controller.controller.post(f"/api/v1/incidents/{incident}/acknowledge"))
    page.wait_for_selector(".top button:has-text('Mitigated')")
    assert page.evaluate("window.neverReloaded") is True
    seconds = page.inner_text(".top [data-since]")
    page.wait_for_function(
        "before => document.querySelector('.top [data-since]').textContent !== before", arg=seconds
    )
    page.type("input[name=note]", "te")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=note: half a note")


def test_acknowledge_approve_and_do_by_hand(controller: Beside, screen: Open) -> None:
    incident, run = incident_with_run(controller)
    shown = screen("phone", "zh")
    shown.sign_in(then=f"/incidents/{incident}")
    page = shown.page
    page.click(".top button:has-text('确认收到')")
    page.wait_for_selector("text=operator 已确认")
    card = page.inner_text("#needs article")
    assert "是否继续" in card and "打电话给运营商" in card and "后视为拒绝" in card
    page.click("#needs button:has-text('批准')")
    page.wait_for_selector("#needs >> text=等待人工完成")
    assert "凭证：工单号" in page.inner_text("#needs")
    page.fill("#needs input[name=proof]", "T-4711")
    page.click("#needs button:has-text('已完成')")
    page.wait_for_selector("#needs article", state="detached")
    assert controller.state.runs[run].outcome == "succeeded"
    assert (controller.state.incidents[incident].acknowledged_by, recorded(controller, "approval_given")) == (
        "operator",
        1,
    )


def test_a_card_appears_and_goes_while_one_looks(controller: Beside, screen: Open) -> None:
    incident = controller.do(controller.controller.incident())
    shown = screen("desktop", "en")
    shown.sign_in(then=f"/incidents/{incident}")
    run = controller.do(controller.controller.waiting_run("ask", incident))
    shown.page.wait_for_selector("#needs button:has-text('Approve')")
    view = controller.do(controller.controller.get(f"/api/v1/runs/{run}"))
    word = {"revision": view["revision"], "step": "permit", "attempt": 1, "granted": False}
    controller.do(controller.controller.post(f"/api/v1/runs/{run}/approval", word))
    shown.page.wait_for_selector("#needs article", state="detached")


def test_a_double_click_is_one_click(controller: Beside, screen: Open) -> None:
    incident = controller.do(controller.controller.incident())
    shown = screen("phone", "en")
    shown.sign_in(then=f"/incidents/{incident}")
    page = shown.page
    posts: list[str] = []
    page.on("request", lambda request: request.method == "POST" and posts.append(request.url))
    page.fill("input[name=note]", "once")
    page.dblclick("form.line button")
    page.wait_for_selector("text=note: once")
    assert len(posts) == 1 and recorded(controller, "note") == 1


@pytest.mark.parametrize("language", ["zh", "en"])
def test_without_scripts_everything_works(controller: Beside, screen: Open, language: str) -> None:
    incident, run = incident_with_run(controller)
    shown = screen("phone", language, scripts=False)
    shown.sign_in(then=f"/incidents/{incident}")
    page = shown.page
    assert page.inner_text(".top [data-since]").count(":") == 1, "the duration is there, and stands still"
    assert not page.is_visible(".chips")
    page.click(".top form button")
    page.fill("input[name=note]", "without scripts")
    page.click("form.line button")
    assert "without scripts" in page.inner_text(".entries")
    page.click("#needs button.primary")
    assert controller.state.runs[run].step("permit").state == "succeeded"
    shown.open("/groups/calls")
    page.click("button[name=dry_run][value='1']")
    assert {"zh": "演算结果", "en": "nothing was done"}[language] in page.inner_text("main")
    page.click(".links a")
    assert {"zh": "Switch sheet", "en": "操作票"}[language] in page.inner_text("body")
    shown.open(controller.link(incident).removeprefix(controller.address))
    assert {"zh": "Acknowledged by operator", "en": "operator 已于"}[language] in page.inner_text("main")


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(controller: Beside, screen: Open) -> None:
    incident, _ = incident_with_run(controller)
    shown = screen("desktop", "en")
    shown.sign_in(then=f"/incidents/{incident}")
    page = shown.page
    every = "[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select')].filter(e => e.offsetParent || e.classList.contains('skip'))"
    count = page.evaluate(f"{every}.length")
    reached, unseen = set(), []
    for _ in range(count + 3):
        page.keyboard.press("Tab")
        found = page.evaluate(
            f"(() => {{ const e = document.activeElement; const style = getComputedStyle(e); return [{every}.indexOf(e), style.outlineStyle, e.outerHTML.slice(0, 80)]; }})()"
        )
        if found[0] >= 0:
            reached.add(found[0])
            if found[1] == "none":
                unseen.append(found[2])
    assert (len(reached), unseen) == (count, [])
    page.focus("#needs button.primary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#needs input[name=proof]")


def test_a_link_from_a_page_is_pressed_by_a_person(controller: Beside, screen: Open) -> None:
    incident = controller.do(controller.controller.incident())
    shown = screen("phone", "en")
    shown.open(controller.link(incident).removeprefix(controller.address))
    assert not controller.state.incidents[incident].acknowledged_wall
    shown.page.click("main button")
    shown.page.wait_for_selector("text=Acknowledged by 李雷")
    shown.page.reload()
    assert "Acknowledged by 李雷" in shown.page.inner_text("main")
    assert recorded(controller, "incident_acknowledged") == 1


def test_a_lost_connection_is_told_and_a_session_that_ended_leads_to_the_login(
    controller: Beside, screen: Open
) -> None:
    incident = controller.do(controller.controller.incident())
    shown = screen("phone", "en")
    shown.sign_in(then=f"/incidents/{incident}")
    page = shown.page
    page.wait_for_function("!document.body.classList.contains('disconnected')")
    look = "document.dispatchEvent(new Event('visibilitychange'))"  # as when somebody comes back to the page
    page.context.set_offline(True)
    page.evaluate(look)
    page.wait_for_selector("text=Connection lost", state="visible")
    page.context.set_offline(False)
    page.evaluate(look)
    page.wait_for_selector("text=Connection lost", state="hidden")
    page.context.clear_cookies()
    page.evaluate(look)
    page.wait_for_url(re.compile(r"/login\?next=/incidents/"))
    shown.complaints.clear()  # a browser logs every request that failed


def test_a_viewer_looks(controller: Beside, screen: Open) -> None:
    incident, run = incident_with_run(controller)
    shown = screen("phone", "en")
    shown.sign_in("viewer", then=f"/incidents/{incident}")
    for path in (f"/incidents/{incident}", f"/runs/{run}", "/groups/calls", "/"):
        shown.open(path)
        assert shown.page.locator("main form, .top form").count() == 0, path
