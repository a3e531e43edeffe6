"""In which zone the times are that this process shows."""

from __future__ import annotations

import time


def zone() -> str:
    """UTC+08:00."""
    offset = time.strftime("%z")
    return f"UTC{offset[:3]}:{offset[3:5]}"
