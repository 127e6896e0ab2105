"""A declaration as Spark SQL text: the same text for both layers.

`parsed` gives, for every byte string, the verdict, the reason and the values of `records.py`, and never raises in ANSI
mode. There are two ways through it:

- *Fast*: a record that holds the declared fields in the declared order, with nothing unusual (no escape, no digit
  beyond the scale, no further field), matches one regular expression, which proves it well-formed and hands out every
  value's text at once. Braid's own producer writes such records.
- *Thorough*: everything else. The text is cut into JSON's words and folded up, innermost brackets first; what is left
  says whether it is one object. Then a mark is set before every string (a quotation mark) and every number is made a
  string without one, so that `from_json`, which alone would read numbers as doubles, gives each value exactly as it
  was written and of a type that can be told from its first character.

Both ways give one text per field (`k_…`): a string begins with a quotation mark, a number with a digit or a minus.
What follows is the same for both. Columns that only the thorough way needs are null on the fast one, and nulls are
cheap; every step is a subquery of its own, so that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from braid import grammar as g
from braid.declaration import Declaration, Field, Topic, ViewSpec

_MARK = "\\u001f"  # between the values handed out; no JSON string holds it unescaped
_RAW_SHOWN = 4096  # bytes of a dead letter that the driver receives


def _text(value: str) -> str:
    """Return a SQL string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("${", "$' '{") + "'"  # Spark substitutes variables before it reads the text


def _pattern(regex: str) -> str:
    """Return a SQL literal of a regular expression; Spark would substitute `${…}` and end a raw literal at a quote."""
    if "'" in regex or "${" in regex:
        raise ValueError(f"expected a pattern without quotes and variables, got {regex}")
    return f"r'{regex}'"


def _whole(column: str, regex: str) -> str:
    """Return the test that all of `column` matches."""
    return f"{column} RLIKE " + _pattern(rf"\A(?:{regex})\z")


def _select(columns: Iterable[str], source: str) -> str:
    return f"SELECT {', '.join(columns)} FROM ({source})"


# ---- one record --------------------------------------------------------------------------------------------------


def parsed(topic: Topic, source: str) -> str:
    """Return the SELECT that reads the records of `topic`.

    Parameters
    ----------
    topic
        What the records must be.
    source
        A table or view with topic string, partition int, offset bigint, timestamp timestamp, value binary.

    Returns
    -------
    str
        SQL of: topic, partition, offset, append_us (bigint), raw (binary), reason (string, null when good), id64,
        salted64, event_us (bigint), and `f_<name>` (string or bigint) for every field, in declared order. All but the
        first six are null when there is a reason.
    """
    fields = tuple(topic.fields.values())
    values = _values(topic, fields, _texts(fields, _documents(fields, source)))
    hashed = ["topic", *(f"v_{name}" for name in topic.event_id)]
    good = ", ".join(hashed[1:])
    name = _text(topic.name)
    return _select(
        [
            "topic", "`partition`", "`offset`", "append_us", "raw", "reason",
            f"CASE WHEN reason IS NULL THEN xxhash64({name}, {good}) END AS id64",
            f"CASE WHEN reason IS NULL THEN xxhash64({_text(g.SALT)}, {name}, {good}) END AS salted64",
            f"CASE WHEN reason IS NULL THEN {_event_us(topic)} END AS event_us",
            *(f"CASE WHEN reason IS NULL THEN v_{f.name} END AS f_{f.name}" for f in fields),
        ],
        values,
    )  # fmt: skip


_POSITION = ("topic", "`partition`", "`offset`", "append_us", "raw")


def _documents(fields: tuple[Field, ...], source: str) -> str:
    """Return the rows with `hit` (values of the fast way) and the thorough way's `why` and `j` (its values)."""
    text = (
        "SELECT topic, `partition`, `offset`, unix_micros(`timestamp`) AS append_us, value AS raw, "
        f"CASE WHEN length(value) <= {g.MAX_BYTES} THEN try_validate_utf8(CAST(value AS STRING)) END AS t FROM {source}"
    )
    groups = "".join(f"{_MARK}${i}" for i in range(1, len(fields) + 1))
    hit = f"CASE WHEN startswith(t, '{{') THEN regexp_replace(t, {_pattern(_usual(fields))}, '{groups}') END AS hit"
    hit = _select([*_POSITION, "t", hit], text)
    hit = _select([*_POSITION, f"CASE WHEN startswith(hit, '{_MARK}') THEN split(hit, '{_MARK}') END AS hit", "t"], hit)
    words = f"CASE WHEN hit IS NULL THEN regexp_extract(t, {_WORDS}, 0) END AS words"
    words = _select([*_POSITION, "hit", "t", words], hit)
    folded = _select([*_POSITION, "hit", "t", "words", f"{_folded('words')} AS folded"], words)
    marked = f"CASE WHEN folded = 'v' AND words = t THEN {_marked('t')} END AS marked"
    marked = _select([*_POSITION, "hit", "t", "words", "folded", marked], folded)
    schema = ", ".join(f'`"{f.name}`: STRING' for f in fields)
    return _select(
        [*_POSITION, "hit", f"{_why()} AS why", f"from_json(marked, {_text(f'STRUCT<{schema}>')}) AS j"], marked
    )


def _usual(fields: tuple[Field, ...]) -> str:
    """Return the pattern of a usual record: one group per field."""
    space = f"{g.SPACE}*"
    parts = []
    for i, f in enumerate(fields):
        value = {"string": _PLAIN_STRING, "time": rf'("{g.TIME})"'}.get(f.type) or f"({g.short(f)})"
        value = f"(?:{value}|null)" if f.optional else value
        pair = f'{space},{space}"{f.name}"{space}:{space}{value}' if i else f'"{f.name}"{space}:{space}{value}'
        parts.append(f"(?:{pair})?" if f.optional and i else pair)
    return rf"\A\{{{space}{''.join(parts)}{space}\}}{space}\z"


# neither escape nor control character, and not blank, for it does not begin so
_PLAIN_STRING = rf'("{g.NOT_BLANK}{g.none_of(chr(34) + chr(92) + g.CONTROLS)}+)"'


_WORDS = _pattern(rf"\A{g.TOKEN}*+")
_BEFORE_NUMBER = f"(?:{g.none_of(chr(34) + '-0123456789')}++|{g.STRING})*+"
_NEXT_NUMBER = _pattern(rf"\G({_BEFORE_NUMBER})({g.NUMBER})")
_OBJECT = "t RLIKE " + _pattern(rf"\A{g.SPACE}*+\{{")
_STOPPED_BY = (
    (_pattern(r"\A\x27"), g.SINGLE_QUOTE),
    (_pattern(r"\A[/#]"), g.COMMENT),
    (_pattern(rf"\A{g.NOT_A_NUMBER}"), g.NAN),
)


def _folded(words: str) -> str:
    """Return `words` with strings as s, other values as v, and closed brackets folded into v, level by level."""
    result = f"regexp_replace({words}, {_pattern(g.STRING)}, 's')"
    result = f"regexp_replace({result}, {_pattern(f'{g.NUMBER}|true|false|null')}, 'v')"
    result = rf"translate({result}, ' \t\n\r', '')"
    for _ in range(g.MAX_DEPTH):
        result = f"regexp_replace({result}, {_pattern(g.CONTAINER)}, 'v')"
    return result


def _marked(text: str) -> str:
    """Return well-formed JSON with a quotation mark at the head of every string and every number as a string."""
    strings = rf"""regexp_replace({text}, {_pattern(f'"({g.TEXT})"')}, r'"\\"$1"')"""
    return f"""regexp_replace({strings}, {_NEXT_NUMBER}, r'$1"$2"')"""


def _why() -> str:
    """Return the reason that is one of the document, not of a field."""
    rest = "substr(t, length(words) + 1)"
    stopped = " ".join(f"WHEN {rest} RLIKE {pattern} THEN {_text(reason)}" for pattern, reason in _STOPPED_BY)
    return f"""CASE WHEN hit IS NOT NULL THEN NULL
      WHEN raw IS NULL OR length(raw) = 0 THEN {_text(g.NO_VALUE)}
      WHEN length(raw) > {g.MAX_BYTES} THEN {_text(g.TOO_LONG)}
      WHEN t IS NULL THEN {_text(g.NOT_UTF8)}
      WHEN NOT (startswith(folded, 'v') AND {_OBJECT}) THEN CASE {stopped}
        WHEN {_OBJECT} THEN {_text(g.NOT_WELL_FORMED)} ELSE {_text(g.NOT_AN_OBJECT)} END
      WHEN folded <> 'v' OR words <> t THEN {_text(g.TRAILING)}
      WHEN NOT {_whole("t", g.NO_LONE_SURROGATE)} THEN {_text(g.LONE_SURROGATE)}
      WHEN NOT {_whole("t", g.NO_LONG_KEY)} THEN {_text(g.LONG_KEY)}
      WHEN try_parse_json(marked) IS NULL THEN {_text(g.DUPLICATE)} END"""


# ---- its fields --------------------------------------------------------------------------------------------------


def _texts(fields: tuple[Field, ...], documents: str) -> str:
    """Return the rows with `k_<name>`, each value's text, null when absent."""
    columns = [
        f"""CASE WHEN hit IS NOT NULL THEN {f"nullif(get(hit, {i}), '')" if f.optional else f"get(hit, {i})"}"""
        f""" ELSE j.`"{f.name}` END AS k_{f.name}"""
        for i, f in enumerate(fields, start=1)
    ]
    return _select([*_POSITION, "hit IS NOT NULL AS usual", "why", *columns], documents)


def _values(topic: Topic, fields: tuple[Field, ...], texts: str) -> str:
    """Return the rows with `v_<name>`, null when the field is bad or absent, and the reason."""
    zone = topic.event_time.zone
    texts_and = [*_POSITION, "usual", "why", *(f"k_{f.name}" for f in fields)]
    read = _select([*texts_and, *(f"{_read(f, zone)} AS r_{f.name}" for f in fields)], texts)
    kept = _select([*texts_and, *(f"{_kept(f)} AS v_{f.name}" for f in fields)], read)
    bad = " OR ".join(
        f"(k_{f.name} IS NOT NULL AND v_{f.name} IS NULL)" if f.optional else f"v_{f.name} IS NULL" for f in fields
    )
    whens = " ".join(_reasons(f) for f in fields)
    late = ""
    if topic.event_time.field:
        late = (
            f"WHEN v_{topic.event_time.field} > append_us + {g.LATE_US} THEN {_text(g.future(topic.event_time.field))}"
        )
    reason = f"CASE WHEN why IS NOT NULL THEN why WHEN {bad} THEN CASE {whens} END {late} END AS reason"
    return _select([*_POSITION, reason, *(f"v_{f.name}" for f in fields)], kept)


def _event_us(topic: Topic) -> str:
    return f"v_{topic.event_time.field}" if topic.event_time.field else "append_us"


def _read(field: Field, zone: str) -> str:
    """Return the value of a field's text, null when it cannot be read."""
    k = f"k_{field.name}"
    if field.type == "string":
        return f"CASE WHEN startswith({k}, '\"') THEN substr({k}, 2) END"
    if field.type == "time":
        return f"CASE WHEN usual OR {_whole(k, chr(34) + g.TIME)} THEN {_micros(k, zone)} END"
    if field.type == "integer":
        return f"CASE WHEN usual OR {_whole(k, g.short(field))} THEN try_cast({k} AS BIGINT) END"
    return (
        f"CASE WHEN usual OR {_whole(k, g.short(field))} THEN {_shifted(k, field.scale)} "
        f"WHEN {_whole(k, g.form(field))} THEN {_rounded(k, field.scale)} END"
    )


def _shifted(k: str, scale: int) -> str:
    """Return the scaled integer of a short number, by moving its point: at most `scale` digits stand after it."""
    if scale == 0:
        return f"try_cast({k} AS BIGINT)"
    point = f"instr({k}, '.')"
    moved = f"try_cast(rpad(replace({k}, '.', ''), {point} + {scale - 1}, '0') AS BIGINT)"
    return f"CASE WHEN {point} = 0 THEN try_cast({k} AS BIGINT) * {10**scale} ELSE {moved} END"


def _rounded(k: str, scale: int) -> str:
    """Return the scaled integer of any decimal text, rounded half-even; null from 10^10 up."""
    exact = f"try_cast({k} AS DECIMAL(38, {g.MAX_FRACTION}))"
    return f"try_cast(bround({exact}, {scale}) * {10**scale} AS BIGINT)"


def _micros(k: str, zone: str) -> str:
    """Return a time's microseconds, whatever the session's zone."""
    written = f"(endswith({k}, 'Z') OR substr({k}, -6, 1) IN ('+', '-'))"
    aware = f"unix_micros(try_cast(substr({k}, 2) AS TIMESTAMP))"
    naive = f"try_cast(concat(substr({k}, 2), 'Z') AS TIMESTAMP)"
    if zone != "UTC":
        naive = f"to_utc_timestamp({naive}, {_text(zone)})"
    return f"CASE WHEN {written} THEN {aware} ELSE unix_micros({naive}) END"


def _kept(field: Field) -> str:
    """Return the value if it obeys the field's rules, else null."""
    r = f"r_{field.name}"
    if field.type == "time":
        return f"CASE WHEN {r} >= {g.FIRST_US} AND {r} < {g.END_US} THEN {r} END"
    if field.numeric:
        low, high = g.bounds(field)
        return f"CASE WHEN {r} BETWEEN {low} AND {high} THEN {r} END"
    clean = f"(usual OR NOT ({_whole(r, g.BLANK)}) AND {_whole(r, g.NO_CONTROL)})"
    listed = f" AND {_listed(field)}" if field.values is not None else ""
    return f"CASE WHEN octet_length({r}) <= {field.max_length} AND {clean}{listed} THEN {r} END"


def _listed(field: Field) -> str:
    return f"r_{field.name} IN ({', '.join(_text(v) for v in field.values or ())})"


def _reasons(field: Field) -> str:
    """Return the WHENs that find why a field's value is null."""
    k = f"k_{field.name}"
    rules: list[tuple[str, str]] = []
    if not field.optional:
        rules.append((f"{k} IS NULL", g.missing(field)))
    bad = f"v_{field.name} IS NULL" + (f" AND {k} IS NOT NULL" if field.optional else "")
    if field.type == "time":
        rules.append((bad, g.wrong_type(field)))
    elif field.numeric:
        rules += [
            (f"startswith({k}, '\"')", g.wrong_type(field)),
            (f"{_whole(k, g.NUMBER)} AND NOT {_whole(k, g.form(field))}", g.wrong_form(field)),
            (bad, g.out_of_range(field)),
        ]
    else:
        s = f"substr({k}, 2)"
        rules += [
            (f"NOT startswith({k}, '\"')", g.wrong_type(field)),
            (_whole(s, g.BLANK), g.blank(field)),
            (f"octet_length({s}) > {field.max_length}", g.string_too_long(field)),
            (f"NOT ({_whole(s, g.NO_CONTROL)})", g.control(field)),
        ]
        if field.values is not None:
            rules.append((bad, g.not_listed(field)))
    return " ".join(f"WHEN {test} THEN {_text(reason)}" for test, reason in rules)


# ---- what the layers do with the rows ----------------------------------------------------------------------------


def used(declaration: Declaration, topic: Topic) -> tuple[str, ...]:
    """Return the fields of `topic` that views or alerts read, in declared order."""
    views = [v for v in declaration.views if topic.name in v.topics]
    names = {name for v in views for name in (*v.by, *(m.of for m in v.measures))}
    names |= {name for a in declaration.alerts for name in (a.of, *a.by, *a.show)}
    return tuple(name for name in topic.fields if name in names)


def slim(declaration: Declaration, topic: Topic, source: str) -> str:
    """Return the SELECT of what the speed layer's driver needs of each record.

    Returns
    -------
    str
        SQL of: topic, partition, offset, append_us, raw (its first 4096 bytes, null when good), reason, id64,
        salted64, event_us, and `f_<name>` of the fields that views and alerts read.
    """
    shown = f"CASE WHEN reason IS NOT NULL THEN substr(raw, 1, {_RAW_SHOWN}) END AS raw"
    fields = (f"f_{name}" for name in used(declaration, topic))
    position = ("topic", "`partition`", "`offset`", "append_us")
    return _select([*position, shown, "reason", "id64", "salted64", "event_us", *fields], parsed(topic, source))


def dedupe(declaration: Declaration, topics: Iterable[Topic], source: str) -> str:
    """Return the SELECT of the good rows, of each event id only the first in ledger order.

    Parameters
    ----------
    declaration
        Its `dedupe` says whether copies are dropped at all.
    topics
        The topics whose rows `source` holds.
    source
        A table or view of parsed rows with seq bigint: the columns of `parsed`, those of several topics side by side.

    Returns
    -------
    str
        SQL of the columns of `source`. Rows are told apart by topic and id fields themselves, not by their hash.
    """
    good = f"SELECT * FROM {source} WHERE reason IS NULL"
    if declaration.dedupe == "none":
        return good
    topics = tuple(topics)
    keys = ["topic"]
    for name in dict.fromkeys(name for t in topics for name in t.event_id):
        owners = [t.name for t in topics if name in t.event_id]
        if len(owners) == len(topics):
            keys.append(f"f_{name}")
        else:
            keys.append(f"CASE WHEN topic IN ({', '.join(map(_text, owners))}) THEN f_{name} END")
    first = f"row_number() OVER (PARTITION BY {', '.join(keys)} ORDER BY seq, `partition`, `offset`)"
    return f"SELECT * EXCEPT (copy) FROM (SELECT *, {first} AS copy FROM ({good})) WHERE copy = 1"


def fold(declaration: Declaration, view: ViewSpec, source: str) -> str:
    """Return the SELECT that folds deduplicated rows into the state rows of `view`.

    Parameters
    ----------
    declaration, view
        The dataset and one of its views.
    source
        A table or view of good rows: topic, event_us, id64 and `f_<name>`.

    Returns
    -------
    str
        SQL of: window_start_us (0 for window all), the `by` columns, n, fp_hi, fp_lo (sums of the unsigned halves of
        id64: fp = (fp_hi·2^32 + fp_lo) mod 2^64), and for every measure m: m_n, m_sum, m_sumsq_hi, m_sumsq_lo
        (sums of the halves of x²: Σx² = m_sumsq_hi·2^32 + m_sumsq_lo), m_min, m_max; bigint all. Sums of a measure
        without a value are 0, its min and max null. ANSI mode raises beyond 2^31 rows of a key instead of wrapping.
    """
    start = f"event_us - pmod(event_us, {view.window_us})" if view.window_us else "0L"
    keys = [f"{start} AS window_start_us", *(f"f_{name} AS {name}" for name in view.by)]
    states = [
        "count(*) AS n",
        "sum(shiftrightunsigned(id64, 32)) AS fp_hi",
        "sum(id64 & 4294967295) AS fp_lo",
    ]
    for m in view.measures:
        x = f"f_{m.of}"
        states += [
            f"count({x}) AS {m.name}_n",
            f"coalesce(sum({x}), 0L) AS {m.name}_sum",
            f"coalesce(sum(shiftright({x} * {x}, 32)), 0L) AS {m.name}_sumsq_hi",
            f"coalesce(sum(({x} * {x}) & 4294967295), 0L) AS {m.name}_sumsq_lo",
            f"min({x}) AS {m.name}_min",
            f"max({x}) AS {m.name}_max",
        ]
    names = ", ".join(_text(t.name) for t in declaration.topics if t.name in view.topics)
    rows = f"SELECT * FROM {source} WHERE topic IN ({names})"
    grouped = ", ".join(str(i) for i in range(1, len(keys) + 1))
    return f"{_select([*keys, *states], rows)} GROUP BY {grouped}"
