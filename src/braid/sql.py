"""A declaration as Spark SQL text: the same text for both layers.

`parsed` gives, for every byte string, the verdict, the reason and the values of `records.py`, and never raises in ANSI
mode. Usual records take one pass of a regular expression (`usual.py`); every other one is read thoroughly
(`thorough.py`), which is several times slower and says what is wrong. Both give one array: a reason (empty when good),
and a text for every field; the columns are cast from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from braid import grammar as g
from braid import usual
from braid.aggregates import BIN_BITS, DISTINCT_K
from braid.declaration import Declaration, Derived, Field, Measure, Topic, ViewSpec
from braid.thorough import USUAL, pattern, text, thorough

RAW_SHOWN = 4096  # bytes of a dead letter that the driver receives
UNREAD = "unread"  # in place of a reason: the record is none of the usual ones, and nobody has read it yet
RAW_SENT = 16_384  # bytes of an unread record that the driver receives; a longer one is cut after one more
# how many rows, and the sum of their ids' unsigned hashes as two halves, so that it cannot overflow
TALLY = ("count(*) AS n", "sum(shiftrightunsigned(id64, 32)) AS fp_hi", "sum(id64 & 4294967295) AS fp_lo")
_POSITION = ("topic", "`partition`", "`offset`", "append_us", "raw")


def _select(columns: Iterable[str], source: str) -> str:
    return f"SELECT {', '.join(columns)} FROM ({source})"


def parsed(topic: Topic, source: str, *, usual_only: bool = False) -> str:
    """Return the SELECT that reads the records of `topic`.

    Parameters
    ----------
    topic
        What the records must be.
    source
        A table or view with topic string, partition int, offset bigint, timestamp timestamp, value binary.
    usual_only
        Whether records that are not usual are left unread, `UNREAD` their reason: a third of the text, which a
        micro-batch pays for by its length.

    Returns
    -------
    str
        SQL of: topic, partition, offset, append_us (bigint), raw (binary), reason (string, null when good), id64,
        salted64, event_us (bigint), and `f_<name>` (string or bigint) for every field and derived column, in declared
        order. All but the first six are null when there is a reason.
    """
    fields = tuple(topic.fields.values())
    values = [f"{_value(field, i, topic)} AS f_{field.name}" for i, field in enumerate(fields, start=1)]
    rows = _select(
        [*_POSITION, "nullif(vals[0], '') AS reason", *values], _timely(topic, _read(topic, source, usual_only))
    )
    identity = ", ".join([text(topic.name), *(f"f_{name}" for name in topic.event_id)])
    event = f"f_{topic.event_time.field}" if topic.event_time.field else "append_us"
    finished = {
        "id64": f"xxhash64({identity})",
        "salted64": f"xxhash64({text(g.SALT)}, {identity})",
        "event_us": event,
    }
    when_good = [f"CASE WHEN reason IS NULL THEN {value} END AS {name}" for name, value in finished.items()]
    held = [f"f_{field.name}" for field in fields]
    for column in topic.derived:
        rows = _derived(column, rows)
        held.append(f"f_{column.name}")
    return _select([*_POSITION, "reason", *when_good, *held], rows)


def _derived(column: Derived, rows: str) -> str:
    """Return rows with one derived column more, null when there is a reason."""
    for step in column.value.steps:
        rows = _select(["*", *(f"{value} AS {name}" for name, value in step)], rows)
    extra = [name for step in column.value.steps for name, _ in step]
    everything = f"* EXCEPT ({', '.join(extra)})" if extra else "*"
    return _select([everything, f"CASE WHEN reason IS NULL THEN {column.value.sql} END AS f_{column.name}"], rows)


def _read(topic: Topic, source: str, usual_only: bool) -> str:
    """Return the rows with `vals`: the reason alone, or an empty string and the values."""
    rows = (
        "SELECT topic, `partition`, `offset`, unix_micros(`timestamp`) AS append_us, value AS raw, "
        f"CASE WHEN length(value) <= {g.MAX_BYTES} THEN try_validate_utf8(CAST(value AS STRING)) END AS t FROM {source}"
    )
    handed = f"regexp_replace(t, {pattern(usual.pattern(topic))}, r'{usual.replacement(topic)}')"
    if padded := usual.pads(topic.fields.values()):
        handed = f"regexp_replace({handed}, {pattern(padded[0])}, r'{padded[1]}')"
    # the text of a usual record begins with a bracket, what is handed out of it with the mark
    split = f"CASE WHEN startswith(t, '{{') THEN split({handed}, '{usual.MARK}') END AS vals"
    if usual_only:
        read = f"CASE WHEN {USUAL} THEN vals ELSE array({text(UNREAD)}) END AS vals"
        return _select([*_POSITION, read], _select([*_POSITION, split], rows))
    return thorough(topic, _POSITION, _select([*_POSITION, "t", split], rows))


def _timely(topic: Topic, rows: str) -> str:
    """Return the rows with those dead whose event time lies too far in the future."""
    name = topic.event_time.field
    if name is None:
        return rows
    event = _value(topic.fields[name], 1 + list(topic.fields).index(name), topic)
    late = f"CASE WHEN {event} > append_us + {g.LATE_US} THEN array({text(g.future(topic.fields[name]))}) ELSE vals END AS vals"
    return _select([*_POSITION, late], rows)


def _value(field: Field, i: int, topic: Topic) -> str:
    """Return a field's value, null when its text is missing."""
    value = f"try_element_at(vals, {i + 1})"
    known = f"nullif({value}, '')" if field.optional else value
    if field.type == "string":
        return known
    if field.numeric:
        return f"try_cast({known} AS BIGINT)"  # of nothing but digits: where it fails, it costs an exception
    instant = f"try_cast({value} AS TIMESTAMP)"
    if topic.event_time.zone != "UTC":
        naive = f"to_utc_timestamp(try_cast(concat({value}, 'Z') AS TIMESTAMP), {text(topic.event_time.zone)})"
        instant = f"CASE WHEN endswith({value}, 'Z') THEN {instant} ELSE {naive} END"
    # the thorough reading gives microseconds, the usual one the time as it is written
    return f"CASE WHEN contains({value}, 'T') THEN unix_micros({instant}) ELSE try_cast({known} AS BIGINT) END"


# ---- what the layers do with the rows ----------------------------------------------------------------------------


def used(declaration: Declaration, topic: Topic) -> tuple[str, ...]:
    """Return the columns of `topic` that views or alerts read, in declared order."""
    views = [v for v in declaration.views if topic.name in v.topics]
    names = {name for v in views for name in (*v.by, *(m.of for m in v.measures), *(v.where.reads if v.where else ()))}
    names |= {name for a in declaration.alerts for name in (a.of, *a.by, *a.show)}
    return tuple(name for name in topic.columns if name in names)


def hashed(declaration: Declaration) -> tuple[str, ...]:
    """Return the columns whose distinct values a view counts."""
    found = (m.of for v in declaration.views for m in v.measures if m.kind == "distinct")
    return tuple(dict.fromkeys(found))


def slim(declaration: Declaration, source: str, *, usual_only: bool = False) -> str:
    """Return the SELECT of what the speed layer's driver needs of each record, of every topic.

    Parameters
    ----------
    usual_only
        As for `parsed`; of an unread record `raw` is its first `RAW_SENT` bytes and one more.

    Returns
    -------
    str
        SQL of: topic, partition, offset, append_us, raw (its first 4096 bytes, null when good), reason, id64,
        salted64, event_us, `f_<name>` of the columns that views and alerts read, `h_<name>` (bigint) the hash of those
        whose distinct values are counted, and `w_<view>` (boolean) for a view with a condition. What a topic does not
        have is null.
    """
    names = list(dict.fromkeys(name for topic in declaration.topics for name in used(declaration, topic)))
    parts = []
    for topic in declaration.topics:
        most = RAW_SENT + 1 if usual_only else RAW_SHOWN
        shown = f"CASE WHEN reason IS NOT NULL THEN substr(raw, 1, {most}) END AS raw"
        held = topic.columns
        fields = [f"f_{name}" if name in held else f"{_null(declaration, name)} AS f_{name}" for name in names]
        hashes = [
            f"{_hash(f'f_{name}') if name in held else 'CAST(NULL AS BIGINT)'} AS h_{name}"
            for name in hashed(declaration)
        ]
        chosen = [
            f"{view.where.sql if topic.name in view.topics else 'false'} AS w_{view.name}"
            for view in declaration.fragment_views
            if view.where is not None
        ]
        position = ("topic", "`partition`", "`offset`", "append_us")
        ids = ("id64", "salted64", "event_us")
        own = source if len(declaration.topics) == 1 else f"(SELECT * FROM {source} WHERE topic = {text(topic.name)})"
        read = parsed(topic, own, usual_only=usual_only)
        parts.append(_select([*position, shown, "reason", *ids, *fields, *hashes, *chosen], read))
    return " UNION ALL ".join(parts)


def _null(declaration: Declaration, name: str) -> str:
    found = next(topic.columns[name] for topic in declaration.topics if name in topic.columns)
    return f"CAST(NULL AS {'STRING' if found.type == 'string' else 'BIGINT'})"


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
            keys.append(f"CASE WHEN topic IN ({', '.join(map(text, owners))}) THEN f_{name} END")
    first = f"row_number() OVER (PARTITION BY {', '.join(keys)} ORDER BY seq, `partition`, `offset`)"
    return f"SELECT * EXCEPT (copy) FROM (SELECT *, {first} AS copy FROM ({good})) WHERE copy = 1"


def fold(declaration: Declaration, view: ViewSpec, source: str) -> str:
    """Return the SELECT that folds deduplicated rows into the state rows of `view`.

    Parameters
    ----------
    declaration, view
        The dataset and one of its views.
    source
        A table or view of good rows: topic, event_us, id64 and `f_<name>`; where latest values are kept also seq,
        partition and offset.

    Returns
    -------
    str
        SQL of: window_start_us (0 for window all), the `by` columns, n, fp_hi, fp_lo (sums of the unsigned halves of
        id64: fp = (fp_hi·2^32 + fp_lo) mod 2^64), and for every measure m of moments: m_n, m_sum, m_sumsq_hi, m_sumsq_lo
        (sums of the halves of x²: Σx² = m_sumsq_hi·2^32 + m_sumsq_lo), m_min, m_max; bigint all. Sums of a measure
        without a value are 0, its min and max null. ANSI mode raises beyond 2^31 rows of a key instead of wrapping.
        Of a latest value, in the view's order among the others, one struct: event_us, seq, topic, partition, offset, value;
        null without one.
    """
    states = [*TALLY]
    for m in view.measures:
        x = f"f_{m.of}"
        if m.kind == "latest":
            event = f"struct(event_us, seq, topic, `partition`, `offset`, {x} AS value)"
            states.append(f"max(CASE WHEN {x} IS NOT NULL THEN {event} END) AS {m.id}")
        if m.kind != "moments":
            continue
        states += [
            f"count({x}) AS {m.name}_n",
            f"coalesce(sum({x}), 0L) AS {m.name}_sum",
            f"coalesce(sum(shiftright({x} * {x}, 32)), 0L) AS {m.name}_sumsq_hi",
            f"coalesce(sum(({x} * {x}) & 4294967295), 0L) AS {m.name}_sumsq_lo",
            f"min({x}) AS {m.name}_min",
            f"max({x}) AS {m.name}_max",
        ]
    return _grouped(declaration, view, source, [], states)


def fold_cells(declaration: Declaration, view: ViewSpec, measures: Sequence[Measure], source: str) -> str:
    """Return the SELECT of what is held of a view's quantiles, or of its distinct values: a row a cell, one pass for all.

    Parameters
    ----------
    declaration, view, source
        As for `fold`.
    measures
        Of one kind, one at least.

    Returns
    -------
    str
        SQL of: window_start_us, the `by` columns, measure (its index in `measures`), cell, count; bigint the last three. A
        cell is a bin, or the hash of a value, of which each key has the `DISTINCT_K` smallest. Names with `__` are no
        column's of a declaration.
    """
    distinct = measures[0].kind == "distinct"
    cells = ", ".join(_hash(f"f_{m.of}") if distinct else _bin(f"f_{m.of}") for m in measures)
    each = f"(SELECT * FROM {source} LATERAL VIEW posexplode(array({cells})) AS its__measure, its__cell)"
    names = ["its__measure", "its__cell"]
    found = _grouped(declaration, view, each, names, ["count(*) AS its__count"], ["its__cell IS NOT NULL"])
    if not distinct:
        return found
    keys = ", ".join(["window_start_us", *view.by, "its__measure"])
    ranked = f"SELECT *, row_number() OVER (PARTITION BY {keys} ORDER BY its__cell) AS its__place FROM ({found})"
    return f"SELECT {keys}, its__cell, its__count FROM ({ranked}) WHERE its__place <= {DISTINCT_K}"


def _hash(x: str) -> str:
    """Return the hash of a value, null of none."""
    return f"CASE WHEN {x} IS NOT NULL THEN xxhash64({x}) END"


def _bin(x: str) -> str:
    """Return `aggregates.bin_of` as SQL, null of no value."""
    m = f"abs({x})"
    e = f"greatest(length(bin({m})) - {BIN_BITS + 1}, 0)"
    cell = f"({e} * {1 << BIN_BITS}L + shiftright({m}, {e}))"
    return f"CASE WHEN {x} < 0 THEN -{cell} ELSE {cell} END"


def _grouped(
    declaration: Declaration,
    view: ViewSpec,
    source: str,
    cells: Sequence[str],
    states: Sequence[str],
    conditions: Sequence[str] = (),
) -> str:
    """Return the SELECT of states by window, key and cell over the events that a view counts."""
    start = f"event_us - pmod(event_us, {view.window_us})" if view.window_us else "0L"
    keys = [f"{start} AS window_start_us", *(f"{_key(declaration, name)} AS {name}" for name in view.by), *cells]
    names = ", ".join(text(t.name) for t in declaration.topics if t.name in view.topics)
    chosen = [f"topic IN ({names})", *([view.where.sql] if view.where else []), *conditions]
    rows = f"SELECT * FROM {source} WHERE {' AND '.join(chosen)}"
    grouped = ", ".join(str(i) for i in range(1, len(keys) + 1))
    return f"{_select([*keys, *states], rows)} GROUP BY {grouped}"


def _key(declaration: Declaration, name: str) -> str:
    """Return a key column as its text; a column that no topic declares is the caller's own."""
    found = next((t.columns[name] for t in declaration.topics if name in t.columns), None)
    return f"CAST(f_{name} AS STRING)" if found is not None and found.type == "integer" else f"f_{name}"
