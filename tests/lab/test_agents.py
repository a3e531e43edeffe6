"""Real agents on two hosts, in one kernel with a real etcd: never two holders, and none past its bound."""

from __future__ import annotations

import random
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import agents as builder
from tests.builders.agents import Agents
from tests.builders.hosts import VIPS, Caller, Hosts, both_answer, oldest_confirmation

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(builder.missing() is not None, reason=str(builder.missing())),
]

LATE = 0.050
CAPTURE = 0.020
"""Seconds that a busy machine may be late with stamping a frame."""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts() as made:
        yield made


@pytest.fixture
def agents(hosts: Hosts, tmp_path: Path) -> Agents:
    made = Agents(hosts, tmp_path)
    made.etcd.start()
    for host in ("a", "b"):
        made.start(host)
    return made


def test_a_grant_is_held_announced_moved_and_never_by_two(hosts: Hosts, agents: Agents) -> None:
    with Caller(hosts) as caller:
        time.sleep(0.3)
        assert not caller.replies, "starts not holding"
        granted = agents.etcd.grant(1, "primary")
        took = caller.wait_for("a") - granted
        assert hosts.addresses("a") == set(VIPS) and not hosts.addresses("b")
        closed = agents.etcd.grant(2, "primary", "fencing")
        released = caller.wait_silent("a") - closed
        assert not hosts.addresses("a")
        granted = agents.etcd.grant(2, "backup")
        took2 = caller.wait_for("b") - granted
        time.sleep(0.5)
        assert not both_answer(caller.replies)
    print(
        f"\ntaken {took * 1000:.0f} and {took2 * 1000:.0f} ms after the grant, released {released * 1000:.0f} ms"
    )
    assert took < 0.5 and took2 < 0.5 and released < 0.2
    assert agents.group("a")["standing"] == "inert" and agents.group("b")["standing"] == "holding"


def test_forty_stops_at_random_instants_never_past_the_bound(hosts: Hosts, tmp_path: Path) -> None:
    hold_time = 0.5
    agents = Agents(hosts, tmp_path, hold_time=hold_time)
    agents.etcd.start()
    agents.start("a")
    chance = random.Random(20261124)
    latest = 0.0
    with Caller(hosts) as caller:
        agents.etcd.grant(1, "primary")
        caller.wait_for("a")
        for number in range(45):
            time.sleep(chance.random() * 0.2)
            agents.signal("a", signal.SIGSTOP)
            stopped = time.monotonic()
            time.sleep(chance.choice((0.02, 0.06, hold_time + LATE + 0.15)) + chance.random() * 0.1)
            silent = time.monotonic() - stopped > hold_time + LATE + CAPTURE
            if silent:
                last = max((reply.at for reply in caller.since(stopped)), default=stopped)
                latest = max(latest, last - stopped)
                assert last <= stopped + hold_time + LATE + CAPTURE, f"stop {number}"
            agents.signal("a", signal.SIGCONT)
            if silent:
                caller.wait_for("a")
        replies = caller.replies[:]
        oldest = oldest_confirmation(replies, caller.beats, "a")
    print(
        f"\n{len(replies)} replies over 45 stops; last one {latest:.3f} s after a stop; oldest confirmation behind one"
        f" {oldest:.3f} s (bound {hold_time + LATE:.3f})"
    )
    assert oldest <= hold_time + LATE + CAPTURE


def test_a_frozen_holder_goes_silent_and_does_not_come_back_when_it_thaws(
    hosts: Hosts, agents: Agents
) -> None:
    with Caller(hosts) as caller:
        agents.etcd.grant(1, "primary")
        caller.wait_for("a")
        agents.signal("a", signal.SIGSTOP)
        stopped = time.monotonic()
        closed = agents.etcd.grant(2, "primary", "fencing")
        # What the controller does: wait the hold out, then give it to the other side.
        time.sleep(max(0.0, closed + 1.0 + LATE + 0.1 - time.monotonic()))
        agents.etcd.grant(2, "backup")
        caller.wait_for("b")
        agents.signal("a", signal.SIGCONT)
        time.sleep(0.7)
        assert not both_answer(caller.replies)
        last = max(reply.at for reply in caller.replies if reply.host == "a")
        assert last - stopped < 1.0 + LATE + CAPTURE
        agents.wait("a", lambda status: status["groups"]["calls"]["stopped"])
    assert agents.group("a")["standing"] == "inert" and agents.group("a")["epoch"] == 2


def test_a_killed_holder_closes_by_itself_and_stays_inert_when_it_returns(
    hosts: Hosts, agents: Agents
) -> None:
    with Caller(hosts) as caller:
        agents.etcd.grant(1, "primary")
        caller.wait_for("a")
        agents.kill("a")
        killed = time.monotonic()
        assert caller.wait_silent("a") - killed < 1.0 + LATE + CAPTURE
        time.sleep(max(0.0, killed + 2.6 - time.monotonic()))
        assert not hosts.addresses("a"), "the second lock has opened, too"
        agents.start("a")
        time.sleep(0.5)
        caller.wait_silent("a")
        assert agents.group("a")["standing"] == "inert" and agents.group("a")["epoch"] == 1
        status, answer = agents.post("a", "/hold", 1)
        assert status == 200 and answer["held"], answer
        caller.wait_for("a")
        agents.end("a")
        time.sleep(0.1)
        assert not hosts.addresses("a")


def test_a_flushed_table_is_an_alarm_and_made_again(hosts: Hosts, agents: Agents) -> None:
    with Caller(hosts) as caller:
        agents.etcd.grant(1, "primary")
        caller.wait_for("a")
        for host in ("a", "b"):
            hosts.run(host, "nft", "flush", "ruleset")
            agents.wait(host, lambda status: status["tables_lost"] == 1)
        agents.wait("a", lambda status: status["fence_ready"])
        assert "thirdring" in hosts.run("b", "nft", "list", "tables")
        caller.wait_for("a")
        assert {reply.host for reply in caller.replies} == {"a"}


def test_a_flushed_table_and_a_frozen_agent_leave_the_address_for_its_lifetime(
    hosts: Hosts, agents: Agents
) -> None:
    """The uncovered case: the second lock alone bounds it."""
    with Caller(hosts) as caller:
        agents.etcd.grant(1, "primary")
        caller.wait_for("a")
        agents.signal("a", signal.SIGSTOP)
        hosts.run("a", "nft", "flush", "ruleset")
        stopped = time.monotonic()
        assert 1.0 < caller.wait_silent("a") - stopped < 2.5
        agents.signal("a", signal.SIGCONT)


def test_etcd_gone_drops_the_address_in_time(hosts: Hosts, agents: Agents) -> None:
    with Caller(hosts) as caller:
        agents.etcd.grant(1, "primary")
        caller.wait_for("a")
        agents.etcd.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        assert 0.7 < caller.wait_silent("a") - stopped < 1.0 + LATE + CAPTURE
        assert agents.group("a")["standing"] == "waiting"
        agents.etcd.signal(signal.SIGCONT)
        caller.wait_for("a")


def test_the_hosts_cut_from_each_other_change_nothing(hosts: Hosts, agents: Agents) -> None:
    with Caller(hosts) as caller:
        agents.etcd.grant(1, "primary")
        caller.wait_for("a")
        hosts.isolate(isolated=True)
        since = time.monotonic()
        time.sleep(2.0)
        replies = caller.since(since)
        assert {reply.host for reply in replies} == {"a"} and len(replies) > 500
        hosts.isolate(isolated=False)


def test_keep_rests_on_the_other_agents_word(hosts: Hosts, tmp_path: Path) -> None:
    agents = Agents(hosts, tmp_path, without_etcd="keep")
    agents.etcd.start()
    for host in ("a", "b"):
        agents.start(host)
    time.sleep(1.3)  # one promise period after a start
    with Caller(hosts) as caller:
        agents.etcd.grant(1, "primary")
        caller.wait_for("a")
        agents.etcd.signal(signal.SIGSTOP)
        since = time.monotonic()
        time.sleep(3.0)
        assert agents.group("a")["kept"] and agents.group("b")["bound_for"] > 0
        times = [reply.at for reply in caller.since(since, host="a") if reply.kind == "ip4"]
        assert max(after - before for before, after in zip(times, times[1:], strict=False)) < 0.2
        # Cut from each other as well: a silent agent means drop.
        hosts.isolate(isolated=True)
        cut = time.monotonic()
        assert caller.wait_silent("a") - cut < 1.0 + LATE + CAPTURE
        hosts.isolate(isolated=False)
        agents.etcd.signal(signal.SIGCONT)
        caller.wait_for("a")
        # A grant that moves while a promise is bound is taken when the promise is over.
        agents.etcd.signal(signal.SIGSTOP)
        agents.wait("b", lambda status: status["groups"]["calls"]["bound_for"] > 0.5)
        agents.kill("a")
        killed = time.monotonic()
        agents.etcd.signal(signal.SIGCONT)
        agents.etcd.grant(2, "primary", "fencing")
        agents.etcd.grant(2, "backup")
        taken = caller.wait_for("b") - killed
        assert taken > 0.4 and not both_answer(caller.since(killed))


def test_who_may_ask_and_what_is_refused(hosts: Hosts, agents: Agents) -> None:
    agents.etcd.grant(5, "primary")
    agents.wait("a", lambda status: status["groups"]["calls"]["standing"] == "holding")
    for path in ("/hold", "/release", "/stop", "/start"):
        status, answer = agents.post("a", path, 4)
        assert (status, answer["refused"]) == (409, "old_epoch"), path
    status, answer = agents.post("b", "/hold", 5)
    assert (status, answer["refused"]) == (409, "not_granted")
    status, answer = agents.post("a", "/command", 5, command="reboot")
    assert (status, answer["refused"]) == (404, "unknown_command")
    status, answer = agents.ask("a", "POST", "/hold", group="other", epoch=5)
    assert (status, answer["refused"]) == (404, "unknown_group")
    status, answer = agents.ask("a", "POST", "/hold", group="calls")
    assert (status, answer["refused"]) == (400, "malformed")
    status, answer = agents.post("a", "/promise", 5, holder="backup", revision=1, hold_time=1.0)
    assert (status, answer["refused"]) == (403, "not_allowed")
    status, answer = agents.ask("a", "GET", "/status", who="stranger")
    assert (status, answer["refused"]) == (403, "not_allowed")
    with pytest.raises((ssl.SSLError, OSError)):
        agents.ask("a", "GET", "/status", who="")
    assert agents.group("a")["standing"] == "holding"
    # A second agent on the same host is refused, whatever its directory.
    second = hosts.start("a", *agents_argv(agents, "a"), log=agents.directory / "second.log")
    assert second.wait(timeout=15) != 0
    assert "runs on this host already" in (agents.directory / "second.log").read_text()
    status, answer = agents.post("a", "/release", 6)
    assert status == 200 and answer == {"released": True, "stopped": True, "troubles": []}
    assert not hosts.addresses("a")


def agents_argv(agents: Agents, host: str) -> list[str]:
    return [sys.executable, "-m", "controller", "agent", "-c", str(agents.file(host))]
