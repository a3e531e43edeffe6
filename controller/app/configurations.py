"""Configurations, read and checked with the adapters that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controller import registry
from controller.configuration.check import CheckReport, check, render_text
from controller.configuration.kinds import Kinds
from controller.configuration.loading import load
from controller.configuration.schema import schema
from controller.configuration.settings import Settings


def shipped(kind: str) -> Path:
    """Where the shipped `runbooks` or `config` are: in an installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "shipped" / kind
    return installed if installed.is_dir() else package.parent / kind


def kinds() -> Kinds:
    """Every adapter this installation knows, by category; none is imported yet."""
    return Kinds(
        names={name: tuple(table) for name, table in registry.CATEGORIES.items()}, load=registry.load
    )


def load_settings(path: Path) -> Settings:
    """Raises ConfigurationError with every problem found."""
    return load(path, kinds(), shipped)


def check_settings(path: Path, loss: float) -> CheckReport:
    """What is wrong with a configuration, and what its groups can promise. `loss`: 0 to 1, each way."""
    return check(path, kinds(), shipped, loss=loss)


def configuration_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, with the parameters of every kind that is installed."""
    return schema(kinds())


def check_text(report: CheckReport, language: str) -> str:
    return render_text(report, language)
