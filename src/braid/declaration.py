"""A dataset, declared: one frozen value, from which everything else is derived.

It is read from one YAML file (`declaration_reader`), whose keys are those of `declaration_file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal

from braid.expressions import Scalar

Kind = Literal["string", "decimal", "integer", "time"]
Stat = Literal["n", "sum", "mean", "stddev", "min", "max", "p50", "p90", "p95", "p99", "distinct", "latest"]
StateKind = Literal["moments", "quantiles", "distinct", "latest"]
Layer = Literal["merged", "batch", "speed"]

LIMIT = 3 * 10**9  # |x| of a scaled measure stays below this, so that x² fits 64 bits (design: state)
QUANTILES: Mapping[str, int] = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}  # the statistic, and its percent


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
    finished: tuple[tuple[str, Measure, Stat], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make `finished`, which is asked for at every row: each column as (name, measure, statistic), in declared order."""
        object.__setattr__(self, "finished", tuple((self.column(m, s), m, s) for m in self.measures for s in m.stats))

    def column(self, measure: Measure, stat: str) -> str:
        """Return the name under which people read a finished statistic."""
        plain = f"{measure.name}_{stat}"
        return self.rename.get(plain, plain)


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
