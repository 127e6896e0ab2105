"""Bytes of one record -> Event | DeadLetter: the reference for what a record is.

The rules are written in docs/records.md, in the order in which they are tried: the first that fails gives the reason.
A verdict is a function of the topic's declaration, the bytes and the append time alone: no clock, no other record. The
Spark SQL of `sql.py` is held equal to this module, record by record, by differential fuzzing. Decimals are read from
their JSON text and rounded half-even once; no value passes through a float.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from braid import grammar as g
from braid.declaration import Field, Topic, bounds
from braid.hashing import id_hashes


@dataclass(frozen=True, slots=True)
class Event:
    """A good record: two signed 64-bit hashes of its id, its time in microseconds UTC, the values of its fields.

    A decimal or integer is its scaled integer, a time its microseconds UTC, an absent or null optional field None.
    """

    id64: int
    salted64: int
    event_us: int
    values: Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record set aside; `reason` is a fixed text per rule and field (docs/records.md)."""

    reason: str


class _Refused(Exception):
    """A rule failed; its text is the reason."""


class _Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


_WORDS = re.compile(f"{g.TOKEN}*+")
_NAN = re.compile(g.NOT_A_NUMBER)
_NO_LONG_KEY = re.compile(g.NO_LONG_KEY)
_BLANK = re.compile(g.BLANK)
_NO_CONTROL = re.compile(g.NO_CONTROL)
_TIME = re.compile(g.TIME_PARTS)
_FORM = {kind: re.compile(g.form(kind)) for kind in ("decimal", "integer")}
_STRINGS = re.compile(g.STRING)
_WHITE = " \t\n\r"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXACT = Context(prec=60)


def parse(topic: Topic, raw: bytes | None, append_us: int) -> Event | DeadLetter:
    """Read one record.

    Parameters
    ----------
    topic
        What its records must be.
    raw
        The record's value; None for a record without one.
    append_us
        When the broker appended it, microseconds UTC.

    Returns
    -------
    Event | DeadLetter
        Never raises on any bytes.
    """
    try:
        document = _document(_text(raw))
        values = {
            name: _value(field, document.get(field.member), topic.event_time.zone)
            for name, field in topic.fields.items()
        }
        event_us = _event_us(topic, values, append_us)
    except _Refused as refused:
        return DeadLetter(str(refused))
    for derived in topic.derived:
        values[derived.name] = derived.value.compute(values)
    id64, salted64 = id_hashes(topic.name, [values[name] for name in topic.event_id])
    return Event(id64, salted64, event_us, values)


def _text(raw: bytes | None) -> str:
    if not raw:
        raise _Refused(g.NO_VALUE)
    if len(raw) > g.MAX_BYTES:
        raise _Refused(g.TOO_LONG)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _Refused(g.NOT_UTF8) from None


# ---- the document ------------------------------------------------------------------------------------------------


def _document(text: str) -> dict[str, Any]:
    faults = set()

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            faults.add(g.DUPLICATE)
        if any(_has_lone_surrogate(part) for item in items for part in item):
            faults.add(g.LONE_SURROGATE)
        return found

    decoder = json.JSONDecoder(
        object_pairs_hook=pairs, parse_int=_Number, parse_float=_Number, parse_constant=_not_json
    )
    start = len(text) - len(text.lstrip(_WHITE))
    try:
        document, end = decoder.raw_decode(text, start)
    except (ValueError, RecursionError):
        raise _Refused(_what_is_wrong(text, start)) from None
    if not isinstance(document, dict) or _depth(text[start:end]) > g.MAX_DEPTH:
        raise _Refused(_what_is_wrong(text, start))
    if text[end:].strip(_WHITE):
        raise _Refused(g.TRAILING)
    if g.LONE_SURROGATE in faults:
        raise _Refused(g.LONE_SURROGATE)
    if not _NO_LONG_KEY.fullmatch(text):
        raise _Refused(g.LONG_KEY)
    if g.DUPLICATE in faults:
        raise _Refused(g.DUPLICATE)
    return document


def _not_json(_: str) -> NoReturn:
    raise ValueError


def _what_is_wrong(text: str, start: int) -> str:
    """Return why `text` does not begin with an object, by what stops its longest run of JSON words."""
    stop = _WORDS.match(text)
    end = stop.end() if stop else 0
    if text[end : end + 1] == "'":
        return g.SINGLE_QUOTE
    if text[end : end + 1] in {"/", "#"}:
        return g.COMMENT
    if _NAN.match(text, end):
        return g.NAN
    return g.NOT_WELL_FORMED if text[start : start + 1] == "{" else g.NOT_AN_OBJECT


def _depth(document: str) -> int:
    """Return the levels of a well-formed document."""
    deepest = level = 0
    for mark in _STRINGS.sub("", document):
        if mark in "[{":
            level += 1
            deepest = max(deepest, level)
        elif mark in "]}":
            level -= 1
    return deepest


def _has_lone_surrogate(value: object) -> bool:
    """Whether a string, alone or in lists, holds half of a pair; objects were looked at when they closed."""
    if isinstance(value, str):
        return not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)
    return isinstance(value, list) and any(map(_has_lone_surrogate, value))


# ---- the fields --------------------------------------------------------------------------------------------------


def _value(field: Field, value: object, zone: str) -> str | int | None:
    if value is None:
        if field.optional:
            return None
        raise _Refused(g.missing(field))
    if field.numeric:
        return _scaled(field, value)
    if not isinstance(value, str) or isinstance(value, _Number):
        raise _Refused(g.wrong_type(field))
    return _string(field, value) if field.type == "string" else _micros(field, value, zone)


def _scaled(field: Field, value: object) -> int:
    if not isinstance(value, _Number):
        raise _Refused(g.wrong_type(field) if isinstance(value, str) else g.out_of_range(field))
    if not _FORM[field.type].fullmatch(value):
        raise _Refused(g.wrong_form(field))
    if len(value.partition(".")[0].lstrip("-")) > g.MAX_INTEGER:
        raise _Refused(g.out_of_range(field))
    exact = Decimal(value).scaleb(field.scale, _EXACT)
    scaled = int(exact.to_integral_value(ROUND_HALF_EVEN, _EXACT))
    low, high = bounds(field)
    if not low <= scaled <= high:
        raise _Refused(g.out_of_range(field))
    return scaled


def _string(field: Field, value: str) -> str:
    if _BLANK.fullmatch(value):
        raise _Refused(g.blank(field))
    if len(value.encode()) > field.max_length:
        raise _Refused(g.string_too_long(field))
    if not _NO_CONTROL.fullmatch(value):
        raise _Refused(g.control(field))
    if field.values is not None and value not in field.values:
        raise _Refused(g.not_listed(field))
    return value


def acceptable(field: Field, value: str) -> bool:
    """Return whether a string field takes a text."""
    try:
        _string(field, value)
    except (_Refused, UnicodeEncodeError):
        return False
    return True


def _micros(field: Field, value: str, zone: str) -> int:
    """Return a time in microseconds UTC."""
    found = _TIME.fullmatch(value)
    micros = _instant(found, zone) if found else None
    if micros is None or not g.FIRST_US <= micros < g.END_US:
        raise _Refused(g.wrong_type(field))
    return micros


def _instant(found: re.Match[str], zone: str) -> int | None:
    year, month, day, hour, minute, second = (int(found[i]) for i in range(1, 7))
    try:
        local = datetime(year, month, day, hour, minute, second, int((found[7] or "").ljust(6, "0")), UTC)
    except ValueError:  # no such day or hour
        return None
    if not g.FIRST_US - 2 * g.DAY_US <= (micros := (local - _EPOCH) // _MICROSECOND) < g.END_US + 2 * g.DAY_US:
        return None
    written = found[8]
    if written == "Z":
        return micros
    if written:
        minutes = int(written[1:3]) * 60 + int(written[4:6])
        return micros - (-minutes if written[0] == "-" else minutes) * g.MINUTE_US
    # fold=0: in an overlap the earlier offset; in a gap the offset before it, which shifts forward by the gap
    offset = local.replace(tzinfo=ZoneInfo(zone)).utcoffset() or timedelta()
    return micros - offset // _MICROSECOND


def _event_us(topic: Topic, values: Mapping[str, str | int | None], append_us: int) -> int:
    name = topic.event_time.field
    if name is None:
        return append_us
    event_us = values[name]
    if not isinstance(event_us, int):  # a declaration has no optional event time
        raise TypeError(f"{topic.name}: expected the time field {name} to be required and of type time")
    if event_us > append_us + g.LATE_US:
        raise _Refused(g.future(topic.fields[name]))
    return event_us
