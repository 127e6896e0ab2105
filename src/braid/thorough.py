r"""The thorough reading of a record in Spark SQL: every rule of docs/records.md, in its order, for any bytes.

It fills the column `vals` where the usual reading did not: an array of strings, the reason alone, or an empty string
and the values: strings as they are, numbers as scaled integers, times as microseconds. How it reads JSON, without a
double and without Spark's own leniency:

- In the text, strings become one mark and other values another, and innermost brackets are folded into the second,
  once a level. What is left tells whether one whole object stands at the start, and whether anything follows.
- Of a whole object, a quotation mark is put at the head of every string and every number is made a string without one.
  Then `from_json`, which would read numbers as doubles, gives every value exactly as it was written, and its first
  character tells its type.

Every micro-batch pays for the size of this text when Spark plans it. So the fields go in as a table, one literal, and
one lambda judges them all; no lambda stands in another, for Spark's analyser takes a turn for each level; and what is
used twice is a column of a subquery, null for usual records, and nulls cost next to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from braid import grammar as g
from braid.declaration import Field, Topic


def text(value: str) -> str:
    """Return a SQL string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("${", "$' '{") + "'"  # Spark substitutes variables before it reads the text


def pattern(regex: str) -> str:
    """Return a raw SQL literal of a regular expression."""
    if "'" in regex or "${" in regex:
        raise ValueError(f"expected a pattern without quotes and variables, got {regex}")
    return f"r'{regex}'"


def whole(value: str, regex: str) -> str:
    """Return the test that all of `value` matches."""
    return f"{value} RLIKE " + pattern(rf"\A(?:{regex})\z")


def thorough(topic: Topic, columns: Sequence[str], source: str) -> str:
    """Return the SELECT of `columns` and `vals`, filled where its first element is not an empty string.

    Parameters
    ----------
    topic
        What the records must be.
    columns
        The columns to hand on, `raw` (the bytes) among them.
    source
        A SELECT of the columns, `vals`, and `t`, the text of `raw`: null when that is too long or not UTF-8.
    """
    kept = ", ".join(columns)
    rows = f"SELECT {kept}, vals, t, CASE WHEN {USUAL} THEN NULL ELSE {_folded('t')} END AS folded FROM ({source})"
    rows = f"SELECT {kept}, vals, t, folded, CASE WHEN folded = '\\u0002' AND {_OBJECT} THEN {_marked('t')} END AS marked FROM ({rows})"
    rows = f"SELECT {kept}, vals, {_why()} AS why, from_json(marked, 'MAP<STRING, STRING>') AS found FROM ({rows})"
    rows = f"SELECT {kept}, vals, why, CASE WHEN why IS NULL THEN {_outcomes(topic)} END AS outcomes FROM ({rows})"
    return f"SELECT {kept}, {_vals()} AS vals FROM ({rows})"


USUAL = "vals[0] = ''"

# ---- the document ------------------------------------------------------------------------------------------------

_OBJECT = "t RLIKE " + pattern(rf"\A{g.SPACE}*+\{{")
_STOPPED_BY = (
    (pattern(rf"\A{g.TOKEN}*+\x27"), g.SINGLE_QUOTE),
    (pattern(rf"\A{g.TOKEN}*+[/#]"), g.COMMENT),
    (pattern(rf"\A{g.TOKEN}*+{g.NOT_A_NUMBER}"), g.NAN),
)
_NEXT_NUMBER = pattern(rf"\G((?:{g.none_of(chr(34) + '-0123456789')}++|{g.STRING})*+)({g.NUMBER})")
_VALUE = r"[\x01\x02]"
_ARRAY = rf"\[(?:{_VALUE}(?:,{_VALUE})*+)?+\]"
_MEMBER = rf"\x01:{_VALUE}"
_CONTAINER = rf"{_ARRAY}|\{{(?:{_MEMBER}(?:,{_MEMBER})*+)?+\}}"


def _folded(json_text: str) -> str:
    """Return the text with strings as U+0001, other values as U+0002, and closed brackets folded into the latter.

    Neither may stand in the text before: no JSON text holds them, but other texts do.
    """
    flat = rf"translate({json_text}, '\u0001\u0002', '\u0003\u0003')"
    flat = rf"regexp_replace({flat}, {pattern(g.STRING)}, '\u0001')"
    flat = rf"regexp_replace({flat}, {pattern(f'{g.NUMBER}|true|false|null')}, '\u0002')"
    flat = rf"translate({flat}, ' \t\n\r', '')"
    level = rf"regexp_replace(left_over, {pattern(_CONTAINER)}, '\u0002')"
    return f"aggregate(sequence(1, {g.MAX_DEPTH}), {flat}, (left_over, level) -> {level})"


def _marked(json_text: str) -> str:
    """Return well-formed JSON with a quotation mark at the head of every string and every number as a string."""
    strings = rf"""regexp_replace({json_text}, {pattern(f'"({g.TEXT})"')}, r'"\\"$1"')"""
    return f"""regexp_replace({strings}, {_NEXT_NUMBER}, r'$1"$2"')"""


def _why() -> str:
    """Return the reason that is one of the document, null when there is none or the record is usual."""
    stopped = " ".join(f"WHEN t RLIKE {regex} THEN {text(reason)}" for regex, reason in _STOPPED_BY)
    return rf"""CASE WHEN {USUAL} THEN NULL
      WHEN raw IS NULL OR length(raw) = 0 THEN {text(g.NO_VALUE)}
      WHEN length(raw) > {g.MAX_BYTES} THEN {text(g.TOO_LONG)}
      WHEN t IS NULL THEN {text(g.NOT_UTF8)}
      WHEN NOT (startswith(folded, '\u0002') AND {_OBJECT}) THEN CASE {stopped}
        WHEN {_OBJECT} THEN {text(g.NOT_WELL_FORMED)} ELSE {text(g.NOT_AN_OBJECT)} END
      WHEN marked IS NULL THEN {text(g.TRAILING)}
      WHEN NOT ({whole("t", g.NO_LONE_SURROGATE)}) THEN {text(g.LONE_SURROGATE)}
      WHEN length(raw) > {g.MAX_KEY} AND NOT ({whole("t", g.NO_LONG_KEY)}) THEN {text(g.LONG_KEY)}
      WHEN try_parse_json(marked) IS NULL THEN {text(g.DUPLICATE)} END"""


# ---- its fields --------------------------------------------------------------------------------------------------
# A field's outcome is one string: ! and its reason, = and its value, or null for an absent optional one.

_TABLE = (
    "ARRAY<STRUCT<kind STRING, scale INT, low BIGINT, high BIGINT, max_length INT, listed ARRAY<STRING>,"
    " missing STRING, type STRING, form STRING, out STRING, blank STRING, long STRING, control STRING, unlisted STRING>>"
)


def _row(field: Field) -> dict[str, object]:
    """Return a field's line of the table: what its rules compare with, and the outcome when one fails."""
    low, high = g.bounds(field)
    row: dict[str, object] = {"kind": field.type, "scale": field.scale, "low": low, "high": high}
    row |= {"max_length": field.max_length, "listed": field.values, "type": f"!{g.wrong_type(field)}"}
    row |= {"missing": None if field.optional else f"!{g.missing(field)}"}
    if field.numeric:
        row |= {"form": f"!{g.wrong_form(field)}", "out": f"!{g.out_of_range(field)}"}
    if field.type == "string":
        row |= {"blank": f"!{g.blank(field)}", "long": f"!{g.string_too_long(field)}", "control": f"!{g.control(field)}"}
        row |= {"unlisted": f"!{g.not_listed(field)}"}
    return row


def _outcomes(topic: Topic) -> str:
    fields = topic.fields.values()
    table = f"from_json({text(json.dumps([_row(field) for field in fields]))}, '{_TABLE}')"
    names = ", ".join(text(f'"{field.name}') for field in fields)
    return f"zip_with({table}, transform(array({names}), name -> try_element_at(found, name)), (f, k) -> {_outcome(topic)})"


def _outcome(topic: Topic) -> str:
    kinds = {f.type for f in topic.fields.values()}
    cases = []
    if "string" in kinds:
        cases.append(_STRING_RULES)
    if "time" in kinds:
        us = f"CASE WHEN {whole('k', chr(34) + g.TIME)} THEN {_micros('substr(k, 2)', topic.event_time.zone)} END"
        good = f"coalesce({us} BETWEEN {g.FIRST_US} AND {g.END_US - 1}, false)"
        cases.append(f"WHEN f.kind = 'time' THEN CASE WHEN {good} THEN concat('=', {us}) ELSE f.type END")
    cases.append(f"WHEN startswith(k, '\"') THEN f.type {_form_rules(kinds)}")
    return f"""CASE WHEN k IS NULL THEN f.missing {' '.join(cases)}
      WHEN {_SCALED} BETWEEN f.low AND f.high THEN concat('=', {_SCALED}) ELSE f.out END"""


_STRING_RULES = f"""WHEN f.kind = 'string' THEN CASE WHEN NOT startswith(k, '"') THEN f.type
  WHEN {whole("k", chr(34) + g.BLANK)} THEN f.blank
  WHEN octet_length(k) > f.max_length + 1 THEN f.long
  WHEN NOT ({whole("k", g.NO_CONTROL)}) THEN f.control
  WHEN NOT array_contains(f.listed, substr(k, 2)) THEN f.unlisted
  ELSE concat('=', substr(k, 2)) END"""


def _form_rules(kinds: set[str]) -> str:
    return " ".join(
        f"WHEN f.kind = '{kind}' AND {whole('k', g.NUMBER)} AND NOT ({whole('k', g.form(kind))}) THEN f.form"
        for kind in ("decimal", "integer")
        if kind in kinds
    )


def _micros(value: str, zone: str) -> str:
    """Return the microseconds of a time, whatever the session's zone."""
    naive = f"try_cast(concat({value}, 'Z') AS TIMESTAMP)"
    if zone != "UTC":
        naive = f"to_utc_timestamp({naive}, {text(zone)})"
    aware = f"{value} RLIKE r'(?:Z|[-+][0-9][0-9]:[0-9][0-9])\\z'"
    return f"unix_micros(CASE WHEN {aware} THEN try_cast({value} AS TIMESTAMP) ELSE {naive} END)"


def _scaled() -> str:
    """Return the scaled integer of the number `k`, rounded half-even on its digits; null when far out of range."""
    before = f"regexp_extract(k, {_BEFORE_POINT}, 1)"
    behind = f"rpad(regexp_extract(k, {_BEHIND_POINT}, 1), {_PADDED}, '0')"
    digits = f"concat(nullif({before}, ''), left({behind}, f.scale))"
    last_and_rest = f"substr(concat({before}, {behind}), length({before}) + f.scale)"
    up = f"CASE WHEN {last_and_rest} RLIKE {_ROUNDS_UP} THEN 1L ELSE 0L END"
    return f"(CASE WHEN startswith(k, '-') THEN -1L ELSE 1L END * try_add(try_cast({digits} AS BIGINT), {up}))"


_PADDED = 48  # digits behind the point, far more than MAX_FRACTION
_BEFORE_POINT = pattern(rf"\A-?({g.DIGIT}{{1,{g.MAX_INTEGER}}})(?:\.|\z)")
_BEHIND_POINT = pattern(rf"\.({g.DIGIT}+)\z")
_ROUNDS_UP = pattern(rf"\A(?:{g.DIGIT}(?:[6789]|5{g.DIGIT}*[1-9])|[13579]5)")
_SCALED = _scaled()


def _vals() -> str:
    bad = "filter(outcomes, x -> startswith(x, '!'))"
    values = "concat(array(''), transform(outcomes, x -> substr(x, 2)))"
    return f"""CASE WHEN {USUAL} THEN vals
      WHEN why IS NOT NULL THEN array(why)
      WHEN size({bad}) > 0 THEN array(substr({bad}[0], 2)) ELSE {values} END"""
