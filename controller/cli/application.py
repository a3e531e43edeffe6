"""The `thirdring` command: global options, and where each command lives."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from controller.cli import agent, drilling, explaining, operating, reading, running, standing
from controller.cli.client import CallFailed, Client
from controller.cli.exits import Exit
from controller.cli.screen import Screen, preferred_language
from controller.model.errors import ThirdRingError
from controller.reports.prose import Language, refusal_text
from controller.reports.values import said

DEFAULT_SOCKET = "var/thirdring.sock"

application = typer.Typer(
    name="thirdring",
    help="Incident response and high availability for call platforms.\n\n"
    "Exit codes: 0 done, 1 something is wrong with what was looked at, 2 usage, 3 refused by a guard, "
    "4 no controller answers, 5 not found, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
running.add_to(application)
agent.add_to(application)
standing.add_to(application)
reading.add_to(application)
explaining.add_to(application)
operating.add_to(application)
application.add_typer(drilling.application, name="drill")


@application.callback()
def options(
    context: typer.Context,
    socket: Annotated[
        str, typer.Option(envvar="THIRDRING_SOCKET", help="The controller's control socket.")
    ] = DEFAULT_SOCKET,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    language: Annotated[str, typer.Option(help="zh or en; from the locale if not given.")] = "",
) -> None:
    if language not in ("", "zh", "en"):
        raise typer.BadParameter("zh or en", param_hint="--language")
    context.obj = Screen(
        client=Client(socket),
        as_json=as_json,
        language=language or preferred_language(),
        # Nothing we print is markup: reasons, notes and far ends' words are full of brackets.
        console=Console(
            markup=False,
            emoji=False,
            highlight=False,
            width=None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "120")),
        ),
    )


def main() -> None:
    """Runs the command; every error is one clear message on standard error and an exit code."""
    arguments = _anywhere(sys.argv[1:])
    as_json = "--json" in arguments
    try:
        code = application(args=arguments, standalone_mode=False)
    except typer.Abort:
        sys.exit(Exit.INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except typer.Exit as finished:
        sys.exit(finished.exit_code)
    except CallFailed as error:
        language = _language(arguments)
        _complain(said(error.text, language), error.reasons, as_json=as_json, language=language)
        sys.exit(error.code)
    except ThirdRingError as error:
        _complain(str(error), (), as_json=as_json, language=_language(arguments))
        sys.exit(Exit.PROBLEM)
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "show"):
            error.show()
            sys.exit(Exit.USAGE)
        raise
    sys.exit(code if isinstance(code, int) else Exit.DONE)


def _anywhere(arguments: list[str]) -> list[str]:
    """--json, --language and --socket are understood after the command too, where people type them."""
    moved: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += [argument, *waiting]
        elif argument == "--json" or argument.startswith(("--language=", "--socket=")):
            moved.append(argument)
        elif argument in ("--language", "--socket"):
            moved += [argument, next(waiting, "")]
        else:
            rest.append(argument)
    return moved + rest


def _language(arguments: Sequence[str]) -> Language:
    """As `options` would choose it; errors may come before it could."""
    given = ""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--language":
            given = following
        elif argument.startswith("--language="):
            given = argument.partition("=")[2]
    return Language(given if given in list(Language) else preferred_language())


def _complain(message: str, reasons: tuple[str, ...], *, as_json: bool, language: Language) -> None:
    """`message` holds the reasons by name, then what is said beside them."""
    if as_json:
        print(json.dumps({"error": message, "reasons": list(reasons)}, ensure_ascii=False))
    elif reasons:
        refused = "被拒绝，什么都没有做：" if language is Language.ZH else "refused, nothing was done:"
        lines = [f"  - {refusal_text(reason, language)} [{reason}]" for reason in reasons]
        beside = message.partition("; ")[2]
        print(
            "\n".join([f"thirdring: {refused}", *lines, *([f"  {beside}"] if beside else [])]),
            file=sys.stderr,
        )
    else:
        print(f"thirdring: {message}", file=sys.stderr)
