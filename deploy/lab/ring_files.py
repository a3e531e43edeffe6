"""What the ring's processes are told: certificates, members of etcd, host agents, controllers."""

import json
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trustme
import yaml

from lab import kamailio
from lab.topology import MEMBERS, SIDES, VIP, Host, address, other

CONFIGURATION: Final = Path(__file__).resolve().parents[2] / "config" / "ring.yaml"
GROUP: Final = "calls"
CLUSTER: Final = "ring"
AGENT_PORT: Final = 8752
POSTGRESQL: Final = Path("/usr/lib/postgresql")
ACCOUNT: Final = "postgres"


def agent_role(side: Host) -> str:
    return f"agent-{side}"


def issue(directory: Path) -> None:
    """An authority, and a certificate each for the controllers and the agents."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    for name, addresses in (
        ("controller", ()),
        *((agent_role(side), (address(side),)) for side in SIDES),
    ):
        issued = authority.issue_cert(name, *addresses)
        path = directory / f"{name}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        path.chmod(0o600)


def member_argv(member: Host, directory: Path) -> list[str]:
    """With the timers the reference was measured at: heartbeat 20 ms, election 200 ms."""
    here = address(member)
    cluster = ",".join(f"{host}=http://{address(host)}:2380" for host in MEMBERS)
    return [
        "etcd",
        *("--name", str(member), "--data-dir", str(directory / f"{member}.etcd")),
        *("--listen-client-urls", f"http://{here}:2379", "--advertise-client-urls", f"http://{here}:2379"),
        *(
            "--listen-peer-urls",
            f"http://{here}:2380",
            "--initial-advertise-peer-urls",
            f"http://{here}:2380",
        ),
        *("--initial-cluster", cluster, "--initial-cluster-token", str(directory)),
        *("--heartbeat-interval", "20", "--election-timeout", "200", "--log-level", "error"),
    ]


def agent_file(side: Host, directory: Path, kamailio_file: Path) -> Path:
    peer = other(side)
    document = {
        "version": 1,
        "name": agent_role(side),
        "cluster": CLUSTER,
        "data": f"{agent_role(side)}.data",
        "host": address(side),
        "port": AGENT_PORT,
        "tls": {
            "certificate": f"{agent_role(side)}.pem",
            "key": f"{agent_role(side)}.pem",
            "authority": "ca.pem",
            "controllers": ["controller"],
            "agents": [agent_role(peer)],
        },
        "etcd": {
            "endpoints": [f"http://{address(member)}:2379" for member in MEMBERS],
            "accept_old_etcd": True,
        },
        "groups": {
            GROUP: {
                "side": str(side),
                "addresses": [{"address": VIP, "interface": "eth0"}],
                "hold_time": 1.0,
                "peers": {agent_role(peer): f"https://{address(peer)}:{AGENT_PORT}"},
                "process": {"match": kamailio.argv(kamailio_file), "stop": "suspend"},
                "evidence": {"ports": [5060], "options": f"sip:{address(side)}:5060"},
            }
        },
    }
    path = directory / f"{agent_role(side)}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def controller_file(
    directory: Path, *, fences: dict[Host, tuple[Sequence[str], Sequence[str], Sequence[str]]], archive: str
) -> Path:
    """config/ring.yaml and what differs from run to run. `fences`: the commands of each side's outside fence (cut off,
    confirm, let in); empty without one."""
    shipped = yaml.safe_load(CONFIGURATION.read_text())
    document: dict[str, Any] = {"include": [str(CONFIGURATION)]}
    if archive:
        document["node"] = shipped["node"] | {"archive": archive}
    if fences:
        group = shipped["groups"][GROUP]
        for side, (cut_off, confirm, let_in) in fences.items():
            group["driver"]["with"]["sides"][str(side)]["fence"] = {
                "fence": list(cut_off),
                "confirm": list(confirm),
                "release": list(let_in),
            }
        document["groups"] = {GROUP: group}
    path = directory / "controller.yaml"
    path.write_text(json.dumps(document, indent=1))
    return path


def controller_argv(lab: str, node: Host, file: Path) -> list[str]:
    names = [f"LAB={lab}", f"THIRDRING_NODE={node}"]
    return ["env", *names, sys.executable, "-m", "controller", "run", "-c", str(file)]


def twin_file(directory: Path, role: str) -> Path:
    """For a second controller under a node's name: with data and ports of its own, as when somebody starts a copy."""
    standing = json.loads((directory / "controller.yaml").read_text())
    node = standing.get("node") or yaml.safe_load(CONFIGURATION.read_text())["node"]
    document = standing | {"node": node | {"data": str(directory / role)}, "http": {"port": 8751}}
    path = directory / f"{role}.yaml"
    path.write_text(json.dumps(document))
    return path


def postgresql_programs() -> Path | None:
    """Debian keeps them out of the PATH, by version."""
    found = sorted(POSTGRESQL.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def postgresql_argvs(programs: Path, directory: Path) -> tuple[list[str], list[str]]:
    """(make the cluster, run it). It refuses to run as root: both run as the package's account."""
    data = directory / "postgresql"
    data.mkdir()
    account = pwd.getpwnam(ACCOUNT)
    os.chown(data, account.pw_uid, account.pw_gid)
    as_account = ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups"]
    make = [
        str(programs / "initdb"),
        "-D",
        str(data / "data"),
        "-U",
        "thirdring",
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    run = [
        *(str(programs / "postgres"), "-D", str(data / "data"), "-p", "5432"),
        *("-c", f"listen_addresses={address(Host.CONTROLLER)}", "-c", f"unix_socket_directories={data}"),
    ]
    return [*as_account, *make, "--no-sync"], [*as_account, *run]


def allow_ring(directory: Path) -> None:
    """PostgreSQL trusts the ring's nodes; they have no other neighbours."""
    with (directory / "postgresql" / "data" / "pg_hba.conf").open("a") as file:
        file.write("host all all 198.18.0.0/15 trust\n")
