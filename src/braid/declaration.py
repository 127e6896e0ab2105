"""A dataset, declared: one YAML file read into one frozen value, from which everything else is derived.

The file is refused whole, with its line, key, what was expected and what stood there, before any job starts: a
misspelt key is an error here and never a silent default later. Two traps of YAML are closed: a key written twice is
refused (YAML keeps the last in silence), and only JSON's numbers, `true`, `false` and `null` are anything but text
(YAML 1.1 reads `10:30` as 630 and `off` as False).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic import Field as Bounded

from braid import expressions
from braid.errors import DeclarationError
from braid.expression_tree import ExpressionError
from braid.expressions import Known, Scalar

Kind = Literal["string", "decimal", "integer", "time"]
Stat = Literal["n", "sum", "mean", "stddev", "min", "max", "p50", "p90", "p95", "p99", "distinct", "latest"]
StateKind = Literal["moments", "quantiles", "distinct", "latest"]
Layer = Literal["merged", "batch", "speed"]

LIMIT = 3 * 10**9  # |x| of a scaled measure stays below this, so that x² fits 64 bits (design: state)
QUANTILES: Mapping[str, int] = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}  # the statistic, and its percent
_UNITS_US = {"second": 10**6, "minute": 60 * 10**6, "hour": 3600 * 10**6, "day": 86400 * 10**6}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
# a JSON key that a field may be read from, where it is not the field's name
KEY = r"^[A-Za-z0-9_@][A-Za-z0-9_@. -]{0,99}$"
# names that Braid's own tables and answers use beside the declared ones
_RESERVED = frozenset(
    {
        "n",
        "fp",
        "seq",
        "bucket",
        "attempt",
        "window_start",
        "window_start_us",
        "window_end",
        "topic",
        "partition",
        "offset",
        "reason",
        "state",
        "raw",
        "gen",
        "part",
        "day",
        "z",
        "id64",
        "salted64",
        "event_us",
        "append_us",
        "alert",
        "baseline",
        "baseline_n",
        "baseline_mean",
        "baseline_stddev",
        "acknowledgement",
        "rank",
    }
)


# ---- the value ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record. `min` and `max` are inclusive; `max_length` counts UTF-8 bytes.

    `key` is the JSON key it is read from where that is not its name.
    """

    name: str
    type: Kind
    scale: int = 0
    min: Decimal | None = None
    max: Decimal | None = None
    max_length: int = 256
    optional: bool = False
    values: tuple[str, ...] | None = None
    unit: str = ""
    meaning: str = ""
    key: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the field holds a scaled integer that can be measured."""
        return self.type in {"decimal", "integer"}

    @property
    def member(self) -> str:
        """The JSON key under which a record has it."""
        return self.key or self.name


@dataclass(frozen=True, slots=True)
class EventTime:
    """Where an event's time stands (`field` None: the topic's append time) and the zone of times without one."""

    field: str | None
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Derived:
    """A column computed from an event's fields and the derived columns before it; from there on it is like a field.

    `field.optional` says whether a good event can be without a value.
    """

    field: Field
    value: Scalar

    @property
    def name(self) -> str:
        """The column's name."""
        return self.field.name


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic of a dataset and the shape of its records."""

    name: str
    fields: Mapping[str, Field]
    event_id: tuple[str, ...]
    event_time: EventTime
    derived: tuple[Derived, ...] = ()

    @property
    def columns(self) -> Mapping[str, Field]:
        """What an event holds: the record's fields, then the derived columns."""
        return {**self.fields, **{d.name: d.field for d in self.derived}} if self.derived else self.fields


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of a view and the statistics wanted of it, all finished from one state of kind `kind`.

    Statistics of other kinds of the same declared measure are a `Measure` of their own; `id` tells them apart.
    """

    name: str
    of: str
    stats: tuple[Stat, ...]
    scale: int
    kind: StateKind = "moments"
    text: bool = False  # the column holds texts

    @property
    def texts(self) -> bool:
        """Whether what is finished from it is a text."""
        return self.text and self.kind == "latest"

    @property
    def id(self) -> str:
        """The name within the view's states."""
        return self.name if self.kind == "moments" else f"{self.name}__{self.kind}"


def kind_of(stat: Stat) -> StateKind:
    """Return the state from which a statistic is finished."""
    if stat in {"distinct", "latest"}:
        return stat
    return "quantiles" if stat in QUANTILES else "moments"


@dataclass(frozen=True, slots=True)
class Rule:
    """A word for a finished number: of `levels`, lowest first, the first whose bound it lies below, else `otherwise`.

    A function of the number as it is answered, so that whoever reads the number can check the word.
    """

    name: str
    of: str
    levels: tuple[tuple[str, Decimal], ...]
    otherwise: str

    def word(self, value: object) -> str | None:
        """Return the word for a finished number, None for none.

        Examples
        --------
        >>> rule = Rule("congestion", "avg_speed", (("High", Decimal(10)), ("Medium", Decimal(16))), "Low")
        >>> [rule.word(x) for x in (9.99, 10.0, 16.0, None)]
        ['High', 'Medium', 'Low', None]
        """
        if not isinstance(value, int | float):
            return None
        return next((word for word, bound in self.levels if Decimal(value) < bound), self.otherwise)

    @property
    def words(self) -> tuple[str, ...]:
        """Every word it can say."""
        return tuple(dict.fromkeys([*(word for word, _ in self.levels), self.otherwise]))


@dataclass(frozen=True, slots=True)
class Top:
    """How answers cut a view: of each window and `per`, the `k` rows with the greatest `of`.

    The states of all keys are kept; the cut is made when everything is merged, so it is exact.
    """

    k: int
    of: str
    per: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Map:
    """A map of a view: the columns of a row that say where (degrees, WGS 84), in which colour, how much and how large.

    `colour` is a declared word; the others are finished numbers, `value` and `size` may also be `n`.
    """

    lat: str
    lon: str
    colour: str
    value: str
    size: str = "n"


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """An aggregation: keys, a window in microseconds (0 = all time), measures."""

    name: str
    by: tuple[str, ...]
    window_us: int
    measures: tuple[Measure, ...]
    topics: tuple[str, ...]
    title: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    where: Scalar | None = None
    rules: tuple[Rule, ...] = ()
    publish: str | None = None  # the topic to which changed rows are sent
    top: Top | None = None
    map: Map | None = None  # decides no number

    def column(self, measure: Measure, stat: str) -> str:
        """Return the name under which people read a finished statistic."""
        plain = f"{measure.name}_{stat}"
        return self.rename.get(plain, plain)

    @property
    def finished(self) -> tuple[tuple[str, Measure, Stat], ...]:
        """Every finished column as (name, measure, statistic), in declared order."""
        return tuple((self.column(m, s), m, s) for m in self.measures for s in m.stats)


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An event is an alert when its `of` lies beyond `beyond` standard deviations of its key's history."""

    name: str
    of: str
    by: tuple[str, ...]
    beyond: Decimal
    min_count: int
    show: tuple[str, ...]
    baseline: str  # the view, of window `all`, whose state is the history
    measure: str  # and its measure
    rule: Literal["sigma"] = "sigma"
    title: str = ""


@dataclass(frozen=True, slots=True)
class ApiPath:
    """A path that earlier users know: a bare array out of a view or an alert rule."""

    path: str
    view: str | None
    alerts: str | None
    layer: Layer
    newest_window: bool
    rename: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A whole dataset. Two of equal `hash` decide every number alike; `text` is the file as it was read."""

    dataset: str
    topics: tuple[Topic, ...]
    views: tuple[ViewSpec, ...]
    alerts: tuple[AlertRule, ...]
    api: tuple[ApiPath, ...]
    dedupe: Literal["by_id", "none"]
    batch_every_us: int | None
    title: str
    description: str
    text: str
    hash: str
    by_name: bool = False  # runs only where it was started by its name
    attribution: str = ""  # where the data come from and under which terms, for people; addresses become links
    generator: str | None = None  # the script under data/ that makes synthetic records of it

    def topic(self, name: str) -> Topic:
        """Return the topic called `name`; KeyError when the dataset owns none such."""
        return {t.name: t for t in self.topics}[name]

    def view(self, name: str) -> ViewSpec:
        """Return the view called `name`; KeyError when there is none."""
        return {v.name: v for v in self.views}[name]

    def alert(self, name: str) -> AlertRule:
        """Return the alert rule called `name`; KeyError when there is none."""
        return {a.name: a for a in self.alerts}[name]

    def finest(self, view: ViewSpec) -> ViewSpec:
        """Return the view whose fragments are the tail of `view`: the first finer one that no view is finer than, or itself."""
        finer = [v for v in self.views if _finer(v, view)]
        return next((v for v in finer if not any(_finer(w, v) for w in self.views)), view)

    @property
    def fragment_views(self) -> tuple[ViewSpec, ...]:
        """The finest views, the only ones that have fragments."""
        return tuple(v for v in self.views if self.finest(v) is v)


def _finer(fine: ViewSpec, coarse: ViewSpec) -> bool:
    """Whether `coarse` can be merged from `fine`: same measures and topics, keys and window at least as fine.

    Of two equal views neither would be left with fragments, so a strictly finer one is asked for.
    """
    windows = fine.window_us and (coarse.window_us == 0 or coarse.window_us % fine.window_us == 0)
    same = {(m.id, m.of) for m in fine.measures} == {(m.id, m.of) for m in coarse.measures}
    keys = set(coarse.by) <= set(fine.by)
    strict = set(coarse.by) < set(fine.by) or coarse.window_us != fine.window_us
    if not (same and keys and strict and fine.topics == coarse.topics and fine.where == coarse.where):
        return False
    return bool(windows) or fine.window_us == coarse.window_us


# ---- the file ----------------------------------------------------------------------------------------------------


def duration_us(text: str) -> int:
    """Return a duration such as `10 minutes` in microseconds.

    Examples
    --------
    >>> duration_us("10 minutes")
    600000000
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5}) (second|minute|hour|day)s?", text)
    if not found:
        raise ValueError("expected a duration such as '10 minutes'")
    return int(found[1]) * _UNITS_US[found[2]]


def _length_us(text: object) -> object:
    # a bare number has no unit: taken as it is, 600 would be 600 microseconds
    return duration_us(text if isinstance(text, str) else "")


def _window_us(text: object) -> object:
    return 0 if text == "all" else _length_us(text)


def _name(text: object) -> object:
    if not isinstance(text, str) or not _NAME.fullmatch(text) or "__" in text:
        raise ValueError("expected a name of lower-case letters, digits and single underscores, at most 48")
    return text


def _decimal(value: object) -> object:
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, BeforeValidator(_name)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_tuple)]
Number = Annotated[Decimal, BeforeValidator(_decimal)]
TopicName = Annotated[str, Bounded(pattern=r"^[A-Za-z0-9._-]{1,200}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Field(_Strict):
    type: Kind
    scale: Annotated[int, Bounded(ge=0, le=9)] | None = None
    min: Number | None = None
    max: Number | None = None
    max_length: Annotated[int, Bounded(ge=1, le=4096)] = 256
    optional: bool = False
    values: Annotated[tuple[str, ...], BeforeValidator(_tuple), Bounded(min_length=1)] | None = None
    unit: str = ""
    meaning: str = ""
    key: Annotated[str, Bounded(pattern=KEY)] | None = None


class _Derived(_Strict):
    type: Literal["string", "decimal", "integer"]
    sql: str
    scale: Annotated[int, Bounded(ge=0, le=9)] | None = None
    min: Number | None = None
    max: Number | None = None
    max_length: Annotated[int, Bounded(ge=1, le=4096)] = 256
    unit: str = ""
    meaning: str = ""


class _EventTime(_Strict):
    field: Name
    zone: str = "UTC"


class _Topic(_Strict):
    event_id: Annotated[Names, Bounded(min_length=1)]
    event_time: _EventTime | Literal["append"]
    fields: Annotated[dict[Name, _Field], Bounded(min_length=1)]
    derived: dict[Name, _Derived] = {}


class _Batch(_Strict):
    every: Annotated[int, BeforeValidator(_length_us)]


class _Measure(_Strict):
    of: Name
    stats: Annotated[tuple[Stat, ...], BeforeValidator(_tuple), Bounded(min_length=1)]


class _Rule(_Strict):
    of: Name
    below: Annotated[dict[Annotated[str, Bounded(min_length=1, max_length=48)], Number], Bounded(min_length=1)]
    otherwise: Annotated[str, Bounded(min_length=1, max_length=48)]


class _Top(_Strict):
    k: Annotated[int, Bounded(ge=1, le=1000)]
    of: Name
    per: Names = ()


class _Map(_Strict):
    lat: Name
    lon: Name
    colour: Name
    value: Name
    size: Name = "n"


class _View(_Strict):
    title: str = ""
    topics: Annotated[tuple[TopicName, ...], BeforeValidator(_tuple), Bounded(min_length=1)] | None = None
    where: str | None = None
    by: Annotated[Names, Bounded(min_length=1, max_length=8)]
    window: Annotated[int, BeforeValidator(_window_us)]
    measures: Annotated[dict[Name, _Measure], Bounded(min_length=1)]
    rename: dict[Name, Name] = {}
    classify: dict[Name, _Rule] = {}
    publish: TopicName | None = None
    top: _Top | None = None
    map: _Map | None = None


class _Alert(_Strict):
    title: str = ""
    of: Name
    by: Annotated[Names, Bounded(min_length=1)]
    rule: Literal["sigma"]
    beyond: Annotated[Number, Bounded(gt=0, le=100)]
    min_count: Annotated[int, Bounded(ge=2)] = 30
    show: Names = ()


class _Api(_Strict):
    view: Name | None = None
    alerts: Name | None = None
    layer: Layer = "merged"
    newest_window: bool = False
    rename: dict[Name, Name] = {}


class _File(_Strict):
    dataset: Name
    title: str = ""
    description: str = ""
    attribution: str = ""
    topic: TopicName | None = None
    topics: Annotated[dict[TopicName, _Topic], Bounded(min_length=1)] = {}
    event_id: Names = ()
    event_time: _EventTime | Literal["append"] | None = None
    dedupe: Literal["by_id", "none"] = "by_id"
    batch: _Batch | None = None
    start: Literal["always", "by_name"] = "always"
    generator: Annotated[str, Bounded(pattern=r"^data/([a-z0-9_]+/)*[a-z0-9_]+\.py$")] | None = None
    fields: dict[Name, _Field] = {}
    derived: dict[Name, _Derived] = {}
    views: Annotated[dict[Name, _View], Bounded(min_length=1)]
    alerts: dict[Name, _Alert] = {}
    api: dict[Annotated[str, Bounded(pattern=r"^/api/[a-z0-9/_-]+$")], _Api] = {}


class _Loader(yaml.SafeLoader):
    """YAML whose plain scalars are JSON's and text, and which keeps the line of every key."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML wants it so, and only reads it


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"-?(0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?(0|[1-9][0-9]*)\.[0-9]+", "-0123456789"),
    ("null", r"null|", "n"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


class _Reader:
    """YAML nodes to plain values, with the line of every path, refusing keys written twice."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: dict[tuple[str, ...], int] = {}

    def value(self, node: yaml.Node, path: tuple[str, ...] = ()) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, str(i))) for i, child in enumerate(node.value)]
        text = node.value
        match node.tag.rsplit(":", 1)[-1]:
            case "int":
                return int(text)
            case "float":
                return Decimal(text)
            case "bool":
                return text == "true"
            case "null":
                return None
        return text

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, child in node.value:
            key = str(key_node.value)
            here = (*path, key)
            self.lines[here] = key_node.start_mark.line + 1
            if key in result:
                raise self.error(here, "each key once", "the key a second time", "remove one of the two")
            result[key] = self.value(child, here)
        return result

    def error(self, path: tuple[str, ...], expected: str, got: object, what_next: str = "") -> DeclarationError:
        line = next((self.lines[path[:k]] for k in range(len(path), -1, -1) if path[:k] in self.lines), 1)
        key = "$" + "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in path)
        tail = f"; {what_next}" if what_next else ""
        return DeclarationError(f"{self.where}:{line}: {key}: expected {expected}, got {got}{tail}")


def load(path: Path) -> Declaration:
    """Read and validate one declaration file.

    Raises
    ------
    DeclarationError
        With file, line, key, expected and got.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path}: expected a readable UTF-8 file, got {error}") from error
    return parse(text, where=f"{path.parent.name}/{path.name}")


def load_all(folder: Path) -> dict[str, Declaration]:
    """Read every `*.yaml` of a folder, by dataset name, in name order."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        declaration = load(path)
        if declaration.dataset != path.stem:
            raise DeclarationError(
                f"{path}: $.dataset: expected '{path.stem}' like the file, got '{declaration.dataset}'"
            )
        found[declaration.dataset] = declaration
    return found


def parse(text: str, where: str = "declaration") -> Declaration:
    """Read a declaration from YAML text; `where` names it in errors."""
    reader = _Reader(where)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise DeclarationError(f"{where}: expected YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(node, yaml.MappingNode):
        raise DeclarationError(f"{where}: expected a mapping with the key 'dataset', got {text.strip()[:40]!r}")
    raw = reader.value(node)
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        raise _first_problem(reader, error) from error
    return _Checked(file, reader).declaration(text)


def plain(text: str) -> dict[str, Any]:
    """Return a declaration's text as plain values, numbers as they are written: for comparing two of them."""
    node = yaml.compose(text, Loader=_Loader)
    found = _Reader("declaration").value(node) if isinstance(node, yaml.MappingNode) else {}
    return dict(found)


def _first_problem(reader: _Reader, error: ValidationError) -> DeclarationError:
    problem = error.errors()[0]
    # pydantic adds names of union members to the location; a key of the file is lower case
    path = tuple(str(p) for p in problem["loc"] if str(p) not in {"[key]", "_EventTime", "literal['append']"})
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(_keys_at(path[:-1])))
        return reader.error(path, f"one of {known}" if known else "no such key", f"'{path[-1]}'")
    if problem["type"] == "missing":
        return reader.error(path, "a value", "nothing", f"add the key '{path[-1]}'")
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("expected ")
    for pydantic, plain in (
        ("valid tuple", "list"),
        ("a valid dictionary or instance of _EventTime", "'append' or {field: …, zone: …}"),
        ("Value should have at least 1 item after validation, not 0", "at least one item"),
        ("Dictionary should have at least 1 item after validation, not 0", "at least one key"),
        ("String should match pattern", "text that matches"),
        ("greater than or equal to", "at least"),
        ("less than or equal to", "at most"),
        ("greater than", "more than"),
    ):
        message = message.replace(pydantic, plain)
    return reader.error(path, message, _shown(problem["input"]))


def _shown(value: object) -> str:
    return f"'{value}'" if isinstance(value, str | Decimal) else json.dumps(value, default=str)


_WITHIN_VIEW: Mapping[str, type[BaseModel]] = {"measures": _Measure, "classify": _Rule, "top": _Top, "map": _Map}


def _keys_at(path: tuple[str, ...]) -> list[str]:
    models: dict[object, type[BaseModel]] = {
        0: _File,
        "fields": _Field,
        "derived": _Derived,
        "views": _View,
        "alerts": _Alert,
        "api": _Api,
        "event_time": _EventTime,
        "batch": _Batch,
    }
    if path and path[0] == "topics":  # below a topic's name stand the keys of the top level
        path = path[2:]
        models[0] = _Topic
    model = models.get(path[0] if path else 0)
    if path and path[0] == "views":
        model = next((m for key, m in _WITHIN_VIEW.items() if key in path[2:]), model)
    return list(model.model_fields) if model else []


class _Checked:
    """What one key cannot know alone: the names it speaks of exist and fit."""

    def __init__(self, file: _File, reader: _Reader) -> None:
        self.file = file
        self.reader = reader

    def declaration(self, text: str) -> Declaration:
        f = self.file
        topics = tuple(self._topic(name, raw, at) for name, raw, at in self._raw_topics())
        self._alike(topics)
        views = tuple(self._view(name, raw, topics) for name, raw in f.views.items())
        alerts = tuple(self._alert(name, raw, topics, views) for name, raw in f.alerts.items())
        api = tuple(self._api(path, raw, views) for path, raw in f.api.items())
        result = Declaration(
            dataset=f.dataset, topics=topics, views=views, alerts=alerts, api=api, dedupe=f.dedupe,
            batch_every_us=f.batch.every if f.batch else None, title=f.title or f.dataset, description=f.description,
            text=text, hash=_hash(f), by_name=f.start == "by_name", attribution=f.attribution,
            generator=f.generator,
        )  # fmt: skip
        self._tables(result)
        return result

    def _raw_topics(self) -> list[tuple[str, _Topic, tuple[str, ...]]]:
        """Return (name, keys, path) of each topic: those under `topics`, or the one at the top level."""
        f = self.file
        top = [key for key in ("topic", "event_id", "event_time", "fields", "derived") if getattr(f, key)]
        if f.topics:
            if top:
                raise self.reader.error((top[0],), "either topics or the keys of one topic", f"topics and {top[0]}")
            return [(name, raw, ("topics", name)) for name, raw in f.topics.items()]
        for key in ("topic", "event_id", "event_time", "fields"):
            if not getattr(f, key):
                raise self.reader.error((key,), "a value", "nothing", f"add the key '{key}'")
        assert f.topic is not None and f.event_time is not None  # noqa: S101 - narrows for the type checker
        return [(f.topic, _Topic(event_id=f.event_id, event_time=f.event_time, fields=f.fields, derived=f.derived), ())]

    def _topic(self, name: str, raw: _Topic, at: tuple[str, ...]) -> Topic:
        fields = {column: self._field(column, of, (*at, "fields", column)) for column, of in raw.fields.items()}
        self._keys(fields, (*at, "fields"))
        for i, part in enumerate(raw.event_id):
            here = (*at, "event_id", str(i))
            self._known(here, part, fields)
            if fields[part].optional:
                raise self.reader.error(here, "a field that every event has", f"the optional '{part}'")
        when = self._event_time(fields, raw.event_time, at)
        derived: list[Derived] = []
        for column, of in raw.derived.items():
            derived.append(self._derived(column, of, {**fields, **{d.name: d.field for d in derived}}, at))
        return Topic(name, fields, raw.event_id, when, tuple(derived))

    def _keys(self, fields: Mapping[str, Field], at: tuple[str, ...]) -> None:
        """Two fields of one key would be one value under two names: one of the keys is a slip."""
        seen: dict[str, str] = {}
        for name, field_ in fields.items():
            if field_.member in seen:
                raise self.reader.error(
                    (*at, name), "a JSON key of its own", f"'{field_.member}', which is that of {seen[field_.member]}"
                )
            seen[field_.member] = name

    def _derived(self, name: str, raw: _Derived, held: Mapping[str, Field], at: tuple[str, ...]) -> Derived:
        path = (*at, "derived", name)
        if name in held:
            raise self.reader.error(path, "a name of its own", f"'{name}', which is a field", "choose another name")
        plain = {key: getattr(raw, key) for key in ("type", "scale", "min", "max", "max_length", "unit", "meaning")}
        made = self._field(name, _Field(**plain), path)
        known = {column: _known_of(of) for column, of in held.items()}
        try:
            if made.type == "string":
                value = expressions.string(raw.sql, known, made.max_length)
            else:
                value = expressions.number(raw.sql, known, made.scale, *bounds(made))
        except ExpressionError as error:
            raise self.reader.error((*path, "sql"), str(error), f"'{raw.sql}'") from error
        return Derived(replace(made, optional=value.nullable), value)

    def _alike(self, topics: tuple[Topic, ...]) -> None:
        """Columns of one name are one column of the dataset, whatever topic they come from."""
        seen: dict[str, tuple[str, Field]] = {}
        for topic in topics:
            for name, found in topic.columns.items():
                other, held = seen.setdefault(name, (topic.name, found))
                if (held.type, held.scale) != (found.type, found.scale):
                    raise self.reader.error(
                        ("topics", topic.name, "fields", name), f"type {held.type} and scale {held.scale} as in topic {other}",
                        f"type {found.type} and scale {found.scale}", "give one of the two another name",
                    )  # fmt: skip

    def _known(self, path: tuple[str, ...], name: str, fields: Mapping[str, Field]) -> Field:
        if name not in fields:
            raise self.reader.error(
                path, f"one of the fields {', '.join(fields)}", f"'{name}'", "declare it under fields"
            )
        return fields[name]

    def _field(self, name: str, raw: _Field, path: tuple[str, ...]) -> Field:
        if name in _RESERVED:
            raise self.reader.error(path, "a name that Braid does not use itself", f"'{name}'", "choose another name")
        if raw.scale is not None and raw.type != "decimal":
            raise self.reader.error((*path, "scale"), "no scale, or type: decimal", f"type {raw.type}")
        if raw.type == "decimal" and raw.scale is None:
            raise self.reader.error(path, "a scale (decimal digits) for a decimal", "none", "add scale: 6")
        if raw.type not in {"decimal", "integer"} and (raw.min is not None or raw.max is not None):
            raise self.reader.error(path, "min and max only on numbers", f"type {raw.type}")
        if raw.values is not None and raw.type != "string":
            raise self.reader.error((*path, "values"), "a list of values only on a string", f"type {raw.type}")
        if raw.min is not None and raw.max is not None and raw.min > raw.max:
            raise self.reader.error((*path, "min"), f"at most max ({raw.max})", str(raw.min))
        return Field(
            name,
            raw.type,
            raw.scale or 0,
            raw.min,
            raw.max,
            raw.max_length,
            raw.optional,
            raw.values,
            raw.unit,
            raw.meaning,
            raw.key or "",
        )

    def _event_time(
        self, fields: Mapping[str, Field], raw: _EventTime | Literal["append"], at: tuple[str, ...]
    ) -> EventTime:
        if raw == "append":
            return EventTime(None)
        found = self._known((*at, "event_time", "field"), raw.field, fields)
        if found.type != "time" or found.optional:
            raise self.reader.error(
                (*at, "event_time", "field"), "a time field that every event has", f"'{raw.field}' of type {found.type}"
            )
        try:
            ZoneInfo(raw.zone)
        except (KeyError, ValueError, OSError) as error:
            raise self.reader.error(
                (*at, "event_time", "zone"), "a time zone such as Europe/Paris", f"'{raw.zone}'"
            ) from error
        return EventTime(raw.field, raw.zone)

    def _view(self, name: str, raw: _View, topics: tuple[Topic, ...]) -> ViewSpec:
        path = ("views", name)
        declared = [topic.name for topic in topics]
        for i, topic in enumerate(raw.topics or ()):
            if topic not in declared:
                raise self.reader.error((*path, "topics", str(i)), f"one of {', '.join(declared)}", f"'{topic}'")
        read = [topic for topic in topics if raw.topics is None or topic.name in raw.topics]
        held = _common(read)
        for i, key in enumerate(raw.by):
            found = self._known((*path, "by", str(i)), key, held)
            if found.type not in {"string", "integer"} or found.optional:
                shown = f"'{key}' of type {found.type}" + (", which can be without a value" if found.optional else "")
                raise self.reader.error(
                    (*path, "by", str(i)), "a string or integer field that every event has", shown,
                    "give it a value by a derived column with coalesce" if found.optional else "",
                )  # fmt: skip
        measures = tuple(m for measure, of in raw.measures.items() for m in self._measures(path, measure, of, held))
        where = None
        if raw.where is not None:
            try:
                where = expressions.condition(raw.where, {column: _known_of(of) for column, of in held.items()})
            except ExpressionError as error:
                raise self.reader.error((*path, "where"), str(error), f"'{raw.where}'") from error
        names = tuple(topic.name for topic in read)
        view = ViewSpec(name, raw.by, raw.window, measures, names, raw.title or name, raw.rename, where)
        rules = tuple(self._rule(path, view, word, rule) for word, rule in raw.classify.items())
        view = replace(view, rules=rules, publish=self._published(path, raw, declared))
        self._columns(path, view)
        return replace(view, top=self._top(path, view, raw), map=self._map(path, view, raw))

    def _top(self, path: tuple[str, ...], view: ViewSpec, raw: _View) -> Top | None:
        if raw.top is None:
            return None
        numbers = _numbers(view)
        if raw.top.of not in numbers:
            raise self.reader.error((*path, "top", "of"), f"one of {', '.join(numbers)}", f"'{raw.top.of}'")
        for i, key in enumerate(raw.top.per):
            if key not in view.by or len(view.by) == len(raw.top.per):
                raise self.reader.error(
                    (*path, "top", "per", str(i)), f"some of {', '.join(view.by)}, not all", f"'{key}'"
                )
        if raw.publish is not None:
            what = "no publish beside top: a row that leaves the list has not changed"
            raise self.reader.error((*path, "publish"), what, f"'{raw.publish}'", "publish a view without top")
        return Top(raw.top.k, raw.top.of, tuple(key for key in view.by if key in raw.top.per))

    def _map(self, path: tuple[str, ...], view: ViewSpec, raw: _View) -> Map | None:
        """Return a view's map, whose columns the finished rows have under these names."""
        declared = raw.map
        if declared is None:
            return None
        if not view.window_us:
            raise self.reader.error((*path, "map"), "a view with windows, through which a map leads", "window: all")
        numbers = _numbers(view)
        words = [rule.name for rule in view.rules]
        for key, known in (
            ("lat", numbers),
            ("lon", numbers),
            ("colour", words),
            ("value", [*numbers, "n"]),
            ("size", [*numbers, "n"]),
        ):
            column = getattr(declared, key)
            if column not in known:
                expected = f"one of {', '.join(known)}" if known else "a word declared under classify"
                raise self.reader.error((*path, "map", key), expected, f"'{column}'")
        return Map(declared.lat, declared.lon, declared.colour, declared.value, declared.size)

    def _published(self, path: tuple[str, ...], raw: _View, declared: Sequence[str]) -> str | None:
        """Return the topic of a view's rows: one of its own, or they would be counted, or told from no other's."""
        others = [view.publish for view in self.file.views.values() if view is not raw]
        if raw.publish is not None and raw.publish in {*declared, *others}:
            raise self.reader.error((*path, "publish"), "a topic that is no other's", f"'{raw.publish}'")
        return raw.publish

    def _rule(self, path: tuple[str, ...], view: ViewSpec, name: str, raw: _Rule) -> Rule:
        here = (*path, "classify", name)
        finished = _numbers(view)
        if raw.of not in finished:
            raise self.reader.error((*here, "of"), f"one of {', '.join(finished)}", f"'{raw.of}'")
        bounds_ = list(raw.below.values())
        if bounds_ != sorted(set(bounds_)):
            raise self.reader.error((*here, "below"), "bounds that rise", ", ".join(map(str, bounds_)))
        return Rule(name, raw.of, tuple(raw.below.items()), raw.otherwise)

    def _measures(
        self, path: tuple[str, ...], name: str, raw: _Measure, held: Mapping[str, Field]
    ) -> Iterator[Measure]:
        """Yield a measure of each kind of state that the statistics ask for."""
        here = (*path, "measures", name)
        found = held.get(raw.of)
        texts = {"distinct", "latest"} if found is not None and found.type == "string" else {"distinct"}
        if found is None or not (found.numeric or all(stat in texts for stat in raw.stats)):
            raise self.reader.error((*here, "of"), "a decimal field", f"'{raw.of}'", "declare it under fields")
        for kind in dict.fromkeys(map(kind_of, raw.stats)):
            stats = tuple(stat for stat in raw.stats if kind_of(stat) == kind)
            yield Measure(name, raw.of, stats, found.scale, kind, not found.numeric)

    def _columns(self, path: tuple[str, ...], view: ViewSpec) -> None:
        plain = {f"{m.name}_{s}" for m in view.measures for s in m.stats}
        for old in view.rename:
            if old not in plain:
                raise self.reader.error((*path, "rename", old), f"one of {', '.join(sorted(plain))}", f"'{old}'")
        names = [*view.by, *(column for column, _, _ in view.finished), *(rule.name for rule in view.rules)]
        for column in names:
            if column in _RESERVED:
                raise self.reader.error(
                    path,
                    "columns that Braid does not use itself",
                    f"'{column}'",
                    "use rename, or name the measure differently",
                )
            if names.count(column) > 1:
                raise self.reader.error(
                    path,
                    "columns of different names",
                    f"'{column}' twice",
                    "use rename, or name the measure differently",
                )

    def _alert(self, name: str, raw: _Alert, topics: tuple[Topic, ...], views: tuple[ViewSpec, ...]) -> AlertRule:
        path = ("alerts", name)
        everything = {column: of for topic in topics for column, of in topic.columns.items()}
        if not self._known((*path, "of"), raw.of, everything).numeric:
            raise self.reader.error((*path, "of"), "a decimal field", f"'{raw.of}'")
        for key in ("by", "show"):
            for i, column in enumerate(getattr(raw, key)):
                self._known((*path, key, str(i)), column, everything)
        for view in views:
            measure = next((m for m in view.measures if m.of == raw.of and m.kind == "moments"), None)
            if view.window_us == 0 and view.by == raw.by and len(view.topics) == 1 and measure:
                held = next(topic.columns for topic in topics if topic.name == view.topics[0])
                for i, column in enumerate(raw.show):
                    self._known((*path, "show", str(i)), column, held)
                return AlertRule(
                    name,
                    raw.of,
                    raw.by,
                    raw.beyond,
                    raw.min_count,
                    raw.show,
                    view.name,
                    measure.name,
                    title=raw.title or name,
                )
        raise self.reader.error(
            path,
            f"a view with window: all, by: [{', '.join(raw.by)}] and a measure of {raw.of}",
            "none",
            "declare it under views: it is the alerts' baseline",
        )

    def _api(self, path: str, raw: _Api, views: tuple[ViewSpec, ...]) -> ApiPath:
        if (raw.view is None) == (raw.alerts is None):
            raise self.reader.error(("api", path), "either view or alerts", "both" if raw.view else "neither")
        if raw.view is not None and raw.view not in {v.name for v in views}:
            raise self.reader.error(
                ("api", path, "view"), f"one of {', '.join(v.name for v in views)}", f"'{raw.view}'"
            )
        if raw.alerts is not None and raw.alerts not in self.file.alerts:
            raise self.reader.error(("api", path, "alerts"), f"one of {', '.join(self.file.alerts)}", f"'{raw.alerts}'")
        return ApiPath(path, raw.view, raw.alerts, raw.layer, raw.newest_window, raw.rename)

    def _tables(self, result: Declaration) -> None:
        taken = {"ledger", "current", "dead_letters", "acknowledgements"}
        for kind, names in (("views", [v.name for v in result.views]), ("alerts", [a.name for a in result.alerts])):
            for name in names:
                if name in taken:
                    raise self.reader.error((kind, name), "a table name not yet taken", f"'{name}'")
                taken.add(name)


def _numbers(view: ViewSpec) -> list[str]:
    """Return the finished columns that hold numbers."""
    return [column for column, m, _ in view.finished if not m.texts]


def _known_of(of: Field) -> Known:
    """Return what an expression may know of a column."""
    if of.type == "time":
        return Known("time", 10**6, expressions.TIME_BOUND, of.optional)
    if of.type == "string":
        longest = of.max_length if of.values is None else max(len(value.encode()) for value in of.values)
        return Known("text", 1, longest, of.optional)
    return Known("number", 10**of.scale, max(map(abs, bounds(of))), of.optional)


def bounds(of: Field) -> tuple[int, int]:
    """Return the least and the greatest scaled integer that a numeric field takes, both inclusive.

    Examples
    --------
    >>> bounds(Field("ndvi_mean", "decimal", scale=6, min=Decimal(-1), max=Decimal(1)))
    (-1000000, 1000000)
    """
    one = Decimal(10) ** of.scale
    low = -LIMIT + 1 if of.min is None else max(-LIMIT + 1, int((of.min * one).to_integral_value(ROUND_CEILING)))
    high = LIMIT - 1 if of.max is None else min(LIMIT - 1, int((of.max * one).to_integral_value(ROUND_FLOOR)))
    return low, high


def _common(topics: Sequence[Topic]) -> dict[str, Field]:
    """Return the columns that all of some topics have; one is optional where it is in any."""
    first, *others = (topic.columns for topic in topics)
    return {
        name: replace(of, optional=of.optional or any(other[name].optional for other in others))
        for name, of in first.items()
        if all(name in other for other in others)
    }


def _groups(decides: Mapping[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    yield from (decides[name] for name in ("fields", "derived", "views", "alerts"))
    yield from (topic[name] for topic in decides["topics"].values() for name in ("fields", "derived"))


def _hash(file: _File) -> str:
    """Return the sha256 of what decides numbers: not titles, units, maps, paths or the schedule."""
    words = {"title", "description", "attribution", "api", "batch", "start", "generator"}
    decides = file.model_dump(mode="json", exclude=words)
    for group in _groups(decides):
        for item in group.values():
            for word in ("title", "unit", "meaning", "publish", "map"):
                item.pop(word, None)
    # a key that came later is not there while it says nothing: declarations without it keep their hash
    for group in _groups(decides):
        for item in group.values():
            if item.get("key", "") is None:
                del item["key"]
    for item in decides["views"].values():
        for later in ("topics", "where", "classify", "top"):
            if not item[later]:
                del item[later]
    for later in ("derived", "topics"):
        if not decides[later]:
            del decides[later]
    return hashlib.sha256(json.dumps(decides, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
