"""What the parameters of every channel share."""

from __future__ import annotations

import ssl

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Unknown keys are refused; values are frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ROBOTS: dict[str, str] = {
    "oapi.dingtalk.com": "DingTalk",
    "api.dingtalk.com": "DingTalk",
    "qyapi.weixin.qq.com": "WeCom",
    "open.feishu.cn": "Feishu",
    "open.larksuite.com": "Lark",
}
"""Hosts of group robots, which answer HTTP 200 to what they did not deliver and say so in the body (errcode, code).
A channel that only reads the status would call such a page sent."""


def trust(authorities: str) -> ssl.SSLContext:
    """The system's authorities, or those of a PEM file alone. Raises ValueError for a file that holds none."""
    try:
        return ssl.create_default_context(cafile=authorities or None)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{authorities}: no certificates can be read from it ({error})") from error
