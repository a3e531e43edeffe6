"""CEL conditions. The only file that knows cel-expr-python (the official C++ runtime).

A condition reads flat dotted variables of declared type, each one a single name to the type checker
("self.sip.state" is one variable, not a field of `self`). Its result is BOOL. Macros over lists and messages are
refused: there are no such variables, `has()` of a flat variable returns its value instead of its presence, and
without comprehensions an evaluation's cost is bounded by the length of its source.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cel_expr_python import cel

from controller.model.conditions import Condition
from controller.model.errors import ConditionError
from controller.model.faults import Verdict
from controller.model.moments import Value

LONGEST_SOURCE = 4000
"""Characters. Longer than any condition a person can review."""

MOST_KNOWN = 256
"""Verdicts remembered by a condition: most are asked again and again about the same few states and outcomes, and
the runtime takes ten times as long as looking one up."""

_TYPES: Mapping[str, Any] = {
    "string": cel.Type.STRING,
    "int": cel.Type.INT,
    "double": cel.Type.DOUBLE,
    "bool": cel.Type.BOOL,
}
_PLAIN: Mapping[str, type] = {"string": str, "int": int, "double": float, "bool": bool}
_MACROS = frozenset({"has", "all", "exists", "exists_one", "map", "filter"})

_TOKEN = re.compile(
    r"""
      //[^\n]*
    | (?P<raw>[rR][bB]?|[bB][rR])(?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"[^"\n]*"|'[^'\n]*')
    | [bB]?(?:\"\"\"(?s:(?:\\.|[^\\])*?)\"\"\"|'''(?s:(?:\\.|[^\\])*?)'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<chain>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)(?P<call>\s*\()?
    | \d[\w.]*
    """,
    re.VERBOSE,
)
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_COMPLAINT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


def compile_condition(source: str, variables: Mapping[str, str]) -> Condition:
    """Compile `source` against `variables` (dotted name -> "string", "int", "double" or "bool").

    Raises ConditionError when it does not parse or type-check, reads an undeclared variable (the closest declared
    names are given), or its result is not BOOL.
    """
    if len(source) > LONGEST_SOURCE:
        raise ConditionError(f"a condition longer than {LONGEST_SOURCE} characters")
    read = _variables_read(source, variables)
    return _compile(source, tuple((name, variables[name]) for name in read), tuple(sorted(variables)))


@functools.lru_cache(maxsize=4096)
def _compile(source: str, read: tuple[tuple[str, str], ...], declared: tuple[str, ...]) -> Condition:
    try:
        types = {name: _TYPES[kind] for name, kind in read}
    except KeyError as error:
        raise ConditionError(f"a variable declared with the unknown type {error}") from None
    try:
        expression = cel.NewEnv(variables=types).compile(source)
    except RuntimeError as error:
        raise ConditionError(_explain(str(error), declared)) from None
    result = expression.return_type()
    if result != cel.Type.BOOL:
        raise ConditionError(f"the result must be true or false, but its type is {result.name().lower()}")
    return _Compiled(
        source=source, variables=tuple(name for name, _ in read), kinds=read, expression=expression
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compiled:
    source: str
    variables: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...] = field(repr=False)
    expression: Any = field(repr=False, compare=False)
    known: dict[tuple[Value, ...], Verdict] = field(default_factory=dict, repr=False, compare=False)

    def evaluate(self, values: Mapping[str, Value]) -> Verdict:
        """Never raises. A missing or None variable, one of another type, or any runtime error is UNKNOWN, unless
        the rest decides alone: `false && unknown` is FALSE, `true || unknown` is TRUE."""
        given: list[Value] = []
        for name, kind in self.kinds:
            value = values.get(name)
            given.append(value if value is None or type(value) is _PLAIN[kind] else _fitting(value, kind))
        key = tuple(given)
        known = self.known.get(key)
        if known is None:
            known = self._evaluate(key)
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            self.known[key] = known
        return known

    def _evaluate(self, given: tuple[Value, ...]) -> Verdict:
        data = {name: value for (name, _), value in zip(self.kinds, given, strict=True) if value is not None}
        try:
            result = self.expression.eval(data=data).value()
        except Exception:  # whatever the runtime may raise: the contract is UNKNOWN, never an exception
            return Verdict.UNKNOWN
        if result is True:
            return Verdict.TRUE
        return Verdict.FALSE if result is False else Verdict.UNKNOWN

    def __reduce__(self) -> tuple[Any, ...]:
        # The runtime's expression can't be pickled; compiling again is cheap and gives the same condition.
        return compile_condition, (self.source, dict(self.kinds))


def _fitting(value: Value, kind: str) -> Value:
    """A value of another type than declared, where it can stand for one of it; else None."""
    if kind == "string":
        return value if isinstance(value, str) else None
    # A bool is an int to Python but not to the author; a whole float in an int variable is a count.
    if kind == "int" and type(value) is float:
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and kind != "bool" else None


def _variables_read(source: str, declared: Mapping[str, str]) -> tuple[str, ...]:
    """The declared variables that occur outside strings and comments, sorted; the longest name wins."""
    found = set()
    for match in _TOKEN.finditer(source):
        if match["chain"] is None:
            continue
        parts = [part.strip() for part in match["chain"].split(".")]
        if match["call"] is not None and parts.pop() in _MACROS:
            raise ConditionError(
                f"{match['chain']}() is not available: conditions read flat variables, and one that is missing"
                " makes the condition unknown by itself"
            )
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            if name in declared:
                found.add(name)
                break
    return tuple(sorted(found))


def _explain(message: str, declared: tuple[str, ...]) -> str:
    """The runtime's complaints as one line, with the closest declared names for unknown variables."""
    if "recursion limit" in message:
        return "parentheses nested too deeply"
    complaints = []
    for line, column, text in _COMPLAINT.findall(message):
        undeclared = _UNDECLARED.match(text)
        if undeclared is None:
            text = text.removesuffix(" [INVALID_ARGUMENT]")
            hint = "; write a double with its point, as 1.0" if "double" in text and "int" in text else ""
            complaints.append(f"{text} (line {line}, column {column}){hint}")
            continue
        name = undeclared[1]
        close = difflib.get_close_matches(name, declared, n=3, cutoff=0.5)
        complaints.append(
            f"unknown variable {name}" + (f"; closest: {', '.join(close)}" if close else "; none is close")
        )
    return "; ".join(dict.fromkeys(complaints)) or message.strip()
