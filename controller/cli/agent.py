"""The agent of a platform host."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.screen import Screen
from controller.model.errors import ConfigurationError, Problem


def add_to(application: typer.Typer) -> None:
    application.command()(agent)


def agent(
    context: typer.Context,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The agent's file.", exists=True, dir_okay=False)
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Read the file and say what is wrong; run nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option(help="Log warnings only.")] = False,
) -> None:
    """Hold a group's addresses on this host, and stop what must stop with them. Until interrupted."""
    from controller.agent.main import run
    from controller.agent.settings import AgentSettings
    from controller.configuration.documents import read_document
    from controller.configuration.validation import validate

    screen: Screen = context.obj
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    problems: list[Problem] = []
    read = validate(AgentSettings, read_document(config), problems)
    if read is None or problems:
        raise ConfigurationError(problems)
    settings = read.at(config.absolute().parent)
    answer = {
        "agent": settings.name,
        "address": f"https://{settings.host}:{settings.port}",
        "groups": sorted(settings.groups),
    }
    if check:
        screen.show(answer, f"{settings.name}: {', '.join(sorted(settings.groups))}")
        return
    run(
        settings, lambda: screen.show(answer, f"{screen.word('主机代理', 'host agent')}: {answer['address']}")
    )
