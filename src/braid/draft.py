"""Samples of a dataset -> the text of a declaration that takes every one of them, for a person to make their own.

What is drafted has to be right where a mistake would cost records or counts, and only sensible elsewhere. So three
things hold of every draft: it parses; none of its samples is a dead letter by it (a column that would make one is passed
over, and named); and no two samples that differ are one event by its `event_id`, or `dedupe: none` says that no id was
found. Keys, windows, measures and alerts are choices of taste, made by plain rules, and each is a line to change.

What was guessed, and why, stands in comments beside it, and once more in `told`, for the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from braid.choices import Choice, choices
from braid.declaration import Declaration, Field, Topic
from braid.declaration_reader import parse
from braid.errors import DeclarationError, UsageError
from braid.names import LONGEST, is_name
from braid.records import DeadLetter
from braid.records import parse as read
from braid.samples import Column, PassedOver, Sample, columns, json_of

LINE = 120  # columns of a line, but where a comment goes on
WIDEST = 24  # of the names that are set in a column
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?: [A-Za-z0-9_-]+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})  # not text to every reader of YAML
_NAMED = re.compile(r"\$\.([^:]+): ")


@dataclass(frozen=True, slots=True)
class Draft:
    """A declaration's text, what it says, and what was guessed, line by line."""

    text: str
    declaration: Declaration
    told: tuple[str, ...]


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
        found = [passed.get(c.member if isinstance(c, Column) else c.name, c) for c in columns(samples, typed=typed)]
        made = _parsed(dataset, topic, samples, source, found)
        refused = _refused(made.declaration.topics[0], samples)
        if not refused:
            return made
        passed |= {name: PassedOver(name, why) for name, why in refused.items()}


def _refused(topic: Topic, samples: Sequence[Sample]) -> dict[str, str]:
    """Return the JSON keys by which a sample would be a dead letter, and why; what is wrong with a whole record no field mends."""

    numeric = {field.member for field in topic.fields.values() if field.numeric}

    def bare(name: str) -> bool:
        return name in numeric

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
    for choice in choices(dataset, topic, samples, source, found):
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
    if field.key:
        yield f"key: {scalar(field.key)}"
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
