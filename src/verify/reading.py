"""The SQL of the second path: which records are usual and what they hold, and how events fold into states.

Every text here is made from a declaration. `usual` proves records good by docs/records.md; what it cannot prove is no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

from braid.declaration import Field, Measure, Topic, ViewSpec
from verify import odd

_W = "[ \\t\\n\\r]*"
_STRING = '"[^"\\\\\\x00-\\x1f]*"'
_SCALAR = f"(?:{_STRING}|-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?|true|false|null)"
_PAIR = f"{_STRING}{_W}:{_W}{_SCALAR}{_W}"
_FLAT = f"{_W}\\{{{_W}{_PAIR}(?:,{_W}{_PAIR})*\\}}{_W}"
_DELETED = "[\\x{7f}-\\x{9f}]"  # the controls that JSON lets through
_BLANKS = "".join(sorted(odd.BLANKS))
_TIME = '"(19(7[1-9]|[89][0-9])|20[0-9]{2}|21([0-8][0-9]|9[0-8]))-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?Z?"'


def usual(topic: Topic, source: str) -> str:
    """Return the SELECT of each record's position, whether it is usual, its values, and its raw bytes when it is not.

    A record with its fields in declared order is told by one pattern, which also finds the values; of another flat one the
    keys are compared and each value is looked for.
    """
    fields = tuple(topic.fields.values())
    flat = (
        f"CASE WHEN ordered THEN true WHEN regexp_full_match(j, {literal(_FLAT)}) THEN "
        "len(try(json_keys(j))) = len(list_distinct(try(json_keys(j)))) AND (strlen(j) <= 1000 OR "
        "list_max(list_transform(try(json_keys(j)), lambda k: length(k))) <= 1000) END"
    )
    found = (
        f"regexp_extract(j, {literal(_ordered(fields))}, [{', '.join(literal(f't{i}') for i in range(len(fields)))}])"
    )
    tokens = ", ".join(f"{_token(f, i)} AS t{i}" for i, f in enumerate(fields))
    checks = " AND ".join(_check(f, f"t{i}") for i, f in enumerate(fields))
    values = [f"CASE WHEN usual THEN {_value(f, f't{i}')} END AS {column_of(f.name)}" for i, f in enumerate(fields)]
    values += [
        f"coalesce(t{i} NOT LIKE '%Z\"', false) AS {column_of(f.name)}_local"
        for i, f in enumerate(fields)
        if f.type == "time"
    ]
    steps = (
        "SELECT *, CASE WHEN octet_length(raw) <= 999999 THEN try(decode(raw)) END AS j FROM",
        f"SELECT *, {found} AS s FROM",
        "SELECT *, coalesce(s.t0 <> '', false) AS ordered FROM",
        f"SELECT *, coalesce({flat}, false) AS flat FROM",
        f"SELECT *, {tokens} FROM",
        f"SELECT *, coalesce(flat AND {checks}, false) AS usual FROM",
        f'SELECT partition, "offset", append_us, usual, {", ".join(values)}, CASE WHEN NOT usual THEN raw END AS raw FROM',
    )
    for step in steps:
        source = f"{step} ({source})"
    return source


def _ordered(fields: Sequence[Field]) -> str:
    """Return the pattern of a record with its fields in declared order, a group for each value; one that cannot match
    when the first field may be absent."""
    parts = []
    for i, field in enumerate(fields):
        number = (
            f"-?(?:0|[1-9][0-9]{{0,9}})(?:\\.[0-9]{{1,{field.scale}}})?" if field.scale else "-?(?:0|[1-9][0-9]{0,9})"
        )
        value = f"({number if field.numeric else _STRING}{'|null' if field.optional else ''})"
        pair = f'{f"{_W},{_W}" if i else ""}"{_key(field)}"{_W}:{_W}{value}'
        parts.append(f"(?:{pair})?" if field.optional else pair)
    return (
        f"\\A{_W}\\{{{_W}{''.join(parts)}{_W}\\}}{_W}\\z"
        if not fields[0].optional
        else f"\\A[^\\x{{0}}-\\x{{10ffff}}]{''.join(parts)}"
    )


def fold(view: ViewSpec, first: str, after: int, through: int, where: Sequence[str] = ()) -> str:
    """Return the query of a view's states: `first`, window start, keys, n, Σ hash, and five numbers per measure."""
    numbers = ["count(*)", "sum(id64)"]
    for m in view.measures:
        if m.kind == "moments":
            x = column_of(m.of)
            numbers += [f"count({x})", f"sum({x})", f"sum({x} * {x})", f"min({x})", f"max({x})"]
    return _grouped(view, first, [], numbers, _chosen(view, after, through, where))


def cells(view: ViewSpec, measure: Measure, first: str, after: int, through: int, where: Sequence[str] = ()) -> str:
    """Return the query of one measure that is no moments: `first`, window start, keys, and what it holds.

    Of quantiles bin and count, of distinct values a hash, of the latest the event with its place and value as one.
    """
    x = column_of(measure.of)
    chosen = [*_chosen(view, after, through, where), f"{x} IS NOT NULL"]
    if measure.kind == "latest":
        event = ", ".join(f"'{name}': {name}" for name in ("event_us", "place", "seq", "topic", "part", "off"))
        return _grouped(view, first, [], [f"max({{{event}, 'x': {x}}})"], chosen)
    if measure.kind == "distinct":
        return _grouped(view, first, [hash_of(measure.of)], [], chosen)
    octave = f"CASE WHEN abs({x}) < 128 THEN 0 ELSE length(bin(abs({x}))) - 7 END"
    bin_ = f"sign({x}) * (({octave}) * 64 + (abs({x}) >> ({octave})))"
    return _grouped(view, first, [f"CAST({bin_} AS BIGINT)"], ["count(*)"], chosen)


def _chosen(view: ViewSpec, after: int, through: int, where: Sequence[str]) -> list[str]:
    met = [chosen_of(view)] if view.where is not None else []
    return [f"seq > {after}", f"seq <= {through}", f"topic IN ({', '.join(map(literal, view.topics))})", *met, *where]


def _grouped(view: ViewSpec, first: str, more: Sequence[str], numbers: Sequence[str], chosen: Sequence[str]) -> str:
    keys = [first, start_of(view.window_us), *(key_of(column) for column in view.by), *more]
    grouped = ", ".join(str(i + 1) for i in range(len(keys)))
    return f"SELECT {', '.join([*keys, *numbers])} FROM counted WHERE {' AND '.join(chosen)} GROUP BY {grouped}"


def start_of(window_us: int) -> str:
    return f"event_us - event_us % {window_us}" if window_us else "0"


def _token(field: Field, i: int) -> str:
    """Return a field's value as it is written, with its quotes; null when it is absent or null."""
    pattern = f'"{_key(field)}"{_W}:{_W}("[^"]*"|[^",}} \\t\\n\\r]+)'
    found = f"CASE WHEN ordered THEN s.t{i} WHEN flat THEN regexp_extract(j, {literal(pattern)}, 1) END"
    return f"nullif(nullif({found}, ''), 'null')"


def _key(field: Field) -> str:
    """Return a field's JSON key as a pattern; of all that a key may hold only the point means more than itself."""
    return field.member.replace(".", "[.]")


def _check(field: Field, token: str) -> str:
    """Return the condition under which a token is proved good."""
    inner = f"{token}[2:-2]"
    if field.type == "time":
        rule = f"regexp_full_match({token}, {literal(_TIME)}) AND {_micros(token)} IS NOT NULL"
    elif field.type == "string":
        rule = (
            f"{token}[1] = '\"' AND strlen({inner}) <= {field.max_length} AND regexp_matches({inner}, {literal(f'[^{_BLANKS}]')}) "
            f"AND NOT regexp_matches({inner}, {literal(_DELETED)})"
        )
        if field.values is not None:
            rule += f" AND {inner} IN ({', '.join(map(literal, field.values))})"
    else:
        fraction = f"(\\.[0-9]{{1,{field.scale}}})?" if field.scale else ""
        x = _scaled(field, token)
        bounds = [f"abs({x}) < 3000000000"]
        bounds += [f"{x} >= {field.min.scaleb(field.scale):f}"] if field.min is not None else []
        bounds += [f"{x} <= {field.max.scaleb(field.scale):f}"] if field.max is not None else []
        rule = f"regexp_full_match({token}, {literal(f'-?[0-9]{{1,10}}{fraction}')}) AND {' AND '.join(bounds)}"
    return f"({token} IS NULL OR ({rule}))" if field.optional else f"({token} IS NOT NULL AND {rule})"


def _value(field: Field, token: str) -> str:
    if field.type == "time":
        return _micros(token)
    return f"{token}[2:-2]" if field.type == "string" else _scaled(field, token)


def _scaled(field: Field, token: str) -> str:
    if not field.scale:
        return f"try_cast({token} AS BIGINT)"
    digits = f"split_part({token}, '.', 1) || rpad(split_part({token}, '.', 2), {field.scale}, '0')"
    return f"try_cast({digits} AS BIGINT)"


def _micros(token: str) -> str:
    """Return the microseconds of a time as if it were UTC."""
    return f"epoch_us(try_cast(replace(rtrim({token}[2:-2], 'Z'), 'T', ' ') AS TIMESTAMP))"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def column_of(name: str) -> str:
    return f"f_{name}"


def key_of(name: str) -> str:
    """Return a key column as text."""
    return f"CAST({column_of(name)} AS VARCHAR)"


def hash_of(name: str) -> str:
    return f"h_{name}"


def chosen_of(view: ViewSpec) -> str:
    return f'"w_{view.name}"'


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
