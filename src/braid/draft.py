"""Samples of a dataset -> the text of a declaration that takes every one of them, for a person to make their own.

What is drafted has to be right where a mistake would cost records or counts, and only sensible elsewhere. So three
things hold of every draft: it parses; none of its samples is a dead letter by it (a column that would make one is passed
over, and named); and no two samples that differ are one event by its `event_id`, or `dedupe: none` says that no id was
found. Keys, windows, measures and alerts are choices of taste, made by plain rules, and each is a line to change.

What was guessed, and why, stands in comments beside it, and once more in `told`, for the terminal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from braid.declaration import Declaration, Field, Topic, parse
from braid.errors import DeclarationError, UsageError
from braid.grammar import LATE_US
from braid.names import LONGEST, RESERVED, is_name
from braid.records import DeadLetter
from braid.records import parse as read
from braid.samples import Column, PassedOver, Sample, columns, duplicates, json_of

MOST_KEYS = 50  # different values of a column that a chart can still show
LIKED = 8
LINE = 120  # columns of a line, but where a comment goes on
WIDEST = 24  # of the names that are set in a column
MOST_MEASURES = 4
FLAGS = 3  # different numbers, at most, that say yes or no rather than how much
MOST_TRIED = 8  # columns among which an id of several is looked for
ENOUGH = 30  # samples below which nothing is called sure
_WINDOWS = {"1 minute": 60, "10 minutes": 600, "1 hour": 3600, "1 day": 86400}  # seconds
_PER_WINDOW = 5  # records of a key that make a window worth drawing
_NUMBERS = ("mean", "stddev", "min", "max")
_ID = re.compile(r"(?:^|_)(?:id|uuid|guid|key)$")
_CODE = re.compile(r"(?:^|_)(?:id|code|type|kind|class|category|zone|status|level)$")  # a number that only names
_PLACE = re.compile(r"(?:^|_)(?:lat|lon|lng|latitude|longitude)$")
_WHEN = ("timestamp", "event", "occurred", "time", "datetime", "ts", "at", "when", "created", "date")  # the best first
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?: [A-Za-z0-9_-]+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})  # not text to every reader of YAML
_NAMED = re.compile(r"\$\.([a-z0-9_]+): ")


@dataclass(frozen=True, slots=True)
class Draft:
    """A declaration's text, what it says, and what was guessed, line by line."""

    text: str
    declaration: Declaration
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """The fields of an event's id, and why these; no `found`: records that differ share it."""

    names: tuple[str, ...]
    why: str
    found: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """All that a draft's text is made of."""

    dataset: str
    topic: str
    source: str
    samples: int
    fields: tuple[Column, ...]
    passed: tuple[PassedOver, ...]
    identity: Identity
    time: Column | None
    time_why: str
    by: Column
    by_why: str
    window: str
    measures: tuple[Column, ...]
    stats: tuple[str, ...]
    alert: Column | None


def draft(dataset: str, topic: str, samples: Sequence[Sample], source: str, *, typed: bool) -> Draft:
    """Return the draft of a declaration.

    Parameters
    ----------
    dataset, topic : names
    samples : the records to draft it from
    source : what they were read from, for people
    typed : whether cells say themselves what is a number (JSON), or all are text (CSV)

    Raises
    ------
    UsageError
        A name cannot be a dataset's; there are no samples; or no view can be made of their columns.
    """
    if not is_name(dataset):
        raise UsageError(
            f"expected a name of lower-case letters, digits and single underscores, at most {LONGEST}, got {dataset!r}"
        )
    if not samples:
        raise UsageError(f"{source}: expected at least one record to draft from, got none")
    passed: dict[str, PassedOver] = {}
    while True:
        found = [passed.get(c.name, c) for c in columns(samples, typed=typed)]
        made = _parsed(dataset, topic, samples, source, found)
        refused = _refused(made.declaration.topics[0], samples)
        if not refused:
            return made
        passed |= {name: PassedOver(name, why) for name, why in refused.items()}


def _refused(topic: Topic, samples: Sequence[Sample]) -> dict[str, str]:
    """Return the fields by which a sample would be a dead letter, and why; what is wrong with a whole record no field mends."""

    def bare(name: str) -> bool:
        return name in topic.fields and topic.fields[name].numeric

    found: dict[str, str] = {}
    for sample in samples:
        verdict = read(topic, json_of(sample.cells, bare), sample.append_us)
        if isinstance(verdict, DeadLetter) and (named := _NAMED.match(verdict.reason)):
            found.setdefault(named[1], verdict.reason[named.end() :])
    return found


def _parsed(
    dataset: str, topic: str, samples: Sequence[Sample], source: str, found: Sequence[Column | PassedOver]
) -> Draft:  # fmt: skip
    """Return the first of the sensible choices that is a declaration: what a key or a measure may be is its rule, not ours."""
    refusal: DeclarationError | None = None
    for choice in _choices(dataset, topic, samples, source, found):
        text = text_of(choice)
        try:
            return Draft(text, parse(text, f"datasets/{dataset}.yaml"), tuple(_told(choice)))
        except DeclarationError as error:
            refusal = refusal or error
    fields = ", ".join(f"{c.name} ({c.field.type})" for c in found if isinstance(c, Column)) or "none"
    raise UsageError(
        f"{source}: expected a column of text or whole numbers that every record has, to group by, and one to measure; "
        f"got {fields}" + (f"; {refusal}" if refusal else "")
    )


# ---- what to choose ----------------------------------------------------------------------------------------------


def _choices(
    dataset: str, topic: str, samples: Sequence[Sample], source: str, found: Sequence[Column | PassedOver]
) -> Iterator[Choice]:  # fmt: skip
    """Yield what a draft may be made of, the most sensible first."""
    fields = tuple(c for c in found if isinstance(c, Column))
    passed = tuple(c for c in found if isinstance(c, PassedOver))
    if not fields:
        return
    time, time_why = _event_time(fields, samples)
    identity = _identity(fields, time, samples)
    for by, (measures, stats) in product(_keys(fields, identity, len(samples)), _measures(fields, identity)):
        apart = tuple(m for m in measures if m.name != by.name and not _clash(m, stats, by))[:MOST_MEASURES]
        if apart:
            groups = _groups(by, len(samples))
            why = "" if groups else "no column names kinds that come again and again: choose what to tell apart"
            alert = apart[0] if groups and stats == _NUMBERS else None  # of a key seen once there is no history
            yield Choice(
                dataset, topic, source, len(samples), fields, passed, identity, time, time_why, by, why,
                _window(time, by, len(samples)), apart, stats, alert,
            )  # fmt: skip


def _event_time(fields: Sequence[Column], samples: Sequence[Sample]) -> tuple[Column | None, str]:
    """Return the column that is an event's time, and why."""
    times = [c for c in fields if c.field.type == "time"]
    fit = [c for c in times if c.always and not _ahead(c, samples)]
    if fit:
        best = min(fit, key=lambda c: _rank(c.name))
        others = ", ".join(c.name for c in times if c is not best)
        zone = (
            "times without a zone are read as of this one: put in the one they were written in, such as Europe/Paris"
            if best.naive
            else "every time names its own zone"
        )
        return best, zone + (f"; {others} could be it, too" if others else "")
    if not times:
        return None, "no column is a time, so an event's time is when the broker got it"
    odd = times[0]
    why = "is not in every record" if odd.field.optional else "lies in the future in some records"
    return None, f"{odd.name} {why}, so an event's time is when the broker got it"


def _ahead(column: Column, samples: Sequence[Sample]) -> bool:
    ends = (sample.append_us + LATE_US for sample in samples)
    return any(isinstance(us, int) and us > end for us, end in zip(column.values, ends, strict=True))


def _rank(name: str) -> int:
    return min((_WHEN.index(word) for word in name.split("_") if word in _WHEN), default=len(_WHEN))


def _identity(fields: Sequence[Column], time: Column | None, samples: Sequence[Sample]) -> Identity:
    """Return the likeliest id: columns of which no two records that differ have the same values."""
    names = frozenset(c.name for c in fields)
    rest = (_undeclared(sample, names) for sample in samples)
    wholes: dict[object, int] = {}
    for i, whole in enumerate(zip(*(c.values for c in fields), rest, strict=True)):
        wholes.setdefault(whole, i)
    kept = list(wholes.values())
    rows = {c.name: [c.values[i] for i in kept] for c in fields}

    def unique(chosen: Sequence[Column]) -> bool:
        return not duplicates(zip(*(rows[c.name] for c in chosen), strict=True))

    found = next((some for some in _ids(fields, time, len(kept)) if some and unique(some)), None)
    copies = len(samples) - len(kept)
    more = (
        f"; {copies:,} are the same as an earlier one in every column, and would count as its copies" if copies else ""
    )
    if found is None:
        everything = tuple(c.name for c in fields if c.always) or (fields[0].name,)
        return Identity(everything, f"no columns tell the {len(kept):,} samples apart", found=False)
    share = "it" if len(found) == 1 else "both" if len(found) == 2 else "all of them"
    sure = len(kept) >= ENOUGH and len(found) == 1 and _ID.search(found[0].name)
    word = "quite sure" if sure else "a guess" if len(kept) >= ENOUGH else "a guess from few samples"
    return Identity(tuple(c.name for c in found), f"{word}: no two of {len(kept):,} samples share {share}{more}")


def _undeclared(sample: Sample, names: frozenset[str]) -> str:
    """Return what of a sample stands in no declared column."""
    return repr(sorted((name, repr(c)) for name, c in sample.cells.items() if name not in names and c is not None))


def _ids(fields: Sequence[Column], time: Column | None, samples: int) -> Iterator[tuple[Column, ...]]:
    """Yield what an id may be, the likeliest first."""
    always = [c for c in fields if c.always]
    words = sorted((c for c in always if c.field.type == "string"), key=lambda c: -c.distinct)
    whole = sorted((c for c in always if c.field.type == "integer"), key=lambda c: -c.distinct)
    named = [c for c in [*words, *whole] if _ID.search(c.name)]
    when = () if time is None else (time,)
    yield from ((c,) for c in named)
    if when:
        yield from ((c, *when) for c in named)
    yield from ((c,) for c in words if not any(" " in str(v) for v in c.values))
    if when:
        yield from ((c, *when) for c in words if c.distinct < samples)
        yield when
        yield from ((c, *when) for c in whole)
    yield from ((c,) for c in [*whole, *words])
    tried = [*named, *(c for c in [*when, *words, *whole] if c not in named)][:MOST_TRIED]
    for size in (2, 3):
        yield from combinations(tried, size)
    yield tuple(c for c in always if c.field.type != "decimal")
    yield tuple(always)


def _keys(fields: Sequence[Column], identity: Identity, samples: int) -> list[Column]:
    """Return the columns that views may be grouped by, the best first: few different values, each seen several times."""
    able = [c for c in fields if c.always and c.field.type in {"string", "integer"}]

    def taste(column: Column) -> tuple[bool, bool, bool, bool, bool, bool, float]:
        unlike = 2 * column.distinct > samples
        number = column.field.type == "integer"
        how_much = number and not _CODE.search(column.name)
        single = column.name in identity.names or bool(_ID.search(column.name))  # of one thing, not of a kind of things
        few = column.distinct <= MOST_KEYS and _groups(column, samples)
        far = abs(math.log(column.distinct / LIKED))
        return (unlike, how_much, not few, column.distinct == 2, number, single, far)

    return sorted(able, key=taste)


def _groups(column: Column, samples: int) -> bool:
    """Whether a column names kinds, each of them seen several times."""
    return 1 < column.distinct <= samples // 3


def _measures(fields: Sequence[Column], identity: Identity) -> list[tuple[list[Column], tuple[str, ...]]]:
    """Return what may be measured and how, the best first: numbers, or at least how many different texts there are."""
    numbers = [c for c in fields if c.field.numeric]
    worth = [c for c in numbers if identity.names != (c.name,) and not _ID.search(c.name) and not _PLACE.search(c.name)]
    worth = [c for c in worth if c.distinct > FLAGS] or worth
    worth.sort(key=lambda c: (c.field.type != "decimal", c.field.optional))
    words = sorted((c for c in fields if c.field.type == "string"), key=lambda c: c.name not in identity.names)
    tries = [(worth, _NUMBERS), (numbers, _NUMBERS), (words, ("distinct",))]
    return [(some, stats) for some, stats in tries if some]


def _clash(measure: Column, stats: Sequence[str], by: Column) -> bool:
    """Whether a finished column would be called like another."""
    return any(f"{measure.name}_{stat}" in {by.name, *RESERVED} for stat in stats)


def _window(time: Column | None, by: Column, samples: int) -> str:
    """Return the shortest window that holds some records of each key, as often as they come in the samples."""
    if time is None:
        return "1 minute"
    instants = sorted(us for us in time.values if isinstance(us, int))
    aside = samples // 20  # a time far from all others says nothing of how often they come
    span_s = (instants[-1 - aside] - instants[aside]) / 10**6
    needed_s = _PER_WINDOW * by.distinct * span_s / (samples - 2 * aside)
    return next((name for name, seconds in _WINDOWS.items() if seconds >= needed_s), "1 day")


# ---- the text ----------------------------------------------------------------------------------------------------


def scalar(text: str) -> str:
    """Return a text as YAML takes it, in a list or a mapping on one line too.

    Examples
    --------
    >>> print(scalar("grey soil"), scalar("1"), scalar("no"), scalar('say "é"'))
    grey soil "1" "no" "say \\"é\\""
    """
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in {'"', "\\"}:
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04x}" if ord(letter) < 1 << 16 else f"\\U{ord(letter):08x}"


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(scalar, names))}]"


def _named(choice: Choice, suffix: str) -> str:
    cut = suffix[: LONGEST // 2].rstrip("_")
    return f"{choice.dataset[: LONGEST - 1 - len(cut)].rstrip('_')}_{cut}"


def _title(name: str) -> str:
    return name.replace("_", " ")


def text_of(choice: Choice) -> str:
    """Return the text of a declaration."""
    return "\n".join(
        [*_head(choice), "", *_fields(choice), "", *_views(choice), *_alerts(choice), "", *_api(choice), ""]
    )


def _head(choice: Choice) -> Iterator[str]:
    yield f"# {_title(choice.dataset).capitalize()}, drafted by `braid new` from {choice.samples:,} records of {_safe(choice.source)}."
    yield "# What it could only guess says so. Make it yours before the first `braid up`: once events are counted, the text"
    yield f"# that counted them is kept and holds. `braid check {choice.dataset}` tries this file on records."
    yield f"dataset: {scalar(choice.dataset)}"
    yield f"title: {scalar(_title(choice.dataset).capitalize())}"
    yield f"topic: {scalar(choice.topic)}"
    yield f"event_id: {_listed(choice.identity.names)}  # {choice.identity.why}"
    if choice.time is None:
        yield f"event_time: append  # {choice.time_why}"
    else:
        yield f"event_time: {{field: {scalar(choice.time.name)}, zone: UTC}}  # {choice.time_why}"
    if choice.identity.found:
        yield "dedupe: by_id  # a second record of an id is a copy, and counts never, however late"
    else:
        yield "dedupe: none  # so every record counts, also one that is sent twice"
    yield "batch: {every: 10 minutes}"


def _fields(choice: Choice) -> Iterator[str]:
    yield "fields:  # add unit and meaning for people, and min and max where you are sure: what lies beyond is a dead letter"
    names = [scalar(c.name) for c in choice.fields]
    width = max((len(name) for name in names if len(name) <= WIDEST), default=0)
    for name, column in zip(names, choice.fields, strict=True):
        note = f"  # {_safe(column.note)}" if column.note else ""
        line = f"  {f'{name}:':<{width + 1}} {{{', '.join(_parts(column.field))}}}"
        if column.field.values and len(line) + len(note) > LINE:
            yield f"  {name}:"
            yield from (f"    {part}{note if part.startswith('values') else ''}" for part in _parts(column.field))
        else:
            yield line + note
    if choice.passed:
        yield "  # not declared, so in no view; they stay in the raw records:"
    for gone in choice.passed:
        yield f"  #   {_safe(gone.name)}: {_safe(gone.why)}"


def _parts(field: Field) -> Iterator[str]:
    yield f"type: {field.type}"
    if field.type == "decimal":
        yield f"scale: {field.scale}"
    for name, bound in (("min", field.min), ("max", field.max)):
        if bound is not None:
            yield f"{name}: {bound:f}"
    if field.values:
        yield f"values: {_listed(field.values)}"
    elif field.type == "string":
        yield f"max_length: {field.max_length}"
    if field.optional:
        yield "optional: true"


def _safe(text: str) -> str:
    """Return a text that ends no comment."""
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _views(choice: Choice) -> Iterator[str]:
    by = choice.by
    what = (
        _title(choice.measures[0].name).capitalize()
        if len(choice.measures) == 1
        else _title(choice.dataset).capitalize()
    )
    yield "views:"
    for suffix, title, window in (
        (f"by_{by.name}", f"{what} by {_title(by.name)}", choice.window),
        ("all_time", f"{what} by {_title(by.name)}, all time", "all"),
    ):
        yield f"  {_named(choice, suffix)}:"
        yield f"    title: {title}"  # a plain scalar of its own line may hold a comma
        yield f"    by: {_listed([by.name])}" + (f"  # {choice.by_why}" if choice.by_why else "")
        yield f"    window: {window}"
        yield "    measures:"
        for measure in choice.measures:
            name = scalar(measure.name)
            yield f"      {name}: {{of: {name}, stats: [{', '.join(choice.stats)}]}}"


def _alerts(choice: Choice) -> Iterator[str]:
    if choice.alert is None:
        return
    shown = [
        name
        for name in choice.identity.names
        if name not in {choice.by.name, choice.alert.name, choice.time.name if choice.time else ""}
    ]
    yield ""
    yield "alerts:  # an event far from its own key's history, which is the view of window `all`"
    yield f"  {f'unusual_{choice.alert.name}'[:LONGEST].rstrip('_')}:"
    yield f"    title: {scalar(f'Unusual {_title(choice.alert.name)}')}"
    yield f"    of: {scalar(choice.alert.name)}"
    yield f"    by: {_listed([choice.by.name])}"
    yield "    rule: sigma"
    yield "    beyond: 3  # standard deviations"
    yield "    min_count: 30  # events of the key before the first alert"
    if shown and choice.identity.found:
        yield f"    show: {_listed(shown)}"


def _api(choice: Choice) -> Iterator[str]:
    yield "api:"
    yield f"  /api/{choice.dataset}: {{view: {_named(choice, f'by_{choice.by.name}')}, newest_window: true}}"


# ---- for the terminal --------------------------------------------------------------------------------------------


def _told(choice: Choice) -> Iterator[str]:
    """Yield what was guessed, a line each."""
    dedupe = "" if choice.identity.found else "; dedupe: none"
    yield f"event id    {', '.join(choice.identity.names)}: {choice.identity.why}{dedupe}"
    yield f"event time  {choice.time.name if choice.time else 'append'}: {choice.time_why}"
    for column in choice.fields:
        parts = ", ".join(part for part in _parts(column.field) if not part.startswith("values"))
        listed = f", one of {len(column.field.values)} values" if column.field.values else ""
        yield _safe(f"field       {column.name}: {parts.removeprefix('type: ')}{listed}; {column.note}").rstrip("; ")
    for gone in choice.passed:
        yield _safe(f"left out    {gone.name}: {gone.why}")
    names = ", ".join(m.name for m in choice.measures)
    why = f"; {choice.by_why}" if choice.by_why else ""
    yield f"views       {names} by {choice.by.name}: windows of {choice.window}, and all time{why}"
    if choice.alert is not None:
        yield f"alerts      {choice.alert.name} beyond 3 standard deviations of its {choice.by.name}'s history"
