"""The ring's etcd, as the lab itself asks it: who leads its members, and who has the address's grant."""

import base64
import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from lab.network import Network
from lab.ring_files import CLUSTER, GROUP
from lab.topology import MEMBERS, Host, address

PORT: Final = 2379


class Store:
    """Over the JSON gateway, from the person's place."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def leader(self) -> Host | None:
        """The member that leads the others; None while none does."""
        for member in MEMBERS:
            status = self._ask(member, "maintenance/status", {})
            if status is not None and status.get("leader") == status["header"]["member_id"]:
                return member
        return None

    def follower(self) -> Host:
        """A member that follows; any, while none leads."""
        leader = self.leader()
        return next(member for member in MEMBERS if member is not leader)

    def grant(self) -> dict[str, Any] | None:
        """The group's grant, by a linearizable read; None when it can't be read or there is none."""
        key = base64.b64encode(f"/thirdring/{CLUSTER}/grant/{GROUP}".encode()).decode()
        for member in MEMBERS:
            found = self._ask(member, "kv/range", {"key": key})
            if found is not None and found.get("kvs"):
                grant: dict[str, Any] = json.loads(base64.b64decode(found["kvs"][0]["value"]))
                return grant
        return None

    def writable(self) -> bool:
        """Whether a write commits."""
        body = {"key": base64.b64encode(b"lab").decode(), "value": ""}
        answers = (self._ask(member, "kv/put", body) for member in MEMBERS)
        return any(answer is not None and "header" in answer for answer in answers)

    def alarm(self, member: Host, *, on: bool) -> None:
        """NOSPACE of one member: the cluster refuses writes, as when its quota is used up."""
        status = self._ask(member, "maintenance/status", {})
        if status is not None:
            action = "ACTIVATE" if on else "DEACTIVATE"
            body = {"action": action, "memberID": status["header"]["member_id"], "alarm": "NOSPACE"}
            self._ask(member, "maintenance/alarm", body)

    def _ask(self, member: Host, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        connection = HTTPConnection(address(member), PORT, timeout=1.0)
        sock = self._network.socket(Host.CONTROLLER, socket.SOCK_STREAM)
        try:
            sock.settimeout(1.0)
            sock.connect((address(member), PORT))
            connection.sock = sock
            connection.request("POST", f"/v3/{what}", json.dumps(body))
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()
            sock.close()
        return answer
