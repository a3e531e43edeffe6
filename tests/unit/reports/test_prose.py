from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.model.encoding import plain
from controller.model.facts import FactKind
from controller.model.faults import FaultKind, Impact, Urgency
from controller.model.groups import Refusal
from controller.model.incidents import SeverityReason
from controller.reports.answers import ANSWERS, SENTENCES
from controller.reports.phrases import PHRASES
from controller.reports.prose import (
    Language,
    entry_line,
    fact_line,
    fault_name,
    refusal_text,
    severity_text,
)
from controller.reports.reasons import REASONS

LANGUAGES = list(Language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(FactKind))
def test_every_kind_of_fact_has_a_phrase(kind: FactKind, language: Language) -> None:
    names = set(re.findall(r"\{(\w+)\}", PHRASES[kind].zh)) | set(re.findall(r"\{(\w+)\}", PHRASES[kind].en))
    data = dict.fromkeys(names - {"subject", "actor"}, "x")
    full = fact_line(kind, "THING", "li", data, language)
    assert "li" in full
    assert not set(full) & set("{}[]?"), full
    bare = fact_line(kind, "THING", "", {}, language)
    assert not set(bare) & set("{}[]"), bare
    assert bare.strip()


def test_both_languages_need_the_same_values() -> None:
    def needed(phrase: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", re.sub(r"\[[^\]]*\]", "", phrase)))

    def named(phrase: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", phrase))

    for kind, phrase in PHRASES.items():
        assert needed(phrase.zh) == needed(phrase.en), kind
        assert named(phrase.zh) == named(phrase.en), kind
        assert phrase.zh.count("[") == phrase.zh.count("]"), kind
        assert phrase.en.count("[") == phrase.en.count("]"), kind


@pytest.mark.parametrize("refusal", list(Refusal))
def test_every_refusal_has_words(refusal: Refusal) -> None:
    chinese, english = (refusal_text(refusal, language) for language in LANGUAGES)
    assert chinese != english != str(refusal)


@pytest.mark.parametrize("fault", list(FaultKind))
def test_every_fault_has_a_name(fault: FaultKind) -> None:
    chinese, english = (fault_name(fault, language) for language in LANGUAGES)
    assert chinese != english != str(fault)


def test_a_switch_reads_well() -> None:
    data = {
        "verb": "failover",
        "origin": "primary",
        "target": "backup",
        "epoch": 7,
        "evidence": "probe,edge",
        "bypassed": "",
        "reason": "",
    }
    assert (
        fact_line("switch_started", "main", "", data, Language.EN)
        == "main failover started: primary -> backup, epoch 7, evidence: signalling probes, live traffic at the edge"
    )
    assert (
        fact_line("switch_started", "main", "", data, Language.ZH)
        == "main 开始故障切换：primary → backup，纪元 7，证据：信令探测、边缘真实流量"
    )


def test_refusals_are_named_one_by_one() -> None:
    data = {"target": "backup", "refusals": "cooldown,not_armed"}
    line = fact_line("switch_refused", "main", "li", data, Language.EN)
    assert line == (
        "main not switched to backup: cooling down after the last switch, the group is not armed (by li)"
    )


def test_an_outcome_with_its_seconds() -> None:
    data = {"verb": "failover", "outcome": "verified", "active": "backup", "seconds": 0.41234, "reason": ""}
    line = fact_line("switch_ended", "main", "", data, Language.EN)
    assert line == "main failover ended: switched and verified by a real call, backup is active, took 0.41 s"


def test_states_are_named_by_the_kind_of_fact() -> None:
    page = fact_line("page_ended", "PAGE-0001", "li", {"state": "acknowledged", "by": "li"}, Language.EN)
    assert page == "PAGE-0001 ended: acknowledged by li (by li)"
    sent = {"person": "li", "channel": "robot", "state": "failed", "message": "503"}
    line = fact_line("page_delivery", "PAGE-0001", "", sent, Language.ZH)
    assert line == "PAGE-0001 给 li 的通知（robot）发送失败：503"


def test_an_entry_from_the_api() -> None:
    entry = {"kind": "lease_acquired", "subject": "a", "actor": "", "data": {}, "sequence": 3}
    assert entry_line(entry, Language.EN) == "this node holds the lease: it may act"


@pytest.mark.parametrize(
    "kind, data, english, chinese",
    [
        (
            "fault_raised",
            {"kind": "PlatformDead", "rule": "dead", "evidence": "probe,edge", "flapping": False},
            "fault: primary call platform dead (rule dead), evidence: signalling probes, live traffic at the edge",
            "诊断故障：primary 呼叫平台宕机（规则 dead），证据：信令探测、边缘真实流量",
        ),
        (
            "fault_suppressed",
            {"count": 1000, "cause": "DeviceDown:switch", "reason": "depends on it"},
            "1000 faults below are explained by switch device down",
            "1000 个下级故障已归并：由 switch 设备离线 引起",
        ),
        (
            "health_changed",
            {"rung": "sip", "previous": "UP", "current": "DOWN", "outcome": "NO_REPLY", "code": 0},
            "primary sip is down, was up (no reply)",
            "primary 的 sip 由正常变为中断（无应答）",
        ),
        (
            "note",
            {
                "message": "failover: succeeded",
                "run": "RUN-0001",
                "runbook": "failover",
                "outcome": "succeeded",
                "succeeded": True,
            },
            "note: runbook failover: succeeded",
            "备注：预案 failover 成功",
        ),
        (
            "note",
            {"milestones": "detect,decide"},
            "note: reached: the fault detected, the switch decided",
            "备注：达到里程碑：检出故障、决定切换",
        ),
        (
            "note",
            {"reason": "", "undo": "command", "command": "CMD-0007"},
            "note: undoing the inject (command)",
            "备注：撤销注入（command）",
        ),
        (
            "note",
            {"reason": "stopped by li: enough", "undo": "command"},
            "note: stopped by li: enough; undoing the inject (command)",
            "备注：由 li 停止：enough；撤销注入（command）",
        ),
        ("note", {"note": "a: ; b [c] {d}"}, "note: a: ; b [c] {d}", "备注：a: ; b [c] {d}"),
        ("note", {}, "note", "备注"),
        (
            "switch_ended",
            {
                "verb": "failover",
                "outcome": "needs_person",
                "reason": "not verified: answered by primary, not backup",
            },
            "primary failover ended: stopped where a person must go on: not verified: answered by primary, not backup",
            "primary 故障切换结束：停在须人工处理之处：未通过验证：由 primary 应答，而非 backup",
        ),
        (
            "switch_step_finished",
            {"verb": "verify", "status": "failed", "message": "a call failed: NO_REPLY 0"},
            "primary verification by a real call failed: a call failed: no reply (0)",
            "primary 真实呼叫验证失败：呼叫失败：无应答（0）",
        ),
        (
            "step_finished",
            {"step": "switch", "state": "failed", "message": "refused: cooldown,not_armed"},
            "primary step switch failed: refused: cooling down after the last switch, the group is not armed",
            "primary 步骤 switch 失败：被拒绝：冷却期内、该组未武装",
        ),
        (
            "response_chosen",
            {
                "fault": "PlatformDead:primary",
                "runbook": "failover",
                "reason": "large impact inside a switchable domain",
            },
            "response chosen for primary: primary call platform dead -> runbook failover",
            "选定处置：primary primary 呼叫平台宕机 → 预案 failover",
        ),
        (
            "fault_changed",
            {"kind": "PlatformHung", "change": "no longer explained by what it depends on"},
            "fault changed: primary call platform hung (host up, no SIP): no longer explained by what it depends on",
            "故障变化：primary 呼叫平台挂死（主机在线，SIP 无响应）：不再由所依赖的对象解释",
        ),
        (
            "drill_aborted",
            {"reason": "a real fault: TrunkDown:trunk1"},
            "drill primary aborted: a real fault: trunk1 trunk down",
            "演练 primary 中止：出现真实故障：trunk1 中继线路中断",
        ),
        ("note", {"zh": "你好", "en": "hello", "step": "x"}, "note: hello", "备注：你好"),
        (
            "incident_mitigated",
            {"reason": "switch SW-0001 verified"},
            "primary: the callers' impact is over: switch SW-0001 verified",
            "primary 影响已消除：切换 SW-0001 已验证",
        ),
        (
            "severity_changed",
            {"severity": 1, "before": 2, "rule": "all"},
            "primary is now SEV1, was SEV2, by rule all",
            "primary 定级由 SEV2 变为 SEV1，依据规则 all",
        ),
        ("controller_started", {"recovered": False}, "controller primary started", "控制器 primary 启动"),
        (
            "switch_intended",
            {"verb": "verify", "side": "backup", "epoch": 2, "command": "CMD-0009"},
            "primary will verify by a real call: backup (epoch 2, CMD-0009)",
            "primary 将以真实呼叫验证：backup（纪元 2，CMD-0009）",
        ),
        (
            "switch_intended",
            {"verb": "fence", "side": "backup", "epoch": 2, "command": "CMD-0009"},
            "primary will fence: backup (epoch 2, CMD-0009)",
            "primary 将隔离：backup（纪元 2，CMD-0009）",
        ),
        (
            "switch_step_finished",
            {"verb": "verify", "status": "succeeded", "side": "backup"},
            "primary verification by a real call succeeded, side backup",
            "primary 真实呼叫验证成功，应答侧 backup",
        ),
        (
            "request_refused",
            {"request": "run", "reasons": "missing_input:group,unknown_run"},
            "request run refused (primary): the input group is missing, no such run",
            "拒绝请求 run（primary）：缺少参数 group、没有这次执行",
        ),
    ],
)
def test_lines_read_well(kind: str, data: dict[str, object], english: str, chinese: str) -> None:
    assert fact_line(kind, "primary", "", data, Language.EN) == english
    assert fact_line(kind, "primary", "", data, Language.ZH) == chinese


def test_a_kind_from_a_newer_version_is_shown_as_it_stands() -> None:
    line = fact_line("moon_landed", "moon", "", {"crew": 2, "flag": ""}, Language.ZH)
    assert line == "moon landed moon crew=2"


@pytest.mark.parametrize("form", ["tuple", "list", "object"])
def test_a_severity_says_why(form: str) -> None:
    reason = SeverityReason("main-lines", Impact.ALL_CALLS, Urgency.IMMEDIATE, (("lines", 40),))
    given_: object = reason
    if form == "list":
        given_ = json.loads(json.dumps(plain(reason)))
    elif form == "object":
        given_ = {"rule": "main-lines", "impact": 1, "urgency": 1, "values": [["lines", 40]]}
    english = severity_text(given_, Language.EN)  # type: ignore[arg-type]
    assert english == "because all calls are affected, immediate (rule main-lines: lines=40)"
    chinese = severity_text(given_, Language.ZH)  # type: ignore[arg-type]
    assert chinese == "因为全部呼叫受影响，须立即处理（规则 main-lines：lines=40）"


def test_a_severity_says_yes_and_no() -> None:
    seen = (
        ("active_side", True),
        ("masked", False),
        ("redundancy_left", None),
        ("fault.kind", "PlatformHung"),
    )
    reason = SeverityReason("platform-down", Impact.ALL_CALLS, Urgency.IMMEDIATE, seen)
    assert severity_text(reason, Language.EN).endswith(
        "(rule platform-down: active_side=yes, masked=no, redundancy_left=unknown, fault.kind=PlatformHung)"
    )
    assert severity_text(reason, Language.ZH).endswith(
        "（规则 platform-down：active_side=是，masked=否，redundancy_left=未知，fault.kind=PlatformHung）"
    )


VALUES = st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none())


@settings(suppress_health_check=[HealthCheck.too_slow])  # a loaded machine is no finding
@given(
    st.sampled_from(list(FactKind)),
    st.dictionaries(
        st.sampled_from(
            ["severity", "reason", "reasons", "state", "verb", "until_wall", "seconds", "evidence", "fault"]
        ),
        VALUES,
    ),
    st.sampled_from(LANGUAGES),
)
def test_no_data_makes_it_fail(kind: FactKind, data: dict[str, object], language: Language) -> None:
    assert fact_line(kind, "x", "", data, language)


def test_every_reason_reads_in_chinese_without_english() -> None:
    for key, text in REASONS.items():
        assert not re.search(r"[A-Za-z]{2}", text.zh), key
    for reason in (
        "switch 7 verified",
        "not verified: a call is no evidence: own lag",
        "can't read back: no edge answers",
        "the edges obey a newer epoch, 12",
        "1 of 2 calls were answered in time",
        "audio: in",
        "redirecting failed",
        "12 of 40 dependents failed together",
        "incident resolved",
        "it is PlatformDead",
        "active 1, epoch 3",
        "its outcome stays unknown",
    ):
        chinese = refusal_text(reason, Language.ZH)
        assert not re.search(r"[A-Za-z]{2}", chinese.replace("own lag", "")), (reason, chinese)
        assert refusal_text(reason, Language.EN)


@pytest.mark.parametrize(
    ("answer", "chinese"),
    [
        ("no answer from edge1, edge2", "edge1, edge2 无应答"),
        ("no answer from edge1, and backup is not fenced", "edge1 无应答，且 backup 未隔离"),
        ("edge e1: epoch 3 is older than 5", "边缘 e1：纪元 3 旧于 5"),
        ("no connection to 10.0.0.1:80: Connection refused", "无法连接 10.0.0.1:80：连接被拒绝"),
        ("no connection to ring:80: [Errno 113] No route to host", "无法连接 ring:80：没有到主机的路由"),
        (
            "a fence is not ready: edge e1 has no epoch gate; /usr/bin/cut can't be run",
            "隔离手段未就绪：边缘 e1 不核对纪元；/usr/bin/cut 无法运行",
        ),
        ("primary is not fenced: nothing confirms it", "primary 未被隔离：没有任何确认"),
        ("not yet: sip:a is active at e1, e2", "尚未：sip:a 在 e1, e2 已启用"),
        ("leadership is not held", "未持有领导权"),
        ("/bin/ring was killed after 3 s", "/bin/ring 运行 3 秒后被终止"),
        ("edge e1 has no sip:a in set 9", "边缘 e1 的第 9 组没有 sip:a"),
        (
            "http://10.0.0.1:80: no answer to dispatcher.list: timeout",
            "http://10.0.0.1:80 对 dispatcher.list 无应答：超时",
        ),
    ],
)
def test_what_our_adapters_answer_reads_in_chinese(answer: str, chinese: str) -> None:
    assert refusal_text(answer, Language.ZH) == chinese
    data = {"verb": "fence", "status": "failed", "message": answer}
    assert chinese in fact_line("switch_step_finished", "calls", "", data, Language.ZH)
    assert not re.search("[\u4e00-\u9fff]", refusal_text(answer, Language.EN))


def test_the_words_of_adapters_are_translated_whole() -> None:
    assert not [text.zh for text in ANSWERS.values() if re.search(r"[A-Za-z]", text.zh)]
    for pattern, chinese, english in SENTENCES:
        places = re.compile(pattern).groups
        for text in (chinese, english):
            assert {int(place) for place in re.findall(r"\{(\d)\}", text)} == set(range(places)), pattern
        assert not re.search(r"[A-Za-z]", chinese), pattern


def test_what_a_device_says_of_itself_stays() -> None:
    for words in ("Trunk busy; try later", "rc=7 unexpected flag", "换线; 已复位"):
        assert refusal_text(words, Language.ZH) == words


def test_a_probe_s_note_is_translated_and_a_person_s_is_not() -> None:
    data = {"rung": "sip", "current": "DOWN", "note": "Connection refused"}
    assert "连接被拒绝" in fact_line("health_changed", "primary", "", data, Language.ZH)
    assert "Connection refused" in fact_line(
        "note", "INC-1", "li", {"note": "Connection refused"}, Language.ZH
    )
