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
from braid.declaration import Field, Topic, bounds


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
    rows = f"SELECT {kept}, vals, why, CASE WHEN why IS NULL AND found IS NOT NULL THEN {_outcomes(topic)} END AS outcomes FROM ({rows})"
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
# A field's outcome is one string: = and its value, or ! and its number in the order and its reason, or null for an
# absent optional one. So the least outcome of a record tells its first bad field, if any.

_TABLE = (
    "ARRAY<STRUCT<kind STRING, scale INT, low BIGINT, high BIGINT, max_length INT, listed ARRAY<STRING>,"
    " missing STRING, type STRING, form STRING, out STRING, blank STRING, long STRING, control STRING, unlisted STRING>>"
)


def _row(i: int, field: Field) -> dict[str, object]:
    """Return a field's line of the table: what its rules compare with, and the outcome when one fails."""
    low, high = bounds(field) if field.numeric else (g.FIRST_US, g.END_US - 1)
    row: dict[str, object] = {"kind": field.type, "scale": field.scale, "low": low, "high": high}
    row |= {"max_length": field.max_length + 1, "listed": field.values}  # k carries a mark
    reasons = {"type": g.wrong_type(field), "out": g.wrong_type(field)}
    if not field.optional:
        reasons["missing"] = g.missing(field)
    if field.numeric:
        reasons |= {"form": g.wrong_form(field), "out": g.out_of_range(field)}
    if field.type == "string":
        reasons |= {"blank": g.blank(field), "long": g.string_too_long(field), "control": g.control(field)}
        reasons |= {"unlisted": g.not_listed(field)}
    return row | {rule: f"!{i:03d}{reason}" for rule, reason in reasons.items()}


def _outcomes(topic: Topic) -> str:
    """Return the outcomes: for each field `f` of the table and its text `k`, and `x`, what that is as an integer."""
    fields = topic.fields.values()
    table = f"from_json({text(json.dumps([_row(i, field) for i, field in enumerate(fields)]))}, '{_TABLE}')"
    names = ", ".join(text(f'"{field.member}') for field in fields)
    texts = f"transform(array({names}), name -> try_element_at(found, name))"
    return f"zip_with({table}, {texts}, (f, k) -> transform(array({_integer(topic)}), x -> {_outcome(topic)})[0])"


def _integer(topic: Topic) -> str:
    """Return the scaled integer or the microseconds that `k` means, null when it is no such text or far too large."""
    cases = []
    if any(f.type == "time" for f in topic.fields.values()):
        cases.append(
            f"WHEN f.kind = 'time' THEN CASE WHEN {whole('k', chr(34) + g.TIME)} THEN {_micros(topic.event_time.zone)} END"
        )
    longest = g.MAX_INTEGER + g.MAX_FRACTION + 2
    exact = f"try_cast(k AS DECIMAL(38, {g.MAX_FRACTION}))"
    for kind, scale in sorted({(f.type, f.scale) for f in topic.fields.values() if f.numeric}):
        # the form comes first: an exponent would take the cast minutes
        test = f"f.kind = '{kind}' AND f.scale = {scale} AND length(k) <= {longest} AND {whole('k', g.form(kind))}"
        cases.append(f"WHEN {test} THEN try_cast(bround({exact}, {scale}) * {10**scale} AS BIGINT)")
    return f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS BIGINT)"


def _micros(zone: str) -> str:
    """Return the microseconds of the time `k`, whatever the session's zone."""
    aware = r"k RLIKE r'(?:Z|[-+][0-9][0-9]:[0-9][0-9])\z'"
    if zone == "UTC":
        return f"unix_micros(try_cast(concat(substr(k, 2), CASE WHEN {aware} THEN '' ELSE 'Z' END) AS TIMESTAMP))"
    naive = f"to_utc_timestamp(try_cast(concat(substr(k, 2), 'Z') AS TIMESTAMP), {text(zone)})"
    return f"unix_micros(CASE WHEN {aware} THEN try_cast(substr(k, 2) AS TIMESTAMP) ELSE {naive} END)"


def _outcome(topic: Topic) -> str:
    kinds = {f.type for f in topic.fields.values()}
    cases = [_STRING_RULES] if "string" in kinds else []
    cases.append("WHEN x BETWEEN f.low AND f.high THEN concat('=', CAST(x AS STRING))")
    for kind in sorted(kinds & {"decimal", "integer"}):
        cases.append(f"WHEN f.kind = '{kind}' AND startswith(k, '\"') THEN f.type")
        cases.append(
            f"WHEN f.kind = '{kind}' AND k RLIKE r'\\A[-0-9]' AND NOT ({whole('k', g.form(kind))}) THEN f.form"
        )
    return f"CASE WHEN k IS NULL THEN f.missing {' '.join(cases)} ELSE f.out END"


_STRING_RULES = f"""WHEN f.kind = 'string' THEN CASE WHEN NOT startswith(k, '"') THEN f.type
  WHEN {whole("k", chr(34) + g.BLANK)} THEN f.blank
  WHEN octet_length(k) > f.max_length THEN f.long
  WHEN NOT ({whole("k", g.NO_CONTROL)}) THEN f.control
  WHEN NOT array_contains(f.listed, substr(k, 2)) THEN f.unlisted
  ELSE concat('=', substr(k, 2)) END"""


def _vals() -> str:
    values = "concat(array(''), transform(outcomes, x -> substr(x, 2)))"
    return f"""CASE WHEN {USUAL} THEN vals WHEN why IS NOT NULL THEN array(why)
      WHEN startswith(array_min(outcomes), '!') THEN array(substr(array_min(outcomes), 5)) ELSE {values} END"""
