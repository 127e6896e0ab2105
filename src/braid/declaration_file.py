"""The YAML file of a declaration: which keys it may have, read with the line of each.

The file is refused whole, with its line, key, what was expected and what stood there, before any job starts: a
misspelt key is an error here and never a silent default later. Two traps of YAML are closed: a key written twice is
refused (YAML keeps the last in silence), and only JSON's numbers, `true`, `false` and `null` are anything but text
(YAML 1.1 reads `10:30` as 630 and `off` as False).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic import Field as Bounded

from braid.declaration import Kind, Layer, Stat
from braid.errors import DeclarationError

_UNITS_US = {"second": 10**6, "minute": 60 * 10**6, "hour": 3600 * 10**6, "day": 86400 * 10**6}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
# a JSON key that a field may be read from, where it is not the field's name
KEY = r"^[A-Za-z0-9_@][A-Za-z0-9_@. -]{0,99}$"
# names that Braid's own tables and answers use beside the declared ones
RESERVED = frozenset(
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


class FieldKeys(_Strict):
    """A field of a record."""

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


class DerivedKeys(_Strict):
    """A derived column."""

    type: Literal["string", "decimal", "integer"]
    sql: str
    scale: Annotated[int, Bounded(ge=0, le=9)] | None = None
    min: Number | None = None
    max: Number | None = None
    max_length: Annotated[int, Bounded(ge=1, le=4096)] = 256
    unit: str = ""
    meaning: str = ""


class EventTimeKeys(_Strict):
    """Where the time of an event stands."""

    field: Name
    zone: str = "UTC"


class TopicKeys(_Strict):
    """A topic of several."""

    event_id: Annotated[Names, Bounded(min_length=1)]
    event_time: EventTimeKeys | Literal["append"]
    fields: Annotated[dict[Name, FieldKeys], Bounded(min_length=1)]
    derived: dict[Name, DerivedKeys] = {}


class BatchKeys(_Strict):
    """The schedule of the batch layer."""

    every: Annotated[int, BeforeValidator(_length_us)]


class MeasureKeys(_Strict):
    """A measure of a view."""

    of: Name
    stats: Annotated[tuple[Stat, ...], BeforeValidator(_tuple), Bounded(min_length=1)]


class RuleKeys(_Strict):
    """Words for a finished number."""

    of: Name
    below: Annotated[dict[Annotated[str, Bounded(min_length=1, max_length=48)], Number], Bounded(min_length=1)]
    otherwise: Annotated[str, Bounded(min_length=1, max_length=48)]


class TopKeys(_Strict):
    """A cut of answers."""

    k: Annotated[int, Bounded(ge=1, le=1000)]
    of: Name
    per: Names = ()


class MapKeys(_Strict):
    """A map of a view."""

    lat: Name
    lon: Name
    colour: Name
    value: Name
    size: Name = "n"


class ViewKeys(_Strict):
    """A view."""

    title: str = ""
    topics: Annotated[tuple[TopicName, ...], BeforeValidator(_tuple), Bounded(min_length=1)] | None = None
    where: str | None = None
    by: Annotated[Names, Bounded(min_length=1, max_length=8)]
    window: Annotated[int, BeforeValidator(_window_us)]
    measures: Annotated[dict[Name, MeasureKeys], Bounded(min_length=1)]
    rename: dict[Name, Name] = {}
    classify: dict[Name, RuleKeys] = {}
    publish: TopicName | None = None
    top: TopKeys | None = None
    map: MapKeys | None = None


class AlertKeys(_Strict):
    """An alert rule."""

    title: str = ""
    of: Name
    by: Annotated[Names, Bounded(min_length=1)]
    rule: Literal["sigma"]
    beyond: Annotated[Number, Bounded(gt=0, le=100)]
    min_count: Annotated[int, Bounded(ge=2)] = 30
    show: Names = ()


class ApiKeys(_Strict):
    """A path that earlier users know."""

    view: Name | None = None
    alerts: Name | None = None
    layer: Layer = "merged"
    newest_window: bool = False
    rename: dict[Name, Name] = {}


class FileKeys(_Strict):
    """The whole file."""

    dataset: Name
    title: str = ""
    description: str = ""
    attribution: str = ""
    topic: TopicName | None = None
    topics: Annotated[dict[TopicName, TopicKeys], Bounded(min_length=1)] = {}
    event_id: Names = ()
    event_time: EventTimeKeys | Literal["append"] | None = None
    dedupe: Literal["by_id", "none"] = "by_id"
    batch: BatchKeys | None = None
    start: Literal["always", "by_name"] = "always"
    generator: Annotated[str, Bounded(pattern=r"^data/([a-z0-9_]+/)*[a-z0-9_]+\.py$")] | None = None
    fields: dict[Name, FieldKeys] = {}
    derived: dict[Name, DerivedKeys] = {}
    views: Annotated[dict[Name, ViewKeys], Bounded(min_length=1)]
    alerts: dict[Name, AlertKeys] = {}
    api: dict[Annotated[str, Bounded(pattern=r"^/api/[a-z0-9/_-]+$")], ApiKeys] = {}


class Loader(yaml.SafeLoader):
    """YAML whose plain scalars are JSON's and text, and which keeps the line of every key."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML wants it so, and only reads it


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"-?(0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?(0|[1-9][0-9]*)\.[0-9]+", "-0123456789"),
    ("null", r"null|", "n"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


class Reader:
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


def read(text: str, where: str) -> tuple[FileKeys, Reader]:
    """Return the keys of a declaration's text, and where each stands; `where` names the file in errors.

    Raises
    ------
    DeclarationError
        With file, line, key, expected and got.
    """
    reader = Reader(where)
    try:
        node = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise DeclarationError(f"{where}: expected YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(node, yaml.MappingNode):
        raise DeclarationError(f"{where}: expected a mapping with the key 'dataset', got {text.strip()[:40]!r}")
    raw = reader.value(node)
    try:
        return FileKeys.model_validate(raw), reader
    except ValidationError as error:
        raise _first_problem(reader, error) from error


def plain(text: str) -> dict[str, Any]:
    """Return a declaration's text as plain values, numbers as they are written: for comparing two of them."""
    node = yaml.compose(text, Loader=Loader)
    found = Reader("declaration").value(node) if isinstance(node, yaml.MappingNode) else {}
    return dict(found)


def _first_problem(reader: Reader, error: ValidationError) -> DeclarationError:
    problem = error.errors()[0]
    # pydantic adds names of union members to the location; a key of the file is lower case
    path = tuple(str(p) for p in problem["loc"] if str(p) not in {"[key]", "EventTimeKeys", "literal['append']"})
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(_keys_at(path[:-1])))
        return reader.error(path, f"one of {known}" if known else "no such key", f"'{path[-1]}'")
    if problem["type"] == "missing":
        return reader.error(path, "a value", "nothing", f"add the key '{path[-1]}'")
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("expected ")
    for pydantic, plain in (
        ("valid tuple", "list"),
        ("a valid dictionary or instance of EventTimeKeys", "'append' or {field: …, zone: …}"),
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


_WITHIN_VIEW: Mapping[str, type[BaseModel]] = {
    "measures": MeasureKeys,
    "classify": RuleKeys,
    "top": TopKeys,
    "map": MapKeys,
}


def _keys_at(path: tuple[str, ...]) -> list[str]:
    models: dict[object, type[BaseModel]] = {
        0: FileKeys,
        "fields": FieldKeys,
        "derived": DerivedKeys,
        "views": ViewKeys,
        "alerts": AlertKeys,
        "api": ApiKeys,
        "event_time": EventTimeKeys,
        "batch": BatchKeys,
    }
    if path and path[0] == "topics":  # below a topic's name stand the keys of the top level
        path = path[2:]
        models[0] = TopicKeys
    model = models.get(path[0] if path else 0)
    if path and path[0] == "views":
        model = next((m for key, m in _WITHIN_VIEW.items() if key in path[2:]), model)
    return list(model.model_fields) if model else []


def _groups(decides: Mapping[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    yield from (decides[name] for name in ("fields", "derived", "views", "alerts"))
    yield from (topic[name] for topic in decides["topics"].values() for name in ("fields", "derived"))


def hash_of(file: FileKeys) -> str:
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
