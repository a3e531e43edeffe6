"""What else configures the network on a host, and what it does to the agent's address and table: the real systemd-networkd.

Version 252 leaves them alone unconfigured, too; what is shipped says so for those that do not.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import hosts as builder
from tests.builders.hosts import VIPS, Hosts

NETWORKD = Path("/lib/systemd/systemd-networkd")
SHIPPED = Path(__file__).parents[2] / "deploy" / "agent"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(builder.missing() is not None, reason=str(builder.missing())),
    pytest.mark.skipif(not NETWORKD.exists(), reason="systemd-networkd is not installed"),
]

# In a mount namespace of its own, where its directories are empty, and where /sys is read-only: it then waits for no udev.
SCRIPT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network:systemd-network /run/systemd/netif
mount -t tmpfs tmpfs /etc/systemd
mkdir -p /etc/systemd/network/eth0.network.d /etc/systemd/networkd.conf.d
printf '[Match]\\nName=eth0\\n[Network]\\nAddress=10.77.0.1/24\\nIPv6AcceptRA=no\\n' > /etc/systemd/network/eth0.network
if [ "$1" = shipped ]; then
  cp "$2/eth0.network.conf" /etc/systemd/network/eth0.network.d/60-thirdring.conf
  cp "$2/networkd.conf" /etc/systemd/networkd.conf.d/60-thirdring.conf
fi
mount -o remount,ro,bind /sys
timeout 3 env SYSTEMD_LOG_LEVEL=info {NETWORKD} || true
"""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts() as made:
        yield made


@pytest.mark.parametrize("configured", ["shipped", "bare"])
def test_networkd_leaves_address_and_table_alone(hosts: Hosts, configured: str) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs util-linux")
    lifetime = ("valid_lft", "60", "preferred_lft", "60")
    hosts.run("a", "ip", "addr", "replace", f"{VIPS[0]}/32", "dev", "eth0", *lifetime)
    hosts.run("a", "ip", "addr", "replace", f"{VIPS[1]}/128", "dev", "eth0", "nodad", *lifetime)
    hosts.run("a", "nft", "add", "table", "netdev", "thirdring")
    told = hosts.run(
        "a", "unshare", "-m", "bash", "-c", f"({SCRIPT}) 2>&1", "networkd", configured, str(SHIPPED)
    )
    assert "eth0: Configuring" in told, told
    assert hosts.addresses("a") == set(VIPS)
    assert "netdev thirdring" in hosts.run("a", "nft", "list", "tables")
