"""An expression of a declaration as a tree: what it says, before anybody asks what its columns are or who computes it.

The grammar is that of SQL's scalar expressions, as far as `expressions.py` can compute them exactly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

MAX_TEXT = 4096  # characters of an expression


class ExpressionError(ValueError):
    """An expression cannot be used: what was expected, what stands there."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or a text as it is written."""

    value: Fraction | str


@dataclass(frozen=True, slots=True)
class Column:
    """A field, or a derived column, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator or function and what it is applied to; `case` holds condition, value, …, otherwise."""

    name: str
    of: tuple[Node, ...]


Node: TypeAlias = Constant | Column | Apply

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<mark><>|<=|>=|!=|[-+*/()=<>,]))"
)
_WORDS = frozenset(["and", "or", "not", "in", "between", "is", "null", "case", "when", "then", "else", "end"])
COMPARE = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
PARTS = ("year", "month", "day", "hour", "minute", "weekday")  # of a time in a zone; weekday 0 is Monday
_FUNCTIONS = ("concat", "coalesce", "floor", "abs", *PARTS)


def read(text: str) -> Node:
    """Return the tree of an expression.

    Raises
    ------
    ExpressionError
        The text is no expression; the message has the place.

    Examples
    --------
    >>> read("a - 2 * b")
    Apply(name='-', of=(Column(name='a'), Apply(name='*', of=(Constant(value=Fraction(2, 1)), Column(name='b')))))
    """
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"an expression of at most {MAX_TEXT} characters, got {len(text)}")
    try:
        return _Parser(text).whole()
    except RecursionError:
        raise ExpressionError("an expression that is nested less deeply") from None


class _Parser:
    """Recursive descent, one method a level of precedence."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise ExpressionError(f"an expression, got {text[at:].strip()[:20]!r} at character {at + 1}")
            kind = str(found.lastgroup)
            word = found[kind]
            if kind == "word" and word.lower() in _WORDS:
                kind, word = "mark", word.lower()
            self.tokens.append((kind, word, found.start(kind)))
            at = found.end()
        self.at = 0

    def whole(self) -> Node:
        node = self.either()
        if self.at < len(self.tokens):
            raise self.error("the end of the expression")
        return node

    def error(self, expected: str) -> ExpressionError:
        if self.at >= len(self.tokens):
            return ExpressionError(f"{expected} at the end of {self.text!r}")
        _, word, start = self.tokens[self.at]
        return ExpressionError(f"{expected}, got {word!r} at character {start + 1}")

    def take(self, *marks: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "mark" and self.tokens[self.at][1] in marks:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def need(self, mark: str) -> None:
        if self.take(mark) is None:
            raise self.error(f"{mark!r}")

    def either(self) -> Node:
        node = self.both()
        while self.take("or"):
            node = Apply("or", (node, self.both()))
        return node

    def both(self) -> Node:
        node = self.negated()
        while self.take("and"):
            node = Apply("and", (node, self.negated()))
        return node

    def negated(self) -> Node:
        return Apply("not", (self.negated(),)) if self.take("not") else self.compared()

    def compared(self) -> Node:
        left = self.sum()
        if mark := self.take(*COMPARE):
            return Apply(COMPARE[mark], (left, self.sum()))
        if self.take("is"):
            turned = self.take("not")
            self.need("null")
            found = Apply("is null", (left,))
            return Apply("not", (found,)) if turned else found
        turned = self.take("not")
        if self.take("between"):
            low = self.sum()
            self.need("and")
            found = Apply("and", (Apply(">=", (left, low)), Apply("<=", (left, self.sum()))))
        elif self.take("in"):
            self.need("(")
            items = [self.sum()]
            while self.take(","):
                items.append(self.sum())
            self.need(")")
            found = Apply("=", (left, items[0]))
            for item in items[1:]:
                found = Apply("or", (found, Apply("=", (left, item))))
        elif turned:
            raise self.error("'in' or 'between'")
        else:
            return left
        return Apply("not", (found,)) if turned else found

    def sum(self) -> Node:
        node = self.product()
        while mark := self.take("+", "-"):
            node = Apply(mark, (node, self.product()))
        return node

    def product(self) -> Node:
        node = self.signed()
        while mark := self.take("*", "/"):
            node = Apply(mark, (node, self.signed()))
        return node

    def signed(self) -> Node:
        return Apply("-", (Constant(Fraction(0)), self.signed())) if self.take("-") else self.single()

    def single(self) -> Node:
        if self.take("("):
            node = self.either()
            self.need(")")
            return node
        if self.take("case"):
            return self.case()
        if self.at >= len(self.tokens) or self.tokens[self.at][0] == "mark":
            raise self.error("a column, a number, a text or '('")
        kind, word, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return Constant(Fraction(Decimal(word)))
        if kind == "text":
            return Constant(word[1:-1].replace("''", "'"))
        if self.take("("):
            return self.called(word)
        return Column(word)

    def called(self, word: str) -> Node:
        if word.lower() not in _FUNCTIONS:
            self.at -= 2
            raise self.error(f"one of the functions {', '.join(_FUNCTIONS)}")
        of = [self.either()]
        while self.take(","):
            of.append(self.either())
        self.need(")")
        return Apply(word.lower(), tuple(of))

    def case(self) -> Node:
        of: list[Node] = []
        while self.take("when"):
            of.append(self.either())
            self.need("then")
            of.append(self.either())
        if not of:
            raise self.error("'when'")
        if self.take("else"):
            of.append(self.either())
        self.need("end")
        return Apply("case", tuple(of))


def columns(node: Node) -> tuple[str, ...]:
    """Return the names of the columns that an expression reads, each once, in order."""
    if isinstance(node, Column):
        return (node.name,)
    inner = node.of if isinstance(node, Apply) else ()
    return tuple(dict.fromkeys(name for child in inner for name in columns(child)))
