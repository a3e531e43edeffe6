"""Run a controller; check a configuration."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.exits import Exit
from controller.cli.screen import Screen
from controller.model.encoding import plain

Config = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", exists=True, dir_okay=False)
]


def add_to(application: typer.Typer) -> None:
    application.command()(run)
    application.command()(check)
    application.command(name="schema")(schema)
    application.command()(adopt)


def run(
    context: typer.Context,
    config: Config,
    quiet: Annotated[bool, typer.Option(help="Log warnings only.")] = False,
) -> None:
    """Watch a call platform, and act on it where a group is armed. Until interrupted."""
    from controller import app

    screen: Screen = context.obj
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its plugins and revisions are nobody's news
    settings = app.load_settings(config)

    def ready(address: str) -> None:
        token = app.web_token(settings)
        answer = {
            "address": address,
            "control": str(settings.node.control),
            "revision": settings.policy.revision,
        }
        lines = [
            f"{screen.word('控制台', 'console')}: {settings.node.http.public_url}",
            f"{screen.word('控制套接字', 'control socket')}: {settings.node.control}",
        ]
        if token:
            lines.append(f"{screen.word('访问令牌', 'access token')}: {settings.node.data / 'web.token'}")
        screen.show(answer, "\n".join(lines))

    app.run(settings, ready)


def check(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="The configuration file.", exists=True, dir_okay=False)],
    loss: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Packet loss each way, for the false verdicts.")
    ] = 0.01,
) -> None:
    """Every error at once, and what each group's worst case is against its RTO. Exit 1 when it can't be run."""
    from controller import app

    screen: Screen = context.obj
    report = app.check_settings(config, loss)
    screen.show(plain(report), app.check_text(report, screen.language))
    raise typer.Exit(Exit.PROBLEM if report.problems else Exit.DONE)


def schema() -> None:
    """Print the JSON Schema of a configuration file: editors complete and check by it."""
    from controller import app

    print(json.dumps(app.configuration_schema(), ensure_ascii=False, indent=2))


def adopt(
    context: typer.Context,
    config: Config,
    reason: Annotated[str, typer.Option(help="What happened to the store.")],
) -> None:
    """Take a coordination store that was wiped or restored for this controller's own. Stop this node's controller first."""
    import asyncio
    import getpass

    from controller import app

    screen: Screen = context.obj
    adopted = asyncio.run(app.adopt(app.load_settings(config), by=getpass.getuser(), reason=reason))
    lines = [
        screen.word("已带入本节点的状态", "this node's state was brought in")
        if adopted.first
        else screen.word(
            "其他节点已带入状态，本节点加入", "another node had brought its state in; this one joins it"
        )
    ]
    for group in adopted.groups:
        active = screen.word(
            f"{group.name}：{group.active} 为活动侧", f"{group.name}: {group.active} is active"
        )
        lines.append(f"{active}, epoch {group.epoch}")
    answer = {
        "first": adopted.first,
        "groups": [{"name": one.name, "active": one.active, "epoch": one.epoch} for one in adopted.groups],
    }
    screen.show(answer, "\n".join(lines))
