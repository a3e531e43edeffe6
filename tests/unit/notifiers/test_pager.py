"""The subject of a page, as it stands first on a phone."""

from __future__ import annotations

import pytest

from controller.model.commands import Notify
from controller.model.pages import PageText
from controller.model.policy import Person
from controller.model.runbooks import Text
from controller.model.words import DRILL_MARK
from controller.notifiers.pager import Pager

LI = Person(name="li", display="Li", role="operator", channels=())


def text(words: str) -> Text:
    return Text(zh=words, en=words)


@pytest.mark.parametrize(
    ("what", "drill", "subject"),
    [
        ("SEV1 主平台：呼叫平台宕机（INC-0001）", False, "SEV1 主平台：呼叫平台宕机（INC-0001）"),
        ("PAGE-0001：人工处置请求", False, "SEV1 PAGE-0001：人工处置请求"),
        (f"{DRILL_MARK.zh} SEV1 主平台", True, f"{DRILL_MARK.zh} SEV1 主平台"),
    ],
)
def test_the_severity_and_the_mark_stand_in_the_subject_once(what: str, drill: bool, subject: str) -> None:
    lines = PageText(what=text(what), impact=text("i"), did=text("d"), need=text("n"))
    command = Notify(
        id="CMD-0001",
        page="PAGE-0001",
        incident="INC-0001",
        person="li",
        channel="robot",
        text=lines,
        severity=1,
        drill=drill,
    )
    pager = Pager({}, {}, lambda incident, person: "https://x.test/a")
    assert pager.render(command, LI).subject == subject
