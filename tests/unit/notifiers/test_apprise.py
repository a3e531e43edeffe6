from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from controller.notifiers.apprise import AppriseParameters


@pytest.mark.parametrize(
    "address, message",
    [
        ("dingtalk://token", "DingTalk answers 200"),
        ("wecombot://key", "WeCom answers 200"),
        ("feishu://token", "Feishu answers 200"),
        ("lark://token", "Lark answers 200"),
        ("jsons://oapi.dingtalk.com/robot/send", "DingTalk answers 200"),
        ("nosuchservice://x", "does not understand"),
        ("", "at least 1"),
    ],
)
def test_addresses_that_would_deceive_or_do_not_exist_are_refused(address: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AppriseParameters(url=address)  # type: ignore[arg-type]


def test_the_address_is_a_secret() -> None:
    assert "token" not in repr(AppriseParameters(url="json://user:token@127.0.0.1/"))  # type: ignore[arg-type]


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ValidationError, match="install the extra 'notify'"):
        AppriseParameters(url="json://127.0.0.1/")  # type: ignore[arg-type]
