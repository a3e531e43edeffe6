"""Which side a call is offered to, by datagrams sent by hand: the hosts and the switch alone, no platform on them."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from lab import sip
from lab.network import Network, command
from lab.offered import Offered
from lab.topology import PREFIX_LENGTH, SIP_PORT, VIP, Host, address

pytestmark = pytest.mark.lab


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(f"tr-offered-{os.getpid()}")
    try:
        made.up()
        yield made
    finally:
        made.down()


@dataclass(frozen=True, kw_only=True)
class Sender:
    network: Network

    def __call__(self, source: Host, target: str, call_id: str, method: str = "INVITE") -> None:
        request = sip.request(
            method,
            f"sip:agent@{target}",
            local=(address(source), SIP_PORT),
            via_branch=sip.branch(),
            call_id=call_id,
            from_tag="t",
            to=f"<sip:agent@{target}>",
            body=sip.offer(address(source), 7000),
        )
        with self.network.socket(source) as sock:
            sock.sendto(request, (target, SIP_PORT))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "not seen within 10 s"
        time.sleep(0.01)


def test_a_call_counts_once_for_the_side_it_is_sent_to(network: Network) -> None:
    send = Sender(network=network)
    with Offered(network) as offered:
        began = time.monotonic()
        send(Host.EDGE1, address(Host.PRIMARY), "one")
        send(Host.EDGE1, address(Host.PRIMARY), "one")
        send(Host.EDGE2, address(Host.PRIMARY), "two", method="OPTIONS")
        send(Host.CONTROLLER, address(Host.PRIMARY), "the controller's own")
        send(Host.CALLER, address(Host.EDGE1), "to an edge")
        send(Host.EDGE2, address(Host.BACKUP), "three")
        until(lambda: offered.first(Host.BACKUP, since=began) is not None)
        assert offered.calls(Host.PRIMARY, since=began) == {"one"}
        assert offered.calls(Host.BACKUP, since=began) == {"three"}
        first = offered.first(Host.PRIMARY, since=began)
        assert first is not None and began <= first <= time.monotonic()
        assert offered.calls(Host.PRIMARY, since=began, until=first) == set()


def test_a_side_that_is_cut_off_is_offered_calls_all_the_same(network: Network) -> None:
    send = Sender(network=network)
    with Offered(network) as offered:
        began = time.monotonic()
        send(Host.EDGE1, address(Host.PRIMARY), "before")
        until(lambda: "before" in offered.calls(Host.PRIMARY, since=began))
        network.port(Host.PRIMARY, up=False)
        send(Host.EDGE1, address(Host.PRIMARY), "after")
        until(lambda: "after" in offered.calls(Host.PRIMARY, since=began))


def test_the_holder_of_the_virtual_address_is_the_side(network: Network) -> None:
    send = Sender(network=network)
    backup = network.namespace(Host.BACKUP)
    command(["ip", "-n", backup, "addr", "add", f"{VIP}/{PREFIX_LENGTH}", "dev", "eth0"])
    with Offered(network) as offered:
        began = time.monotonic()
        send(Host.CALLER, VIP, "by the address")
        until(lambda: offered.calls(Host.BACKUP, since=began) == {"by the address"})
        assert offered.calls(Host.PRIMARY, since=began) == set()
