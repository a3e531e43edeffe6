"""The composition root: it alone knows every adapter, builds controllers of them, and runs one as this process."""

from controller.app.configurations import (
    check_settings,
    check_text,
    configuration_schema,
    load_settings,
    shipped,
)
from controller.app.controller import Controller
from controller.app.coordination import adopt
from controller.app.journals import check_journal, read_timeline
from controller.app.keys import web_token
from controller.app.process import COLLECTING, WARM, run

__all__ = [
    "COLLECTING",
    "WARM",
    "Controller",
    "adopt",
    "check_journal",
    "check_settings",
    "check_text",
    "configuration_schema",
    "load_settings",
    "read_timeline",
    "run",
    "shipped",
    "web_token",
]
