"""Edges and platform sides: their configurations, their command lines, their JSON-RPC.

Reading the live counters of an edge (what a probe does over its own HTTP client):

    POST http://<edge>:8090/  {"jsonrpc":"2.0","method":"htable.dump","params":["n"],"id":1}

answers 200 with `result` a list of hash rows, each with `slot`: a list of {"name", "value", "type"}. A name is
"<side address>::<status>" or "<side address>::timeout"; values only grow, and start again from nothing with the edge:
a value smaller than the last one read means a restart. No calls yet means an empty list.
"""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from lab.errors import NotReady, RpcRefused
from lab.topology import ANSWERERS, RPC_PORT, SIDES, SIP_PORT, VIP, Host, address

CONFIGURATIONS: Final = Path(__file__).with_name("etc")
TIMEOUT: Final = "timeout"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A line of an edge's dispatcher list. `flags` 0 is active, 4 is disabled; the highest priority is tried first."""

    side: Host
    active: bool
    priority: int
    epoch: int

    @property
    def uri(self) -> str:
        """Byte for byte what set_state must be given."""
        return f"sip:{address(self.side)}:{SIP_PORT}"

    def line(self) -> str:
        return f"1 {self.uri} {0 if self.active else 4} {self.priority} epoch={self.epoch}\n"


def render(template: str, values: dict[str, str]) -> str:
    """Fill in the @NAME@ placeholders of a file in etc/."""
    text = (CONFIGURATIONS / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def edge_configuration(edge: Host, *, list_file: Path, fr_timer_ms: int) -> str:
    """The edge's kamailio.cfg. `fr_timer_ms`: how long it waits for a side's first answer before trying the next."""
    return render(
        "edge.cfg",
        {
            "EDGE": address(edge),
            "CTL": address(Host.CONTROLLER),
            "LIST_FILE": str(list_file),
            "FR_TIMER_MS": str(fr_timer_ms),
        },
    )


def platform_configuration(side: Host) -> str:
    """The kamailio.cfg of a platform side."""
    *named, last = ANSWERERS
    routes = [f'  if ($rU == "{a.user}") $du = "sip:{a.address}:{SIP_PORT}";' for a in named]
    routes = [*routes[:1], *(f"  else {route.strip()}" for route in routes[1:])]
    routes.append(f'  else $du = "sip:{last.address}:{SIP_PORT}";')
    pattern = "|".join(a.address.replace(".", "[.]") for a in ANSWERERS)
    return render(
        "platform.cfg",
        {
            "SIDE_ADDRESS": address(side),
            "SIDE": str(side),
            "VIP": VIP,
            "ROUTES": "\n".join(routes),
            "ANSWERERS": f"({pattern})",
        },
    )


def media_relay(side: Host) -> str:
    """The nft table by which a side's kernel anchors media: RTP to the side goes on to the answerer of that port."""
    ports = ", ".join(str(a.rtp_port) for a in ANSWERERS)
    targets = ", ".join(f"{a.rtp_port} : {a.address}" for a in ANSWERERS)
    return f"""table ip media {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {{ {address(side)}, {VIP} }} dnat to udp dport map {{ {targets} }};
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    udp dport {{ {ports} }} masquerade;
  }}
}}
"""


def argv(configuration: Path) -> list[str]:
    """Kamailio in the foreground, logging to standard error, with small memory pools."""
    return ["kamailio", "-DD", "-E", "-m", "32", "-M", "4", "-w", "/", "-f", str(configuration)]


class Rpc:
    """JSON-RPC over HTTP to one Kamailio.

    `make_socket` gives an unconnected TCP socket in the namespace the request is to come from.
    """

    def __init__(self, host_address: str, make_socket: Callable[[], socket.socket]) -> None:
        self._address = host_address
        self._make_socket = make_socket

    def call(self, method: str, *params: str | int, epoch: int | None = None, timeout_s: float = 2.0) -> Any:
        """The command's result. Raises RpcRefused, and NotReady if nobody answers within `timeout_s`."""
        connection = HTTPConnection(self._address, RPC_PORT)
        sock = self._make_socket()
        try:
            sock.settimeout(timeout_s)
            sock.connect((self._address, RPC_PORT))
            connection.sock = sock
            headers = {"Content-Type": "application/json"} | (
                {} if epoch is None else {"X-Epoch": str(epoch)}
            )
            body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except OSError as error:
            raise NotReady(f"JSON-RPC at {self._address}: {error}") from error
        finally:
            connection.close()
            sock.close()
        if answer.status != 200:
            raise RpcRefused(answer.status, text)
        return json.loads(text)["result"]


def reply_counters(dump: list[dict[str, Any]]) -> dict[Host, dict[str, int]]:
    """The answer to `htable.dump n` by side: {"180": n, "200": n, "503": n, "timeout": n}; absent means none."""
    by_address = {address(side): side for side in SIDES}
    counters: dict[Host, dict[str, int]] = {side: {} for side in SIDES}
    for row in dump:
        for slot in row["slot"]:
            host_address, _, what = slot["name"].partition("::")
            if host_address in by_address:
                counters[by_address[host_address]][what] = int(slot["value"])
    return counters
