"""Conditions: typed at load, never TRUE by ignorance, cheap."""

from __future__ import annotations

import pickle
import timeit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.configuration.conditions import compile_condition
from controller.model.errors import ConditionError
from controller.model.faults import Verdict
from controller.model.health import HealthState

VARIABLES = {
    "self.sip.state": "string",
    "self.sip.failures": "int",
    "self.host.state": "string",
    "self.call.answered": "bool",
    "edge.failures": "double",
}
HUNG = 'self.sip.state == "DOWN" && self.sip.failures >= 3 && self.host.state != "DOWN"'
SEEN = {"self.sip.state": HealthState.DOWN, "self.sip.failures": 4, "self.host.state": "UP"}


def test_reads_only_what_it_names() -> None:
    condition = compile_condition(HUNG, VARIABLES)
    assert condition.source == HUNG
    assert condition.variables == ("self.host.state", "self.sip.failures", "self.sip.state")
    assert condition.evaluate(SEEN) is Verdict.TRUE
    assert condition.evaluate({**SEEN, "self.sip.state": "UP"}) is Verdict.FALSE


def test_names_inside_strings_and_comments_are_not_variables() -> None:
    condition = compile_condition(
        "\"self.host.state\" == 'a' || self . sip . state == r'b' // edge.failures", VARIABLES
    )
    assert condition.variables == ("self.sip.state",)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, Verdict.UNKNOWN),
        ({"self.sip.state": "UP"}, Verdict.FALSE),
        ({**SEEN, "self.sip.failures": None}, Verdict.UNKNOWN),
        ({**SEEN, "self.sip.failures": "4"}, Verdict.UNKNOWN),
        ({**SEEN, "self.sip.failures": 3.5}, Verdict.UNKNOWN),
        ({**SEEN, "self.sip.failures": 3.0}, Verdict.TRUE),
        ({**SEEN, "self.sip.failures": True}, Verdict.UNKNOWN),
        ({**SEEN, "self.sip.failures": 10**40}, Verdict.UNKNOWN),
        ({**SEEN, "self.sip.state": ["DOWN"]}, Verdict.UNKNOWN),
    ],
)
def test_what_is_missing_or_of_another_type_is_unknown(values, verdict) -> None:
    assert compile_condition(HUNG, VARIABLES).evaluate(values) is verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ('self.sip.state != "UP"', Verdict.UNKNOWN),
        ("!self.call.answered", Verdict.UNKNOWN),
        ("self.call.answered || true", Verdict.TRUE),
        ("self.call.answered && false", Verdict.FALSE),
        ("self.call.answered ? true : true", Verdict.UNKNOWN),
        ("1 / 0 == 1", Verdict.UNKNOWN),
        ("dyn(1) < dyn('a')", Verdict.UNKNOWN),
    ],
)
def test_nothing_known(source: str, verdict: Verdict) -> None:
    assert compile_condition(source, VARIABLES).evaluate({}) is verdict


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('self.sip.stat == "DOWN"', "unknown variable self.sip.stat; closest: self.sip.state"),
        ("nonsense", "unknown variable nonsense; none is close"),
        (
            'self.sip.stat == "x" || edge.failure > 1.0',
            "unknown variable self.sip.stat; closest: self.sip.state, self.host.state, self.sip.failures; "
            "unknown variable edge.failure; closest: edge.failures",
        ),
        ("self.sip.failures", "the result must be true or false, but its type is int"),
        ("dyn(true)", "the result must be true or false, but its type is dyn"),
        (
            "edge.failures > 1",
            "found no matching overload for '_>_' applied to '(double, int)' (line 1, column 15);"
            " write a double with its point, as 1.0",
        ),
        ("self.sip.state ==", "Syntax error: mismatched input '<EOF>'"),
        ("", "Syntax error"),
        ("has(self.call.answered)", "has() is not available"),
        ("[1, 2].exists(x, x == self.sip.failures)", "exists() is not available"),
        ("(" * 200 + "true" + ")" * 200, "parentheses nested too deeply"),
        ("true || " * 1000 + "true", "longer than 4000"),
    ],
)
def test_refused_at_load(source: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(source, VARIABLES)
    assert message in str(caught.value)


def test_a_variable_of_no_known_type_is_refused() -> None:
    with pytest.raises(ConditionError, match="unknown type 'number'"):
        compile_condition("a > 1", {"a": "number"})


def test_survives_pickling() -> None:
    condition = compile_condition(HUNG, VARIABLES)
    copy = pickle.loads(pickle.dumps(condition))
    assert copy == condition
    assert copy.evaluate(SEEN) is Verdict.TRUE


def test_is_compiled_once() -> None:
    assert compile_condition(HUNG, VARIABLES) is compile_condition(HUNG, dict(VARIABLES))


VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw, on a loaded machine
@given(st.dictionaries(st.sampled_from(sorted(VARIABLES)), VALUE))
def test_never_raises_and_true_only_when_all_is_known(values) -> None:
    verdict = compile_condition(HUNG, VARIABLES).evaluate(values)
    if verdict is Verdict.TRUE:
        assert values["self.sip.state"] == "DOWN"
        assert values["self.sip.failures"] >= 3
        assert isinstance(values["self.host.state"], str)


def test_is_cheap_even_among_many_variables() -> None:
    """Measured 6 us; the bound leaves room for a loaded machine."""
    condition = compile_condition(HUNG, VARIABLES)
    values = {f"self.rung{n}.state": "UP" for n in range(200)} | SEEN
    best = min(timeit.repeat(lambda: condition.evaluate(values), number=500, repeat=20)) / 500
    assert best < 60e-6
