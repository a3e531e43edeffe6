"""Values, lines and refusals of YAML documents."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.configuration import documents
from controller.configuration.documents import parse_document, read_document
from controller.model.errors import ConfigurationError

TEXT = """\
# a comment
name: demo
groups:
  calls:
    sides:
      - name: primary
        destination: "sip:127.0.0.1:15061"
      -
        name: backup
    rto: 3
shared: &shared {interval: 0.1}
again: *shared
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_document(text, "x.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_content_and_lines() -> None:
    document = parse_document(TEXT, "x.yaml")
    assert document.content["groups"]["calls"]["sides"][1] == {"name": "backup"}
    assert document.content["again"] == {"interval": 0.1}
    assert document.line(("name",)) == 2
    assert document.line(("groups", "calls", "sides", 0, "destination")) == 7
    assert document.line(("groups", "calls", "sides", 1, "name")) == 9
    assert document.line(("groups", "calls", "sides", 1, "absent")) == 9
    assert document.line(("again", "interval")) == 12
    assert document.line(("groups", "calls", "tagged-union[x]", "rto")) == 10


def test_part_keeps_its_whole_path() -> None:
    part = parse_document(TEXT, "x.yaml").at("groups", "calls", "sides", 0)
    assert part.content["name"] == "primary"
    assert str(part.problem(("destination",), "bad")) == "x.yaml:7: groups.calls.sides[0].destination: bad"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("22:30", "22:30"),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ('"3"', "3"),
        ("2026-01-01", "2026-01-01"),
        (".inf", ".inf"),
        ("", None),
    ],
)
def test_scalars_are_what_a_person_wrote(text: str, value: object) -> None:
    content = parse_document(f"a: {text}", "x.yaml").content
    assert content == {"a": value}
    assert type(content["a"]) is type(value)


def test_keys_stay_text() -> None:
    assert parse_document("1: a\ntrue: b", "x.yaml").content == {"1": "a", "true": "b"}


def test_every_duplicate_key_is_reported() -> None:
    assert problems("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n") == [
        "x.yaml:4: b.c: the key c is given twice; first on line 3",
        "x.yaml:5: a: the key a is given twice; first on line 1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\nb: 2", "x.yaml:2: not YAML: while parsing a flow sequence did not find expected ',' or ']'"),
        (
            "a: !!python/object/apply:os.system [x]",
            "x.yaml:1: a: the tag tag:yaml.org,2002:python/object/apply",
        ),
        ("a: 1\n---\nb: 2", "x.yaml:2: more than one document in a file"),
        ("a: *nothing", "x.yaml:1: a: the alias *nothing refers to nothing before it"),
        ("a: &a [*a]", "x.yaml:1: a[0]: the alias *a refers to nothing before it"),
        ("[1]: 2", "x.yaml:1: a key must be plain text"),
        ("b: &b {c: 1}\na:\n  <<: *b", "x.yaml:3: a.<<: merge keys are not available"),
        ("\x00", "x.yaml: not YAML: "),
    ],
)
def test_refusals(text: str, expected: str) -> None:
    assert problems(text)[0].startswith(expected)


def test_depth_is_limited() -> None:
    assert problems("[" * 100_000) == ["x.yaml:1: nested deeper than 64"]


def test_aliases_can_not_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert problems("\n".join(lines))[0].endswith("more than 2000000 values, aliases expanded")


def test_a_file_that_is_not_there_is_a_problem(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read_document(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_a_problem(tmp_path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigurationError, match=r"name\.yaml:2: not UTF-8 text"):
        read_document(path, shown="name.yaml")


def test_a_file_that_is_too_large_is_a_problem(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(documents, "LARGEST_FILE", 10)
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\nb: 222222\n")
    with pytest.raises(ConfigurationError, match="larger than"):
        read_document(path)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw, on a loaded machine
@given(st.text(max_size=200))
def test_any_text_gives_a_document_or_problems(text: str) -> None:
    try:
        document = parse_document(text, "x.yaml")
    except ConfigurationError as error:
        assert error.problems
    else:
        assert document.line() >= 1
