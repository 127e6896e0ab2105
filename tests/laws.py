"""Laws of the algebra, for every kind of state: what makes `batch ⊕ tail` equal a recompute, however it was cut.

A new kind is one line in `KINDS`. All laws hold with `==`: states are exact functions of the set of events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from braid import aggregates, views
from braid.aggregates import NO_MOMENTS, NOTHING, Held, Moments, State
from braid.declaration import LIMIT, Measure, StateKind, ViewSpec
from braid.views import Fragment

EDGE = LIMIT - 1  # the largest scaled value, 3·10^9 − 1
MINUTE_US = 60_000_000

edges = st.sampled_from([EDGE, -EDGE, EDGE - 1, 1, 0, -1])
scaled = st.one_of(edges, st.integers(-EDGE, EDGE))
optional = st.one_of(st.none(), scaled)
hashes = st.one_of(st.sampled_from([-1, 0, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1))


@dataclass(frozen=True)
class Kind:
    """A kind of state: its zero, its merge, one item as a state, and which items there are."""

    name: str
    zero: Any
    merge: Callable[[Any, Any], Any]
    lift: Callable[[Any], Any]
    items: st.SearchStrategy[Any]

    def fold(self, items: Sequence[Any]) -> Any:
        """Return the state of some items."""
        return reduce(self.merge, map(self.lift, items), self.zero)


def _state(item: tuple[int, list[int | None]]) -> State:
    return aggregates.lift_event(*item)


def _held(kind: StateKind) -> Callable[[Any], Held]:
    measure = Measure("m", "m", (), 0, kind)
    return lambda value: aggregates.lift_held(measure, value)


def _latest(item: tuple[int, aggregates.Order]) -> Held:
    """Return the state of one event, whose value follows from its place: no two events share one."""
    seq, topic, partition, offset = item[1]
    value = None if offset % 5 == 0 else f"{item[0]} {seq} {topic} {partition} {offset}"
    return aggregates.lift_held(Measure("m", "m", ("latest",), 0, "latest", text=True), value, item)


orders = st.tuples(st.integers(0, 3), st.sampled_from(["a", "b.c", "a-"]), st.integers(0, 2), st.integers(0, 12))
KINDS = (
    Kind("moments", NO_MOMENTS, aggregates.merge, aggregates.lift, optional),
    Kind("quantiles", NOTHING["quantiles"], aggregates.merge_held, _held("quantiles"), scaled),
    Kind("distinct", NOTHING["distinct"], aggregates.merge_held, _held("distinct"), st.one_of(st.none(), st.text(max_size=3))),
    Kind("latest", NOTHING["latest"], aggregates.merge_held, _latest, st.tuples(st.integers(-2, 2), orders)),
    Kind("state", aggregates.zero(2), aggregates.merge_states, _state, st.tuples(hashes, st.lists(optional, min_size=2, max_size=2))),
)  # fmt: skip


def check_merge(kind: Kind, a: Sequence[Any], b: Sequence[Any], c: Sequence[Any]) -> None:
    """Zero is neutral; order and grouping do not matter."""
    x, y, z = kind.fold(a), kind.fold(b), kind.fold(c)
    assert kind.merge(kind.zero, x) == x == kind.merge(x, kind.zero)
    assert kind.merge(x, y) == kind.merge(y, x)
    assert kind.merge(kind.merge(x, y), z) == kind.merge(x, kind.merge(y, z))


def check_pieces(kind: Kind, items: Sequence[Any], cuts: Sequence[int]) -> None:
    """Any cut into pieces, each folded by itself and all merged, is the fold of the whole."""
    bounds = [0, *sorted(cut % (len(items) + 1) for cut in cuts), len(items)]
    pieces = [kind.fold(items[a:b]) for a, b in pairwise(bounds)]
    assert reduce(kind.merge, pieces, kind.zero) == kind.fold(items)


@dataclass(frozen=True)
class Event:
    """What a fold needs of an event."""

    id64: int
    event_us: int
    values: dict[str, str | int | None]


BY_MINUTE = ViewSpec("by_minute", ("kind", "site"), MINUTE_US, (Measure("x", "x", ("mean",), 3), Measure("y", "y", ("max",), 0)), ("t",))  # fmt: skip
BY_HOUR = ViewSpec("by_hour", ("site",), 60 * MINUTE_US, (Measure("x", "x", ("mean",), 3), Measure("y", "y", ("max",), 0)), ("t",))  # fmt: skip
BY_KIND = ViewSpec("by_kind", ("kind",), 0, (Measure("y", "y", ("max",), 0), Measure("x", "x", ("mean",), 3)), ("t",))

events = st.builds(
    lambda id64, minute, kind, site, x, y: Event(id64, minute * 7_000_000, {"kind": kind, "site": site, "x": x, "y": y}),
    hashes, st.integers(-100, 2000), st.sampled_from("abc"), st.sampled_from("uv"), scaled, optional,
)  # fmt: skip


def check_answer(spec: ViewSpec, batches: Sequence[Sequence[Event]], cut: int, head: int) -> None:
    """View up to a cut, merged with the fragments up to head, is the fold of everything up to head.

    `batches[s]` are the events of micro-batch s + 1; 0 <= cut <= head <= len(batches).
    """
    fragments = [
        Fragment(seq, start, key, state)
        for seq, batch in enumerate(batches, 1)
        for (start, key), state in views.fold(spec, batch).items()
    ]
    view = views.fold(spec, [e for batch in batches[:cut] for e in batch])
    before = dict(view)
    recomputed = views.fold(spec, [e for batch in batches[:head] for e in batch])
    assert views.answer(view, reversed(fragments), cut, head) == recomputed
    assert view == before


def plain(m: Moments) -> tuple[Any, ...]:
    """Return moments as the naive oracle writes them."""
    return (m.n, m.sum, m.sumsq, m.min, m.max)
