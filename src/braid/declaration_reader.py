"""From a file's keys to a declaration: what one key cannot know alone, the names it speaks of, exist and fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from braid import expressions
from braid.declaration import (
    AlertRule,
    ApiPath,
    Declaration,
    Derived,
    EventTime,
    Field,
    Map,
    Measure,
    Rule,
    Top,
    Topic,
    ViewSpec,
    bounds,
    kind_of,
)
from braid.declaration_file import (
    RESERVED,
    AlertKeys,
    ApiKeys,
    DerivedKeys,
    EventTimeKeys,
    FieldKeys,
    FileKeys,
    MeasureKeys,
    Reader,
    RuleKeys,
    TopicKeys,
    ViewKeys,
    hash_of,
    read,
)
from braid.errors import DeclarationError
from braid.expression_tree import ExpressionError
from braid.expressions import Known


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
    file, reader = read(text, where)
    return _Checked(file, reader).declaration(text)


class _Checked:
    """What one key cannot know alone: the names it speaks of exist and fit."""

    def __init__(self, file: FileKeys, reader: Reader) -> None:
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
            text=text, hash=hash_of(f), by_name=f.start == "by_name", attribution=f.attribution,
            generator=f.generator,
        )  # fmt: skip
        self._tables(result)
        return result

    def _raw_topics(self) -> list[tuple[str, TopicKeys, tuple[str, ...]]]:
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
        return [
            (f.topic, TopicKeys(event_id=f.event_id, event_time=f.event_time, fields=f.fields, derived=f.derived), ())
        ]

    def _topic(self, name: str, raw: TopicKeys, at: tuple[str, ...]) -> Topic:
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

    def _derived(self, name: str, raw: DerivedKeys, held: Mapping[str, Field], at: tuple[str, ...]) -> Derived:
        path = (*at, "derived", name)
        if name in held:
            raise self.reader.error(path, "a name of its own", f"'{name}', which is a field", "choose another name")
        plain = {key: getattr(raw, key) for key in ("type", "scale", "min", "max", "max_length", "unit", "meaning")}
        made = self._field(name, FieldKeys(**plain), path)
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

    def _field(self, name: str, raw: FieldKeys, path: tuple[str, ...]) -> Field:
        if name in RESERVED:
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
        self, fields: Mapping[str, Field], raw: EventTimeKeys | Literal["append"], at: tuple[str, ...]
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

    def _view(self, name: str, raw: ViewKeys, topics: tuple[Topic, ...]) -> ViewSpec:
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

    def _top(self, path: tuple[str, ...], view: ViewSpec, raw: ViewKeys) -> Top | None:
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

    def _map(self, path: tuple[str, ...], view: ViewSpec, raw: ViewKeys) -> Map | None:
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

    def _published(self, path: tuple[str, ...], raw: ViewKeys, declared: Sequence[str]) -> str | None:
        """Return the topic of a view's rows: one of its own, or they would be counted, or told from no other's."""
        others = [view.publish for view in self.file.views.values() if view is not raw]
        if raw.publish is not None and raw.publish in {*declared, *others}:
            raise self.reader.error((*path, "publish"), "a topic that is no other's", f"'{raw.publish}'")
        return raw.publish

    def _rule(self, path: tuple[str, ...], view: ViewSpec, name: str, raw: RuleKeys) -> Rule:
        here = (*path, "classify", name)
        finished = _numbers(view)
        if raw.of not in finished:
            raise self.reader.error((*here, "of"), f"one of {', '.join(finished)}", f"'{raw.of}'")
        bounds_ = list(raw.below.values())
        if bounds_ != sorted(set(bounds_)):
            raise self.reader.error((*here, "below"), "bounds that rise", ", ".join(map(str, bounds_)))
        return Rule(name, raw.of, tuple(raw.below.items()), raw.otherwise)

    def _measures(
        self, path: tuple[str, ...], name: str, raw: MeasureKeys, held: Mapping[str, Field]
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
            if column in RESERVED:
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

    def _alert(self, name: str, raw: AlertKeys, topics: tuple[Topic, ...], views: tuple[ViewSpec, ...]) -> AlertRule:
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

    def _api(self, path: str, raw: ApiKeys, views: tuple[ViewSpec, ...]) -> ApiPath:
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


def _common(topics: Sequence[Topic]) -> dict[str, Field]:
    """Return the columns that all of some topics have; one is optional where it is in any."""
    first, *others = (topic.columns for topic in topics)
    return {
        name: replace(of, optional=of.optional or any(other[name].optional for other in others))
        for name, of in first.items()
        if all(name in other for other in others)
    }
