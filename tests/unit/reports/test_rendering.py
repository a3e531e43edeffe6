from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.drills import InjectState, Objective, ObjectiveResult, Scenario
from controller.model.facts import FactKind
from controller.model.incidents import IncidentState
from controller.model.pages import PageState
from controller.model.runbooks import Text
from controller.reports import headings
from controller.reports.document import Bar, Document, PhaseBar
from controller.reports.drill_record import drill_record
from controller.reports.html import html
from controller.reports.human_sections import human_sections
from controller.reports.markdown import escape, markdown
from controller.reports.phase_bar import phase_bar, ticks
from controller.reports.review import Background, make_review
from controller.reports.review_document import LONGEST_ROW, SHOWN_OF_A_ROW, review_document
from controller.reports.values import Language
from controller.reports.voice import Voice
from tests.builders.reviewing import FAULT, GROUP, INCIDENT, MEASURED, Story, background, drill, page, zombie

LANGUAGES = pytest.mark.parametrize("language", list(Language))

HOSTILE = "<script>alert(1)</script> | `x` **b** [a](http://e) \n# h \"q\" 's' & {{ 7*7 }}"


def document(story: Story, language: Language = Language.EN, known: Background | None = None) -> Document:
    entries = story.entries()
    review = make_review(entries, "INC-0007", known if known is not None else background(entries))
    assert review is not None
    return review_document(review, language)


class Elements(HTMLParser):
    """Which elements, ids and text a page has. Void elements are not closed; every other one must be."""

    VOID = frozenset({"meta", "line", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)
        self.ids.extend(value for name, value in attrs if name == "id" and value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


def tables(text: str) -> list[list[int]]:
    """The number of cells in each row of each Markdown table."""
    found: list[list[int]] = [[]]
    for row in text.splitlines():
        if row.startswith("|"):
            found[-1].append(len(re.findall(r"(?<!\\)\|", row)) - 1)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


# What it says


def test_the_severity_says_which_rule_fired_and_why() -> None:
    text = markdown(document(zombie()))
    assert "SEV1 because the active side is broken in business hours: all calls are affected" in text
    assert "rule platform-down" in text


@pytest.mark.parametrize(
    ("confirmed", "said"),
    [
        ("chen", "grade II, confirmed by 陈主任"),
        ("", "grade II (proposed by rule, not confirmed by a person)"),
    ],
)
def test_the_grade_says_whether_a_person_confirmed_it(confirmed: str, said: str) -> None:
    story = Story()
    story.tell(0.4, FactKind.INCIDENT_OPENED, "INC-0007", replace(INCIDENT, grade_confirmed_by=confirmed))
    assert said in markdown(document(story))


@pytest.mark.parametrize(
    ("measured", "zh", "en"),
    [
        (MEASURED, "23 次（实测：", "23 (measured at the edges"),
        (
            (("calls_source", "baseline"), ("calls_baseline", 100.0)),
            "53 ～ 161 次（估算：",
            "53 to 161 (estimated:",
        ),
        ((), "未知（没有实测", "unknown (neither measured"),
    ],
)
def test_calls_lost_always_name_their_source(
    measured: tuple[tuple[str, object], ...], zh: str, en: str
) -> None:
    story = zombie(measured=measured)  # type: ignore[arg-type]
    assert zh in markdown(document(story, Language.ZH))
    assert en in markdown(document(story, Language.EN))


def test_a_phase_without_both_ends_is_unknown() -> None:
    story = Story()
    story.tell(0.4, FactKind.INCIDENT_OPENED, "INC-0007", INCIDENT)
    text = markdown(document(story))
    (row,) = [line for line in text.splitlines() if line.startswith("| Switch |")]
    assert row == "| Switch | unknown | unknown | unknown |"
    assert "goes on" in text and "resolved" not in text.split("## Summary")[0].replace("Resolved", "")


@LANGUAGES
def test_what_people_must_write_is_empty_and_blocks_closure(language: Language) -> None:
    made = document(zombie(), language)
    human = [section for section in made.sections if section.human]
    assert len(human) == 10
    for section in human:
        assert section.title in made.blocking
    assert len(Elements(html(made)).said.split(made.blocking_tag)) - 1 == 10


@LANGUAGES
def test_every_entry_is_in_the_timeline_under_its_number(language: Language) -> None:
    entries = zombie().entries()
    made = html(document(zombie(), language))
    assert {f"e{entry.sequence}" for entry in entries} <= set(Elements(made).ids)


def test_a_storm_is_shown_by_its_first_entries_and_a_count() -> None:
    story = Story()
    story.tell(0.0, FactKind.INCIDENT_OPENED, "INC-0007", INCIDENT)
    for number in range(1000):
        story.tell(0.1, FactKind.FAULT_RAISED, f"phone{number}", kind="DeviceDown")
    made = document(story)
    rows = made.sections[-1].blocks[0].rows  # type: ignore[union-attr]
    assert len(rows) == 1 + SHOWN_OF_A_ROW + 1
    assert f"{1000 - SHOWN_OF_A_ROW} more entries" in rows[-1][-1].text
    short = Story(facts=story.facts[: 1 + LONGEST_ROW])
    assert len(document(short).sections[-1].blocks[0].rows) == 1 + LONGEST_ROW  # type: ignore[union-attr]


@LANGUAGES
def test_a_drill_is_marked_first_and_last(language: Language) -> None:
    for text in (
        markdown(document(zombie(drill=True), language)),
        Elements(html(document(zombie(drill=True), language))).said,
    ):
        mark = "这是一次演练" if language is Language.ZH else "This is a drill"
        lines = [line for line in text.split("body")[-1].splitlines() if line.strip()]
        assert mark in lines[-1] and text.count(mark) == 2
    assert "演练】" not in markdown(document(zombie(), Language.ZH))


def test_an_altered_record_is_said_at_the_top() -> None:
    entries = zombie().entries()
    entries[3] = entries[3]._replace(wall=entries[3].wall + 1)
    review = make_review(entries, "INC-0007")
    assert review is not None
    text = markdown(review_document(review, Language.EN))
    assert "the record may have been altered" in text.split("## At a glance")[0]
    assert "altered" not in markdown(document(zombie()))


def test_the_digest_is_in_the_footer_and_at_the_foot_of_each_page() -> None:
    entries = zombie().entries()
    made = html(document(zombie()))
    assert made.count(entries[-1].digest) == 1
    assert f'content: "INC-0007 · {entries[-1].digest[:16]}"' in made


def test_nobody_told_and_nothing_done_is_said() -> None:
    story = Story()
    story.tell(0.4, FactKind.INCIDENT_OPENED, "INC-0007", replace(INCIDENT, state=IncidentState.OPEN))
    text = markdown(document(story))
    for said in ("Nobody was paged.", "No runbook ran", "No real call was made", "Nothing was refused"):
        assert said in text


@LANGUAGES
def test_no_entry_of_the_story_leaves_a_gap_in_its_line(language: Language) -> None:
    """A phrase shows "?" for a value that the core did not record."""
    rows = document(zombie(), language).sections[-1].blocks[0].rows  # type: ignore[union-attr]
    assert [row[-1].text for row in rows if "?" in row[-1].text] == []


# What it can't be made to say


def hostile(known: bool = True) -> Document:
    story = zombie(title=HOSTILE)
    story.tell(140.0, FactKind.NOTE, "INC-0007", actor=HOSTILE, text=HOSTILE)
    story.tell(
        141.0,
        FactKind.PAGE_ENDED,
        "PAGE-0009",
        replace(page(PageState.ACKNOWLEDGED), acknowledged_by=HOSTILE),
        replace(FAULT, rule=HOSTILE, first_broken_rung=HOSTILE),
        replace(GROUP, name=HOSTILE),
        state="acknowledged",
    )
    text = Text(zh=HOSTILE, en=HOSTILE)
    names = Background(
        titles={HOSTILE: text, "primary": text},
        runbooks={"failover": text},
        steps={("failover", "switch"): text},
        people={"li": HOSTILE, HOSTILE: HOSTILE},
        because={"platform-down": text},
    )
    return document(story, Language.EN, names if known else Background())


@pytest.mark.parametrize("known", [True, False])
def test_markup_in_names_and_notes_stays_text_in_html(known: bool) -> None:
    made = hostile(known)
    assert any(HOSTILE.split()[0] in row[1].text for row in made.sections[1].blocks[0].rows)  # type: ignore[union-attr]
    found = Elements(html(made))
    assert "script" not in found.tags and "a" not in found.tags and found.open == []
    assert "<script>alert(1)</script>" in found.said
    assert not [name for name, _ in found.attributes if name.startswith("on")]


@pytest.mark.parametrize("known", [True, False])
def test_markup_in_names_and_notes_stays_text_in_markdown(known: bool) -> None:
    text = markdown(hostile(known))
    assert "<script>" not in text and "[a](" not in text and "**b**" not in text
    assert "&lt;script&gt;" in text
    for table in tables(text):
        assert len(set(table)) == 1, table
    headed = [line for line in text.splitlines() if line.startswith("#")]
    assert len([line for line in headed if line.startswith("# ")]) == 1


def test_the_table_counter_sees_a_broken_row() -> None:
    assert tables("| a | b |\n|---|---|\n| x | y | z |") == [[2, 2, 3]]


def test_what_would_end_a_css_string_does_not_reach_the_style_sheet() -> None:
    made = replace(document(zombie()), running='x"; } body { display: none } </style><script>')
    style = html(made).split("<style>")[1].split("</style>")[0]
    assert "display: none }" not in style.split("@page")[1].split("}")[0]
    assert Elements(html(made)).tags.count("script") == 0


@given(st.text())
def test_escaped_text_is_one_line_without_a_bare_pipe_or_tag(text: str) -> None:
    line = escape(text)
    assert "\n" not in line and "\r" not in line and "|" not in line and "<" not in line
    assert not re.match(r"#|[-+](\s|$)|\d+[.)](\s|$)|={1,}$", line)
    assert not re.search(r"(?<!\\)(\\\\)*[`*\[\]$~{}]", line)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b and _c_", "a_b and \\_c\\_"),
        ("1.12 s", "1.12 s"),
        ("1. first", "1\\. first"),
        ("- point", "\\- point"),
        ("+0.410", "+0.410"),
        ("# head", "\\# head"),
        ("a | b", "a &#124; b"),
        ("back\\slash", "back\\\\slash"),
        ("two\n\nlines\u0007", "two lines"),
        ("---", "\\---"),
    ],
)
def test_only_what_would_be_markup_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped


# One self-contained file


@LANGUAGES
def test_the_page_asks_for_nothing_and_runs_nothing(language: Language) -> None:
    made = html(document(zombie(), language))
    found = Elements(made)
    assert found.open == []
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(found.tags)
    assert not [
        name for name, _ in found.attributes if name in ("src", "href", "action") or name.startswith("on")
    ]
    style = made.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style
    assert "@media print" in style and "A4" in style
    assert dict(found.attributes).get("lang") == ("zh-CN" if language is Language.ZH else "en")
    assert "default-src 'none'" in str(found.attributes)
    assert len(found.ids) == len(set(found.ids))


def test_the_phase_bar_is_drawn_for_paper_and_for_a_phone() -> None:
    made = html(document(zombie()))
    assert made.count("<svg") == 2 and 'class="phases paper"' in made and 'class="phases phone"' in made
    assert made.count('class="limit"') == 2


def test_bars_stand_where_their_seconds_are() -> None:
    chart = PhaseBar(
        title="s",
        seconds=10.0,
        bars=(
            Bar(name="a<b", begins=0.0, ends=5.0, label="5 s"),
            Bar(name="b", begins=5.0, ends=10.0, label="5 s"),
        ),
        limit=20.0,
        limit_label="RTO",
    )
    drawn = str(phase_bar(chart))
    bars = re.findall(r'class="bar b\d" x="([\d.]+)" y="\d+" width="([\d.]+)"', drawn)
    assert [(float(x), float(width)) for x, width in bars] == [(96.0, 264.0), (360.0, 264.0)]
    assert "a&lt;b" in drawn
    assert "RTO" not in drawn  # past the end of the scale


@given(st.floats(min_value=1e-6, max_value=1e7))
def test_ticks_are_few_and_inside(seconds: float) -> None:
    found = ticks(seconds)
    assert 1 < len(found) <= 10 and found[0] == 0.0
    assert found == sorted(set(found)) and found[-1] <= seconds * (1 + 1e-6)


# Words


def test_every_heading_that_is_used_is_there_in_both_languages() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in Path(headings.__file__).parent.glob("*.py")
        if path.name != "headings.py"
    )
    used = set(re.findall(r'word\(\s*"(\w+)"', sources))
    assert used <= headings.HEADINGS.keys()
    unused = [
        key
        for key in headings.HEADINGS
        if not re.search(rf"['\"]{key}['\"]", sources) and not key.startswith(DERIVED)
    ]
    assert unused == []
    for key, (chinese, english) in headings.HEADINGS.items():
        assert chinese and english, key
        assert re.findall(r"{\w+}", chinese) == re.findall(r"{\w+}", english), key


DERIVED = (
    ("human_", "evaluate_", "improvement", "closure", "people")
    + tuple(
        str(kind)
        for kind in (
            FactKind.INCIDENT_OPENED,
            FactKind.SWITCH_STARTED,
            FactKind.RUN_STARTED,
            FactKind.SWITCH_PHASE,
            FactKind.PAGE_SENT,
            FactKind.PAGE_ENDED,
            FactKind.INCIDENT_ACKNOWLEDGED,
            FactKind.INCIDENT_MITIGATED,
            FactKind.INCIDENT_RESOLVED,
        )
    )
    + ("first_bad", "mitigate", "resolve", "true", "false")
)
"""Made from a name at run time."""


@pytest.mark.parametrize(
    ("seconds", "en", "zh"),
    [
        (0.824, "0.82 s", "0.82 秒"),
        (9.999, "10.0 s", "10.0 秒"),
        (119.94, "119.9 s", "119.9 秒"),
        (200.4, "3 min 20 s", "3 分 20 秒"),
        (7199.9, "2 h 0 min", "2 小时 0 分"),
        (26_400.0, "7 h 20 min", "7 小时 20 分"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, en: str, zh: str) -> None:
    assert Voice(language=Language.EN, background=Background()).duration(seconds) == en
    assert Voice(language=Language.ZH, background=Background()).duration(seconds) == zh


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.41, "+0.410"), (-0.25, "-0.250"), (200.46, "+3:20.5"), (26_400.0, "+7:20:00")]
)
def test_offsets(seconds: float, said: str) -> None:
    assert Voice(language=Language.EN, background=Background()).offset(seconds) == said


def test_times_show_their_zone() -> None:
    voice = Voice(language=Language.ZH, background=background())
    assert voice.date_time(INCIDENT.onset_latest_wall) == "2026-01-10 02:22:01.250+08:00"
    assert voice.date_time(0.0) == "" and voice.date_time(1e300) == ""


@LANGUAGES
def test_human_sections_have_no_answers_in_them(language: Language) -> None:
    voice = Voice(language=language, background=Background())
    for section in human_sections(voice):
        for block in section.blocks:
            assert block.first in ((), ("1", "2", "3", "4", "5"))  # type: ignore[union-attr]


# Drill records


SCENARIO = Scenario(
    name="zombie",
    title=Text(zh="主用平台假死", en="Primary goes zombie"),
    group="main",
    component="primary",
    inject=drill().inject,
    undo=drill().undo,
    expires=120.0,
    objectives=(Objective(name="detect", limit=1.0), Objective(name="acknowledge", limit=30.0, hard=True)),
    expected_fault="PlatformZombie",
)


def record(language: Language = Language.EN, **changes: object) -> str:
    entries = zombie(drill=True).entries()
    review = make_review(entries, "INC-0007", background(entries))
    assert review is not None
    made = drill_record(
        drill(**changes), language, scenario=SCENARIO, reviews=(review,), background=background(entries)
    )
    return markdown(made)


def test_a_drill_record_holds_target_against_actual() -> None:
    text = record()
    assert "| Detect | at most 1.00 s | 0.50 s | met |" in text
    assert "| Acknowledge | at most 30.0 s | 41.0 s | missed |" in text
    assert "| Verify | – | 1.30 s | – |" in text
    assert "75%" in text and "live (a real fault was put in)" in text


@pytest.mark.parametrize(("language", "word"), [(Language.EN, "not measured"), (Language.ZH, "未测得")])
def test_an_objective_that_was_not_measured_is_neither_met_nor_missed(language: Language, word: str) -> None:
    result = ObjectiveResult(name="acknowledge", limit=300.0, actual=None, met=None)
    text = record(language, results=(result,), milestones=(), passed=None)
    assert sum(line.endswith(f"| {word} |") for line in text.splitlines()) == 2, (
        "in the timing and the evaluation"
    )
    assert "missed" not in text and "未达到" not in text


def test_a_switch_slower_than_the_configuration_counts_is_a_finding_of_the_drill_record() -> None:
    results = (
        ObjectiveResult(name="fence", limit=0.3, actual=0.45, met=False),
        ObjectiveResult(name="redirect", limit=0.06, actual=0.02, met=True),
    )
    said = record(results=results)
    assert "Fence (as the configuration counts it) | at most 0.30 s | 0.45 s | longer than the" in said
    assert "Redirect (as the configuration counts it) | at most 0.06 s | 0.02 s | met" in said


def test_a_drill_record_leaves_to_people_what_only_they_know() -> None:
    text = record()
    for label in ("Place", "Approved by", "Planned for", "Next due"):
        assert f"| **{label}** |  |" in text
    for item in ("Command and coordination", "Fitness of the equipment"):
        assert f"| {item} | | |" in text


def test_a_drill_record_opens_and_closes_with_the_mark() -> None:
    lines = [line for line in record(Language.ZH).splitlines() if line]
    assert lines[0] == lines[-1] and "【演练】这是一次演练" in lines[0]


def test_an_inject_that_is_left_is_an_alarm() -> None:
    assert "The inject could not be undone" in record(inject_state=InjectState.UNDO_FAILED)
    assert "could not be undone" not in record()


def test_a_drill_that_never_got_so_far_is_recorded_as_unknown() -> None:
    made = drill_record(
        drill(
            milestones=(),
            results=(),
            score=None,
            passed=None,
            diagnosed="",
            injected_wall=0.0,
            undone_wall=0.0,
        ),
        Language.EN,
    )
    text = markdown(made)
    assert "**Score**: unknown" in text and "zombie" in text
    assert Elements(html(made)).open == []


def test_an_inject_s_parameters_are_not_printed() -> None:
    """They may hold credentials."""
    assert "192.0.2.11" not in record()
