"""Records that are not usual, read one by one: docs/records.md written anew, without a word of the engine's code.

`second_path` reads in SQL the records of which it can prove there that they are good: a flat object without escapes,
every number with no more digits than its scale, times with Z or in the declared zone. DuckDB cannot decide the others
by the rules: its JSON reader takes NaN and trailing commas, turns numbers into doubles and keeps duplicate keys in
silence. They come here. The answer is the values or nothing; which rule failed does not matter to a recount.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from braid.declaration import Field, Topic

BLANKS = frozenset(" \u00a0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}
CONTROLS = frozenset(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
LEAST, BEYOND = 0, 7_258_118_400_000_000  # 1970 and 2200 in microseconds
PATIENCE_US = 300_000_000  # of an event time beyond the append time
_LEVELS, _KEY, _LIMIT, _BYTES = 16, 1000, 3 * 10**9, 999_999

_TOKEN = re.compile(
    r'[ \t\r\n]*(?:(?P<mark>[][{}:,])|"(?P<text>(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"'
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)|(?P<word>true|false|null))"
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NUMBER = re.compile(r"(-?)([0-9]{1,10})(?:\.([0-9]{1,28}))?")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?"
    r"(?:(Z)|([-+])(?:(0[0-9]|1[0-7]):([0-5][0-9])|(18):(00)))?"
)
_WORDS = {"true": True, "false": False, "null": None}
_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


class _Dead(Exception):
    """A rule failed."""


class _Digits(str):
    """A number, as it is written."""

    __slots__ = ()


def values(topic: Topic, raw: bytes | None, append_us: int) -> dict[str, Any] | None:
    """Return the fields of a good record and its `event_us`; None when the record is dead.

    Strings are strings; numbers are scaled integers; times are microseconds UTC; what is absent is None.
    """
    try:
        if not raw or len(raw) > _BYTES:
            return None
        document = _document(raw.decode())
        found = {f.name: _field(f, document.get(f.member), topic.event_time.zone) for f in topic.fields.values()}
    except (_Dead, UnicodeDecodeError):
        return None
    event_us = found[topic.event_time.field] if topic.event_time.field else append_us
    return None if event_us > append_us + PATIENCE_US else found | {"event_us": event_us}


# ---- the document --------------------------------------------------------------------------------------------------


def _document(text: str) -> dict[str, Any]:
    tokens = _tokens(text)
    found = _value(next(tokens, ("", "")), tokens, 1)
    if not isinstance(found, dict) or next(tokens, None) is not None:
        raise _Dead
    return found


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(text.rstrip(" \t\r\n"))
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None or token.lastgroup is None:
            raise _Dead
        yield token.lastgroup, token[token.lastgroup]
        at = token.end()


def _value(token: tuple[str, str], tokens: Iterator[tuple[str, str]], level: int) -> Any:
    kind, text = token
    if kind == "text":
        return _unescaped(text)
    if kind == "number":
        return _Digits(text)
    if kind == "word":
        return _WORDS[text]
    if level > _LEVELS:
        raise _Dead
    if text == "{":
        return dict(_members(tokens, level))
    if text == "[":
        return list(_items(tokens, level))
    raise _Dead


def _members(tokens: Iterator[tuple[str, str]], level: int) -> Iterator[tuple[str, Any]]:
    keys: set[str] = set()
    token = next(tokens, ("", ""))
    if token == ("mark", "}"):
        return
    while True:
        key = _unescaped(token[1])
        if token[0] != "text" or len(_ESCAPE.sub("x", token[1])) > _KEY or key in keys:
            raise _Dead
        keys.add(key)
        if next(tokens, None) != ("mark", ":"):
            raise _Dead
        yield key, _value(next(tokens, ("", "")), tokens, level + 1)
        mark = next(tokens, None)
        if mark == ("mark", "}"):
            return
        if mark != ("mark", ","):
            raise _Dead
        token = next(tokens, ("", ""))


def _items(tokens: Iterator[tuple[str, str]], level: int) -> Iterator[Any]:
    token = next(tokens, ("", ""))
    if token == ("mark", "]"):
        return
    while True:
        yield _value(token, tokens, level + 1)
        mark = next(tokens, None)
        if mark == ("mark", "]"):
            return
        if mark != ("mark", ","):
            raise _Dead
        token = next(tokens, ("", ""))


def _unescaped(text: str) -> str:
    """Return a string without its escapes; a lone surrogate is dead, two that are a pair are one character."""
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _SHORT.get(m[2], m[2]), text)
    try:
        return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise _Dead from None


# ---- the fields ----------------------------------------------------------------------------------------------------


def _field(field: Field, value: Any, zone: str) -> Any:
    if value is None:
        if not field.optional:
            raise _Dead
        return None
    if field.type in {"decimal", "integer"}:
        return _scaled(field, value)
    if not isinstance(value, str) or isinstance(value, _Digits):
        raise _Dead
    return _text(field, value) if field.type == "string" else instant(value, zone)


def _scaled(field: Field, value: Any) -> int:
    found = _NUMBER.fullmatch(value) if isinstance(value, _Digits) else None
    if found is None or (field.type == "integer" and "." in value):
        raise _Dead
    exact = Fraction(int(found[2] + (found[3] or "")), 10 ** len(found[3] or "")) * 10**field.scale
    x: int = round(exact) * (-1 if found[1] else 1)  # Python rounds a fraction half to even
    low, high = (None if bound is None else Fraction(bound) * 10**field.scale for bound in (field.min, field.max))
    if abs(x) >= _LIMIT or (low is not None and x < low) or (high is not None and x > high):
        raise _Dead
    return x


def _text(field: Field, value: str) -> str:
    good = (
        not BLANKS.issuperset(value)
        and CONTROLS.isdisjoint(value)
        and len(value.encode()) <= field.max_length
        and (field.values is None or value in field.values)
    )
    if not good:
        raise _Dead
    return value


def instant(text: str, zone: str) -> int:
    """Return a time of docs/records.md as microseconds UTC."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise _Dead
    year, month, day, hour, minute, second = (int(found[i]) for i in range(1, 7))
    if not 1969 <= year <= 2200:
        raise _Dead
    try:
        local = datetime(year, month, day, hour, minute, second, int((found[7] or "0").ljust(6, "0")), UTC)
    except ValueError:
        raise _Dead from None
    if found[8]:
        offset = timedelta()
    elif found[9]:
        offset = timedelta(hours=int(found[10] or found[12]), minutes=int(found[11] or found[13]))
        offset = -offset if found[9] == "-" else offset
    else:
        offset = local.replace(tzinfo=ZoneInfo(zone)).utcoffset() or timedelta()
    micros: int = (local - offset - _EPOCH) // _TICK
    if not LEAST <= micros < BEYOND:
        raise _Dead
    return micros


def moment(text: str, zone: str) -> int | None:
    """Return a time of docs/records.md as microseconds UTC, None when the text is none."""
    try:
        return instant(text, zone)
    except _Dead:
        return None


def number(field: Field, text: str) -> int | None:
    """Return a number's scaled integer, None when the text is none that the field takes."""
    try:
        return _scaled(field, _Digits(text))
    except _Dead:
        return None
