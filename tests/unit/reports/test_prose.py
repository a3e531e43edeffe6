from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.encoding import plain
from controller.model.facts import FactKind
from controller.model.faults import FaultKind, Impact, Urgency
from controller.model.groups import Refusal
from controller.model.incidents import SeverityReason
from controller.reports.phrases import PHRASES
from controller.reports.prose import (
    Language,
    entry_line,
    fact_line,
    fault_name,
    refusal_text,
    severity_text,
)

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
            {"rung": "sip", "from": "UP", "to": "DOWN", "outcome": "NO_REPLY", "code": 0},
            "primary sip is down, was up (NO_REPLY)",
            "primary 的 sip 由正常变为中断（NO_REPLY）",
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


VALUES = st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none())


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
