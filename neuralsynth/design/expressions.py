"""Conditions on measured sounds, such as `brightness > 0.7 and not (noisiness >= 0.2 or pitch_hz < 100)`.

::

    condition  = all ("or" all)*
    all        = one ("and" one)*
    one        = "not" one | "(" condition ")" | comparison
    comparison = operand (("<" | "<=" | ">" | ">=" | "==" | "!=") operand)+
    operand    = name | number

Read by a parser of its own that knows nothing else: no text given can run code. A comparison with a value that is
missing (None, not a number, or no number at all) is false, whichever way it is asked; its `not` is true.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import NoReturn

from neuralsynth.checking import one_of, shown
from neuralsynth.design.descriptors import names as descriptor_names
from neuralsynth.errors import UsageError

LONGEST, DEEPEST = 1000, 30  # characters; brackets and nots inside each other
MOST_LISTED = 130  # characters of a message that list names

_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.]))"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)|(?P<sign><=|>=|==|!=|[<>()]))"
)
_INSTEAD = {"=": "==", "&": "and", "|": "or", "!": "not", "≤": "<=", "≥": ">=", "≠": "!=", "[": "(", "{": "("}
_WORDS = ("and", "or", "not")


@dataclass(frozen=True)
class Comparison:
    """A chain such as `0.2 < brightness < 0.6`; names are texts, numbers are numbers."""

    operands: tuple[str | float, ...]
    signs: tuple[str, ...]

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether every link of the chain holds."""
        values = [_value(row, one) for one in self.operands]
        return all(
            not math.isnan(a) and not math.isnan(b) and bool(_COMPARISONS[sign](a, b))
            for sign, a, b in zip(self.signs, values, values[1:], strict=False)
        )


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    one: Node

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether the other does not."""
        return not self.one.holds(row)


@dataclass(frozen=True)
class Every:
    """Conditions that must all hold."""

    several: tuple[Node, ...]

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether all do."""
        return all(one.holds(row) for one in self.several)


@dataclass(frozen=True)
class Either:
    """Conditions of which one must hold."""

    several: tuple[Node, ...]

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether one does."""
        return any(one.holds(row) for one in self.several)


Node = Comparison | Not | Every | Either


@dataclass(frozen=True)
class Condition:
    """A condition that was read: call it with a row of values by name."""

    text: str
    names: frozenset[str]  # that it asks for
    root: Node

    def __call__(self, row: Mapping[str, object]) -> bool:
        """Whether the row fulfils it."""
        return self.root.holds(row)


def parse(text: str, names: Collection[str] | None = None) -> Condition:
    """Read a condition on values with these names  [default: those of `descriptors`].

    Raises:
        UsageError: it cannot be read; the message says what is wrong, at which column (from 1), and what is allowed.
    """
    return _Parser(text, descriptor_names() if names is None else names).condition()


def _value(row: Mapping[str, object], operand: str | float) -> float:
    value = row.get(operand) if isinstance(operand, str) else operand
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer beyond what a float holds
        return math.nan


@dataclass(frozen=True)
class _Token:
    kind: str  # number, name, sign, end
    text: str
    column: int


class _Parser:
    """One reading from left to right."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._text, self._known, self._used, self._depth = text, names, set[str](), 0
        if len(text) > LONGEST:
            raise UsageError(f"the condition has {len(text)} characters; use at most {LONGEST}")
        self._tokens, self._at = self._split(), 0

    def condition(self) -> Condition:
        root = self._either()
        if self._next.kind != "end":
            hint = "there is no bracket to close" if self._next.text == ")" else "put 'and' or 'or' between conditions"
            self._fail(self._next, f"{self._said(self._next)} does not belong here; {hint}")
        return Condition(self._text, frozenset(self._used), root)

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> _Token | None:
        """The next token, if it is one of these."""
        token = self._next
        if token.kind in ("number", "end") or token.text not in texts:
            return None
        self._at += 1
        return token

    def _either(self) -> Node:
        several = [self._every()]
        while self._take("or"):
            several.append(self._every())
        return several[0] if len(several) == 1 else Either(tuple(several))

    def _every(self) -> Node:
        several = [self._one()]
        while self._take("and"):
            several.append(self._one())
        return several[0] if len(several) == 1 else Every(tuple(several))

    def _one(self) -> Node:
        opened = self._take("not", "(")
        if opened is None:
            return self._comparison()
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(opened, f"more than {DEEPEST} brackets and nots inside each other; say it more simply")
        inner = Not(self._one()) if opened.text == "not" else self._either()
        if opened.text == "(" and not self._take(")"):
            self._fail(self._next, f"the bracket of column {opened.column} is not closed; expected ')'")
        self._depth -= 1
        return inner

    def _comparison(self) -> Comparison:
        first = self._next
        operands, signs = [self._operand()], []
        while sign := self._take(*_COMPARISONS):
            signs.append(sign.text)
            operands.append(self._operand())
        if not signs:
            wanted = f"compare it, such as {first.text} > 0.5" if first.kind == "name" else "compare a name with it"
            self._fail(first, f"{self._said(first)} alone is no condition; {wanted}")
        if all(isinstance(one, float) for one in operands):
            self._fail(first, f"only numbers are compared; use one of {self._allowed('')}")
        return Comparison(tuple(operands), tuple(signs))

    def _operand(self) -> str | float:
        token = self._next
        if token.kind == "name" and token.text not in _WORDS:
            if token.text not in self._known:
                self._fail(token, f"{shown(token.text)} is unknown; use one of {self._allowed(token.text)}")
            self._used.add(token.text)
            self._at += 1
            return token.text
        if token.kind == "number":
            number = float(token.text)
            if math.isinf(number):
                self._fail(token, f"{shown(token.text)} is too large a number")
            self._at += 1
            return number
        return self._fail(token, f"expected a name or a number, not {self._said(token)}")

    def _split(self) -> list[_Token]:
        tokens, at, text = [], 0, self._text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                self._fail_to_read(text, at)
            kind = str(found.lastgroup)
            tokens.append(_Token(kind, found[kind], found.start(kind) + 1))
            at = found.end()
        return [*tokens, _Token("end", "", len(text) + 1)]

    def _fail_to_read(self, text: str, at: int) -> NoReturn:
        at += len(text[at:]) - len(text[at:].lstrip())
        token = _Token("sign", text[at], at + 1)
        if number := re.match(r"[+-]?\.?[0-9][A-Za-z0-9_.]*", text[at:]):
            self._fail(token, f"{shown(number[0])} is no number; write numbers without a unit, such as 0.5 or 2e3")
        instead = _INSTEAD.get(text[at])
        hint = f"write {instead!r}" if instead else "use names, numbers, < <= > >= == !=, and, or, not and ( )"
        self._fail(token, f"{shown(text[at])} is not understood; {hint}")

    def _allowed(self, given: str) -> str:
        """The names, those most like `given` first, as many as fit into a message."""
        listed = one_of(given, self._known)
        return listed if len(listed) <= MOST_LISTED else listed[: listed.rindex(", ", 0, MOST_LISTED)] + ", …"

    @staticmethod
    def _said(token: _Token) -> str:
        return "the end" if token.kind == "end" else shown(token.text)

    def _fail(self, token: _Token, what: str) -> NoReturn:
        raise UsageError(f"condition {shown(self._text)}, column {token.column}: {what}")
