"""Debian's chromium, and a controller beside each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controller.configuration.settings import Settings
from tests.builders.consoles import TOKENS, Beside, Sides, beside, settings_of, write_configuration

CHROMIUM = Path(os.environ.get("THIRDRING_CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that is no loopback address to the browser: it then sends no Sec-Fetch-Site, as over plain HTTP in a LAN.
    "--host-resolver-rules=MAP console.test 127.0.0.1",
]
SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


def missing() -> str:
    """Why there is no browser; empty when there is one."""
    if not CHROMIUM.exists():
        return f"{CHROMIUM} is missing (apt-get install chromium)"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is missing (pip install playwright)"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if item.get_closest_marker("browser") is not None and reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Of a module, and no longer: while playwright's synchronous side is open no other loop can run in this thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    sides = Sides()
    yield settings_of(write_configuration(tmp_path_factory.mktemp("pages"), sides))
    sides.close()


@pytest.fixture
def controller(configured: Settings, tmp_path: Path) -> Iterator[Beside]:
    node = replace(
        configured.node,
        data=tmp_path / "data",
        control=tmp_path / "control",
        archive=f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}",
    )
    with beside(replace(configured, node=node)) as made:
        yield made


@dataclass
class Screen:
    """A page in a browser of its own, and everything it complained about."""

    page: Any
    complaints: list[str]
    address: str

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)

    def sign_in(self, account: str = "operator", then: str = "/") -> None:
        self.open(f"/login?next={then}")
        self.page.fill("#token", TOKENS[account])
        self.page.click("main button")
        self.page.wait_for_url("**" + then)


@pytest.fixture
def screen(chromium: Any, controller: Beside) -> Iterator[Callable[..., Screen]]:
    """Opens one: `screen("phone", "zh")`. At the end no page may have complained: scripts, CSP violations, requests."""
    with ExitStack() as closing:
        opened: list[Screen] = []

        def make(size: str = "phone", language: str = "en", *, scripts: bool = True) -> Screen:
            width, height = SIZES[size]
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                has_touch=size == "phone",
                locale={"zh": "zh-CN", "en": "en-GB"}[language],
                java_script_enabled=scripts,
            )
            closing.callback(context.close)
            context.set_default_timeout(20_000)
            page = context.new_page()
            made = Screen(page, [], controller.address.replace("127.0.0.1", "console.test"))
            page.on(
                "console",
                lambda said: said.type in ("error", "warning") and made.complaints.append(said.text),
            )
            page.on("pageerror", lambda error: made.complaints.append(str(error)))
            opened.append(made)
            return made

        yield make
        for each in opened:
            assert each.complaints == []
