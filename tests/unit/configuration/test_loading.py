"""What a good configuration becomes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.configuration.loading import Settings, load
from controller.core.objectives import fits
from controller.model.errors import ConfigurationError
from controller.model.faults import EvidenceKind, FaultKind, Impact, Severity, Urgency, Verdict
from controller.model.health import Hysteresis, RungKey
from controller.model.policy import ComponentKind, Profile
from controller.registry import PROBES
from controller.registry import load as registered
from tests.builders.adapters import Webhook, kinds

GOLDEN = Path(__file__).parents[2] / "golden" / "configuration"
PLATFORM = GOLDEN / "platform.yaml"

Loader = Callable[..., Settings]


@pytest.fixture
def loaded(tmp_path: Path) -> Loader:
    """Loads a text that includes the small good platform, or another base."""

    def load_text(
        text: str = "", *, base: str = str(PLATFORM), environment: dict[str, str] | None = None
    ) -> Settings:
        path = tmp_path / "own.yaml"
        path.write_text(f"include: [{base}]\n{text}")
        return load(path, kinds(), lambda kind: GOLDEN, environment=environment or {})

    return load_text


def test_the_small_platform(loaded: Loader) -> None:
    settings = loaded()
    policy = settings.policy
    assert policy.name == "small"
    primary = policy.components["primary"]
    assert (primary.kind, primary.group, primary.side) == (ComponentKind.PLATFORM, "calls", "primary")
    assert (primary.title.zh, primary.title.en) == ("主平台", "Primary")
    assert [rung.name for rung in primary.ladder] == ["host", "sip", "call"]
    assert primary.ladder[1].parameters.uri == "sip:192.0.2.1"
    assert (policy.components["edge"].group, policy.components["edge"].side) == ("calls", "")
    group = policy.groups["calls"]
    assert [side.name for side in group.sides] == ["primary", "backup"]
    assert group.verification is not None and group.verification.rung == RungKey("edge", "call")
    assert fits(group)
    assert policy.rules[0].terms[0].when.evaluate({"self.sip.state": "DOWN"}) is Verdict.TRUE
    assert policy.domains[FaultKind.PLATFORM_HUNG].switch == "failover"
    assert not policy.domains[FaultKind.PLATFORM_HUNG].never_switch
    assert policy.domains[FaultKind.MEDIA_ONE_WAY].never_switch
    assert policy.matrix[Impact.MANY_CALLS, Urgency.HIGH] is Severity.SEV2
    assert policy.people["li"].channels[0].parameters == Webhook.Parameters(url="https://example.org/")
    assert policy.escalation is not None and policy.escalation.severities == {Severity.SEV1, Severity.SEV2}
    assert set(policy.runbooks) == {"failover", "both-sides-down", "repair-in-place"}


def test_members_of_a_fleet_share_what_is_the_same_and_only_that(loaded: Loader) -> None:
    policy = loaded(
        """
fleets:
  phones:
    kind: phone
    count: 2
    rungs: [{name: sip, probe: sip_options, with: {uri: "sip:phone-${n}@192.0.2.9"}}]
"""
    ).policy
    one, two = (policy.components[name].ladder[0] for name in ("phones-1", "phones-2"))
    assert (one.parameters.uri, two.parameters.uri) == ("sip:phone-1@192.0.2.9", "sip:phone-2@192.0.2.9")
    assert one.parameters.model_fields_set is two.parameters.model_fields_set
    assert one.parameters.model_fields_set == {"uri"}
    assert one.hysteresis is two.hysteresis


@pytest.mark.parametrize("kind", sorted(PROBES))
def test_no_parameters_of_a_probe_change_once_they_are_made(kind: str) -> None:
    """Members of a fleet share parts of theirs."""
    assert registered("probe", kind).Parameters.model_config.get("frozen") is True


@pytest.mark.parametrize(
    ("profile", "interval", "timeout", "fall", "copies"),
    [(Profile.STANDARD, 0.25, 0.24, 5, 1), (Profile.FAST, 0.1, 0.1, 2, 2)],
)
def test_the_profile_sets_the_pace_of_what_failover_waits_for(
    loaded: Loader, profile: Profile, interval: float, timeout: float, fall: int, copies: int
) -> None:
    policy = loaded(f"profile: {profile}").policy
    sip = policy.components["primary"].rung("sip")
    assert sip is not None
    assert (sip.interval, sip.timeout, sip.hysteresis.fall, sip.copies) == (interval, timeout, fall, copies)
    host = policy.components["primary"].rung("host")
    assert host is not None
    assert (host.interval, host.timeout, host.hysteresis) == (1.0, 0.5, Hysteresis())
    assert policy.groups["calls"].profile is profile
    assert fits(policy.groups["calls"])


def test_values_are_reported_by_probes_that_have_some(loaded: Loader) -> None:
    ladder = loaded().policy.components["primary"].ladder
    assert {rung.name: rung.reports_values for rung in ladder} == {"host": False, "sip": False, "call": True}


def test_a_rung_of_its_own_replaces_the_template_s(loaded: Loader) -> None:
    text = """
components:
  primary:
    kind: platform
    ladder: side
    with: {address: 192.0.2.1}
    rungs:
      - {name: sip, probe: sip_options, with: {uri: "sip:${name}"}, interval: 50ms, timeout: 40ms, fall: 9,
         failover_relevant: true, evidence: peer}
      - {name: port, probe: tcp, with: {address: "${address}"}}
"""
    ladder = loaded(text).policy.components["primary"].ladder
    assert [rung.name for rung in ladder] == ["host", "sip", "call", "port"]
    assert ladder[1].parameters.uri == "sip:primary"
    assert (ladder[1].interval, ladder[1].hysteresis.fall, ladder[1].evidence) == (0.05, 9, EvidenceKind.PEER)
    assert ladder[3].parameters.address == "192.0.2.1"


def test_a_deadline_longer_than_the_interval_is_refused_where_a_failover_waits_for_it(loaded: Loader) -> None:
    text = """
components:
  gate:
    kind: gateway
    rungs: [{name: sip, probe: sip_options, with: {uri: "sip:a"}, interval: 100ms, timeout: 150ms, failover_relevant: %s}]
"""
    assert loaded(text % "false").policy.components["gate"].ladder[0].timeout == 0.15
    with pytest.raises(ConfigurationError, match="longer than the interval"):
        loaded(text % "true")


def test_a_whole_reference_keeps_its_type(loaded: Loader) -> None:
    text = """
ladders: {p: [{name: sip, probe: sip_options, with: {uri: "sip:${host}:${port}", port: "${port}"}}]}
components: {x: {kind: phone, ladder: p, with: {host: a, port: 5080}}}
"""
    parameters = loaded(text).policy.components["x"].ladder[0].parameters
    assert (parameters.uri, parameters.port) == ("sip:a:5080", 5080)


def test_ten_thousand_phones(loaded: Loader) -> None:
    text = """
components: {switch-00042: {kind: switch}, switch: {kind: switch}}
fleets:
  phone:
    count: 10000
    addresses: 10.20.0.0/16
    first_port: 20000
    kind: phone
    title: "Phone ${n}"
    ladder: phone
    depends_on: [switch]
    redundancy: "pair-${port}"
    lines: 1
"""
    before = time.process_time()
    policy = loaded(text).policy
    assert time.process_time() - before < 20  # 0.7 s here; an O(n^2) would take minutes
    phones = [component for component in policy.components.values() if component.kind is ComponentKind.PHONE]
    assert len(phones) == 10_000
    phone = policy.components["phone-09999"]
    assert phone.ladder[0].parameters.uri == "sip:10.20.39.15"
    assert (phone.title.en, phone.redundancy, phone.lines) == ("Phone 09999", "pair-29998", 1)
    assert len(policy.children["switch"]) == 10_000


def test_a_fleet_from_a_list(loaded: Loader, tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("name,address,floor\nfront-desk,10.1.0.7,one\n经理,10.1.0.8,two\n")
    text = """
components: {switch-one: {kind: switch}, switch-two: {kind: switch}}
fleets:
  phones: {csv: phones.csv, kind: phone, ladder: phone, depends_on: ["switch-${floor}"], vip_line: true}
"""
    settings = loaded(text)
    assert settings.policy.components["经理"].ladder[0].parameters.uri == "sip:10.1.0.8"
    assert settings.policy.children["switch-two"] == ("经理",)
    assert settings.policy.components["front-desk"].vip_line
    assert str(tmp_path / "phones.csv") in settings.files


def test_what_the_including_file_says_wins_and_keeps_its_place(loaded: Loader) -> None:
    text = """
domains: [{fault: PlatformHung, domain: platform, no_action: "not here"}]
rules:
  - {name: another, fault: DeviceDown, kinds: [phone], title: x, terms: [{name: a, evidence: probe, when: self.state == "DOWN"}]}
  - {name: silent, fault: PlatformHung, kinds: [platform], title: x, terms: [{name: a, evidence: probe, when: "false"}]}
"""
    policy = loaded(text).policy
    assert policy.domains[FaultKind.PLATFORM_HUNG].no_action == "not here"
    assert [rule.name for rule in policy.rules] == ["silent", "another"]
    assert policy.rules[0].terms[0].when.source == "false"


def test_secrets_come_from_elsewhere_and_are_not_shown(loaded: Loader, tmp_path: Path) -> None:
    (tmp_path / "li.token").write_text("file-0123456789abcdef\n")
    text = """
http:
  tokens:
    - {name: wall, role: viewer, secret: "${env:WALL}"}
    - {name: li, role: administrator, secret: "file:li.token"}
"""
    settings = loaded(text, environment={"WALL": "env-0123456789abcdef"})
    secrets = [token.secret for token in settings.node.http.tokens]
    assert secrets == ["env-0123456789abcdef", "file-0123456789abcdef"]
    assert "0123456789abcdef" not in repr(settings.node)


def test_the_environment_may_be_asked_with_an_answer_at_hand(loaded: Loader) -> None:
    text = "node: {name: '${env:NODE:-lab}-${env:NUMBER:-}1'}"
    assert loaded(text).node.name == "lab-1"
    assert loaded(text, environment={"NODE": "n", "NUMBER": "2"}).node.name == "n-21"
    token = "http: {tokens: [{name: wall, role: viewer, secret: '${env:WALL:-0123456789abcdef}'}]}"
    with pytest.raises(ConfigurationError, match="a secret is never written here"):
        loaded(token, environment={"WALL": "0123456789abcdef"})


def test_here_is_the_file_s_directory(loaded: Loader, tmp_path: Path) -> None:
    settings = loaded("actions: {command: {commands: {own: ['${here}/own']}}}")
    assert settings.node.actions["command"].commands["own"] == [f"{tmp_path}/own"]


def test_the_node(loaded: Loader, tmp_path: Path) -> None:
    node = loaded("node: {name: n1, data: state, failure_domain: rack-1, probers: 2, realtime: false}").node
    assert (node.name, node.data, node.control) == ("n1", tmp_path / "state", tmp_path / "state" / "control")
    assert node.archive == f"sqlite+aiosqlite:///{tmp_path}/state/archive.db"
    assert (node.http.host, node.http.port, node.http.public_url) == (
        "127.0.0.1",
        8750,
        "http://127.0.0.1:8750",
    )
    assert node.probers == 2
    assert not node.realtime
    assert loaded("http: {host: '::', port: 80}").node.http.public_url == "http://127.0.0.1:80"


def test_actions_get_their_settings(loaded: Loader) -> None:
    text = """
actions: {command: {commands: {kill: [kill, "1"]}}}
drills:
  kill:
    title: kill
    group: calls
    component: primary
    inject: {action: command, with: {name: kill}}
    undo: {action: http, with: {url: "http://192.0.2.1/"}}
    expires: 1m
    objectives: [{name: outage, limit: 500ms, hard: true}]
    expected_fault: PlatformDead
"""
    settings = loaded(text)
    assert settings.node.actions["command"].commands == {"kill": ["kill", "1"]}
    assert "http" in settings.node.actions
    scenario = settings.policy.scenarios["kill"]
    assert scenario.inject == ("command", (("name", "kill"),))
    assert (scenario.expires, scenario.objectives[0].limit) == (60.0, 0.5)


def test_a_group_over_its_rto_is_told_and_can_not_be_armed(loaded: Loader) -> None:
    text = """
groups:
  calls:
    sides:
      primary: {component: primary, destination: "sip:192.0.2.1:5060"}
      backup: {component: backup, destination: "sip:192.0.2.2:5060"}
    preferred: primary
    driver: {kind: kamailio_dispatcher, with: {rpc: []}}
    rto: 1s
    freeze_timeout: 100ms
    allowances: {edge_timer: 2s, fence: 0.5}
"""
    settings = loaded(text)
    group = settings.policy.groups["calls"]
    assert group.budget is not None
    assert not fits(group)
    assert dataclasses.asdict(group.budget) == pytest.approx(
        {"detect": 1.49, "decide": 0.02, "fence": 0.6, "redirect": 2.0, "edge_timer": 2.0}
    )
    assert "calls can't be armed: its worst case of 6.110 s is over the RTO of 1 s" in [
        warning.message for warning in settings.warnings
    ]


TIMED = """
groups:
  calls:
    sides:
      primary: {component: primary, destination: "sip:192.0.2.1:5060"}
      backup: {component: backup, destination: "sip:192.0.2.2:5060"}
    preferred: primary
    driver: {kind: kamailio_dispatcher, with: {rpc: []}}
"""


@pytest.mark.parametrize(
    ("written", "fence", "redirect", "may_arm"),
    [
        ((), 2.2, 2.0, False),
        (("step_timeout: 30s",), 60.2, 60.0, False),
        (("allowances: {fence: 100ms, redirect: 60ms}",), 0.3, 0.06, True),
        (("step_timeout: 30s", "allowances: {fence: 100ms}"), 0.3, 60.0, False),
    ],
)
def test_what_nobody_declared_counts_its_whole_timeout(
    loaded: Loader, written: tuple[str, ...], fence: float, redirect: float, may_arm: bool
) -> None:
    """Fence and its proof, promote and redirect: each verb may take all of step_timeout. The freeze has its own."""
    group = loaded(TIMED + "".join(f"    {line}\n" for line in written)).policy.groups["calls"]
    assert group.budget is not None
    assert (group.budget.fence, group.budget.redirect) == pytest.approx((fence, redirect))
    assert fits(group) is may_arm


def test_warnings(loaded: Loader) -> None:
    text = """
components: {lonely: {kind: trunk, redundancy: trunks}}
people: {li: {display: 李, role: r, channels: [{name: c, kind: webhook, with: {url: x}, rides_on: [calls]}]}}
rules: [{name: silent, fault: PlatformHung, kinds: [platform], title: x,
         terms: [{name: a, evidence: call, when: self.call_other.answered}]}]
"""
    warnings = loaded(text).warnings
    assert list(warnings) == sorted(warnings)
    # Sorted by file, and the shipped files may lie anywhere.
    assert {warning.message for warning in warnings} == {
        "lonely is the only member of the redundancy group trunks",
        "the rule silent is idle for platform: nothing offers self.call_other.answered",
        "every channel of everyone here rides on what is being watched: when it fails nobody is told",
    }


def test_one_s_own_runbook_replaces_the_shipped_one(loaded: Loader, tmp_path: Path) -> None:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "failover.yaml").write_text(
        """
runbook: failover
title: {zh: 自己的, en: Our own}
summary: Ours.
steps: [{name: say, title: {zh: 记录, en: Note}, action: note, with: {zh: 已记录, en: noted}}]
"""
    )
    settings = loaded("runbooks: [runbooks]")
    assert settings.policy.runbooks["failover"].title.en == "Our own"
    assert any("replaces the runbook failover of" in warning.message for warning in settings.warnings)


def test_an_approval_that_nobody_can_give_is_warned_about(loaded: Loader, tmp_path: Path) -> None:
    (tmp_path / "runbooks").mkdir()
    approvals = [("any", "operator"), ("team", "应急组"), ("nobody", "chief")]
    steps = "".join(
        f"  - {{name: {name}, title: x, approve: {{role: {role}, expires: 5m}}}}\n"
        for name, role in approvals
    )
    (tmp_path / "runbooks" / "ask.yaml").write_text(f"runbook: ask\ntitle: x\nsummary: x\nsteps:\n{steps}")
    messages = [warning.message for warning in loaded("runbooks: [runbooks]").warnings]
    assert messages == ["nobody waits for the role chief, which nobody has"]


def test_a_wrong_runbook_is_reported_once_and_not_as_missing(loaded: Loader, tmp_path: Path) -> None:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "repair.yaml").write_text("runbook: repair\ntitel: x\n")
    text = """
runbooks: [runbooks]
domains: [{fault: DeviceDown, domain: device, repair: repair}]
"""
    with pytest.raises(ConfigurationError) as caught:
        loaded(text)
    assert {problem.path for problem in caught.value.problems} == {"titel", "title", "summary", "steps"}
    assert {problem.file for problem in caught.value.problems} == {str(tmp_path / "runbooks" / "repair.yaml")}


def test_the_revision_names_the_content_and_nothing_else(loaded: Loader) -> None:
    first, same, other = loaded("hours: {}"), loaded("hours: {}"), loaded("hours: {opens: '08:00'}")
    assert first.revision == same.revision != other.revision
    assert len(first.revision) == 64


def test_an_included_file_is_read_once(loaded: Loader) -> None:
    assert loaded(base=f"{PLATFORM}, {GOLDEN / 'tables.yaml'}").policy.name == "small"


def test_shipped_files_by_name(loaded: Loader) -> None:
    assert loaded(base="shipped:platform.yaml").policy.name == "small"


def test_problems_are_an_error(loaded: Loader) -> None:
    with pytest.raises(ConfigurationError, match="own.yaml:2: nodes: unknown key; closest: node"):
        loaded("nodes: {}")


ETCD = """
node:
  name: n1
  coordination:
    {kind: etcd, cluster: ring, endpoints: ["http://10.0.0.1:2379"], ttl: 2s, authority: ca.pem, accept_old_etcd: true}
"""


def test_several_nodes(loaded: Loader, tmp_path: Path) -> None:
    found = loaded(ETCD).node.coordination
    assert (found.kind, found.cluster, found.ttl, found.endpoints) == (
        "etcd",
        "ring",
        2.0,
        ("http://10.0.0.1:2379",),
    )
    assert found.authority == tmp_path / "ca.pem"
    assert found.accept_old_etcd
    assert loaded("node: {name: n1}").node.coordination.kind == "local"


def test_nodes_that_take_over_from_each_other_want_one_archive(loaded: Loader) -> None:
    def warned(text: str) -> list[str]:
        return [warning.message for warning in loaded(text).warnings if warning.path == "node.archive"]

    (own,) = warned(ETCD)
    assert "a SQLite file of its own" in own
    assert warned(f"{ETCD}  archive: sqlite+aiosqlite:////srv/archive.db\n") == [own]
    assert warned(f"{ETCD}  archive: postgresql+asyncpg://db.example.net/ring\n") == []
    assert warned("node: {name: n1}") == []


@pytest.mark.parametrize(
    ("coordination", "message"),
    [
        ("{kind: etcd}", "endpoints: where the members of etcd answer"),
        ("{endpoints: ['http://a:1']}", "endpoints: only with kind: etcd"),
        ("{kind: etcd, endpoints: ['http://a:1'], ttl: 1.5}", "etcd counts whole seconds"),
        ("{kind: etcd, endpoints: ['http://a:1'], ttl: 1, timeout: 0.6}", "leaves no time for 0.6 s"),
        ("{kind: etcd, endpoints: ['http://a:1'], user: ring}", "user and password belong together"),
        ("{kind: etcd, endpoints: ['http://a:1'], user: u, password: secret}", "never written here"),
        ("{kind: etcd, endpoints: ['a:1']}", "endpoints[0]"),
    ],
)
def test_a_wrong_coordination_is_one_clear_error(loaded: Loader, coordination: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(f"node: {{coordination: {coordination}}}")
    (problem,) = caught.value.problems
    assert message in str(problem)
