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
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic import Field as Bounded

from braid.errors import DeclarationError

Kind = Literal["string", "decimal", "integer", "time"]
Stat = Literal["n", "sum", "mean", "stddev", "min", "max"]
Layer = Literal["merged", "batch", "speed"]

LIMIT = 3 * 10**9  # |x| of a scaled measure stays below this, so that x² fits 64 bits (design: state)
_UNITS_US = {"second": 10**6, "minute": 60 * 10**6, "hour": 3600 * 10**6, "day": 86400 * 10**6}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
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
    }
)


# ---- the value ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record. `min` and `max` are inclusive; `max_length` counts UTF-8 bytes."""

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

    @property
    def numeric(self) -> bool:
        """Whether the field holds a scaled integer that can be measured."""
        return self.type in {"decimal", "integer"}


@dataclass(frozen=True, slots=True)
class EventTime:
    """Where an event's time stands (`field` None: the topic's append time) and the zone of times without one."""

    field: str | None
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic of a dataset and the shape of its records."""

    name: str
    fields: Mapping[str, Field]
    event_id: tuple[str, ...]
    event_time: EventTime


@dataclass(frozen=True, slots=True)
class Measure:
    """A numeric field of a view and the statistics wanted of it."""

    name: str
    of: str
    stats: tuple[Stat, ...]
    scale: int


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
    attribution: str = ""  # where the data come from and under which terms, for people; addresses become links

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
    same = {(m.name, m.of) for m in fine.measures} == {(m.name, m.of) for m in coarse.measures}
    keys = set(coarse.by) <= set(fine.by)
    strict = set(coarse.by) < set(fine.by) or coarse.window_us != fine.window_us
    if not (same and keys and strict and fine.topics == coarse.topics):
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


class _EventTime(_Strict):
    field: Name
    zone: str = "UTC"


class _Batch(_Strict):
    every: Annotated[int, BeforeValidator(_length_us)]


class _Measure(_Strict):
    of: Name
    stats: Annotated[tuple[Stat, ...], BeforeValidator(_tuple), Bounded(min_length=1)]


class _View(_Strict):
    title: str = ""
    by: Annotated[Names, Bounded(min_length=1, max_length=8)]
    window: Annotated[int, BeforeValidator(_window_us)]
    measures: Annotated[dict[Name, _Measure], Bounded(min_length=1)]
    rename: dict[Name, Name] = {}


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
    topic: TopicName
    event_id: Annotated[Names, Bounded(min_length=1)]
    event_time: _EventTime | Literal["append"]
    dedupe: Literal["by_id", "none"] = "by_id"
    batch: _Batch | None = None
    fields: Annotated[dict[Name, _Field], Bounded(min_length=1)]
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


def _keys_at(path: tuple[str, ...]) -> list[str]:
    models: dict[object, type[BaseModel]] = {
        0: _File,
        "fields": _Field,
        "views": _View,
        "alerts": _Alert,
        "api": _Api,
        "event_time": _EventTime,
        "batch": _Batch,
    }
    model = models.get(path[0] if path else 0)
    if path and path[0] == "views" and "measures" in path:
        model = _Measure
    return list(model.model_fields) if model else []


class _Checked:
    """What one key cannot know alone: the names it speaks of exist and fit."""

    def __init__(self, file: _File, reader: _Reader) -> None:
        self.file = file
        self.reader = reader

    def declaration(self, text: str) -> Declaration:
        f = self.file
        fields = {name: self._field(name, raw) for name, raw in f.fields.items()}
        topic = Topic(f.topic, fields, f.event_id, self._event_time(fields))
        for i, name in enumerate(f.event_id):
            self._known(("event_id", str(i)), name, fields)
            if fields[name].optional:
                raise self.reader.error(("event_id", str(i)), "a field that every event has", f"the optional '{name}'")
        views = tuple(self._view(name, raw, topic) for name, raw in f.views.items())
        alerts = tuple(self._alert(name, raw, fields, views) for name, raw in f.alerts.items())
        api = tuple(self._api(path, raw, views) for path, raw in f.api.items())
        result = Declaration(
            dataset=f.dataset, topics=(topic,), views=views, alerts=alerts, api=api, dedupe=f.dedupe,
            batch_every_us=f.batch.every if f.batch else None, title=f.title or f.dataset, description=f.description,
            text=text, hash=_hash(f), attribution=f.attribution,
        )  # fmt: skip
        self._tables(result)
        return result

    def _known(self, path: tuple[str, ...], name: str, fields: Mapping[str, Field]) -> Field:
        if name not in fields:
            raise self.reader.error(
                path, f"one of the fields {', '.join(fields)}", f"'{name}'", "declare it under fields"
            )
        return fields[name]

    def _field(self, name: str, raw: _Field) -> Field:
        path = ("fields", name)
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
        )

    def _event_time(self, fields: Mapping[str, Field]) -> EventTime:
        raw = self.file.event_time
        if raw == "append":
            return EventTime(None)
        assert isinstance(raw, _EventTime)  # noqa: S101 - narrows the union for the type checker
        found = self._known(("event_time", "field"), raw.field, fields)
        if found.type != "time" or found.optional:
            raise self.reader.error(
                ("event_time", "field"), "a time field that every event has", f"'{raw.field}' of type {found.type}"
            )
        try:
            ZoneInfo(raw.zone)
        except (KeyError, ValueError, OSError) as error:
            raise self.reader.error(
                ("event_time", "zone"), "a time zone such as Europe/Paris", f"'{raw.zone}'"
            ) from error
        return EventTime(raw.field, raw.zone)

    def _view(self, name: str, raw: _View, topic: Topic) -> ViewSpec:
        path = ("views", name)
        for i, key in enumerate(raw.by):
            found = self._known((*path, "by", str(i)), key, topic.fields)
            if found.type != "string" or found.optional:
                raise self.reader.error(
                    (*path, "by", str(i)), "a string field that every event has", f"'{key}' of type {found.type}"
                )
        measures = []
        for measure, m in raw.measures.items():
            here = (*path, "measures", measure, "of")
            if m.of not in topic.fields or not topic.fields[m.of].numeric:
                raise self.reader.error(here, "a decimal field", f"'{m.of}'", "declare it under fields")
            measures.append(Measure(measure, m.of, m.stats, topic.fields[m.of].scale))
        view = ViewSpec(name, raw.by, raw.window, tuple(measures), (topic.name,), raw.title or name, raw.rename)
        self._columns(path, view)
        return view

    def _columns(self, path: tuple[str, ...], view: ViewSpec) -> None:
        plain = {f"{m.name}_{s}" for m in view.measures for s in m.stats}
        for old in view.rename:
            if old not in plain:
                raise self.reader.error((*path, "rename", old), f"one of {', '.join(sorted(plain))}", f"'{old}'")
        names = [*view.by, *(column for column, _, _ in view.finished)]
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

    def _alert(self, name: str, raw: _Alert, fields: Mapping[str, Field], views: tuple[ViewSpec, ...]) -> AlertRule:
        path = ("alerts", name)
        for key in ("by", "show"):
            for i, column in enumerate(getattr(raw, key)):
                self._known((*path, key, str(i)), column, fields)
        if not self._known((*path, "of"), raw.of, fields).numeric:
            raise self.reader.error((*path, "of"), "a decimal field", f"'{raw.of}'")
        for view in views:
            measure = next((m for m in view.measures if m.of == raw.of), None)
            if view.window_us == 0 and view.by == raw.by and measure:
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


def _hash(file: _File) -> str:
    """Return the sha256 of what decides numbers: not titles, units, paths or the schedule."""
    decides = file.model_dump(mode="json", exclude={"title", "description", "attribution", "api", "batch"})
    for group in ("fields", "views", "alerts"):
        for item in decides[group].values():
            for words in ("title", "unit", "meaning"):
                item.pop(words, None)
    return hashlib.sha256(json.dumps(decides, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
