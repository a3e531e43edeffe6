"""The templates of reports, as package data."""

from __future__ import annotations

from pathlib import Path

import jinja2

LOADER = jinja2.FileSystemLoader(Path(__file__).parent)
