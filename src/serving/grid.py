"""A view's states by window, then key: an answer finds what it is asked for without looking at the rest."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import TypeAlias

from braid.aggregates import State, merge_states
from braid.views import Key, View

Place: TypeAlias = tuple[int, Key]
States: TypeAlias = Mapping[Key, State]


class Grid(Mapping[Place, State]):
    """States by (window start, key); immutable.

    Parameters
    ----------
    windows : by start, none of them empty
    known : every key that some window may have; perhaps more
    starts : of the windows, in order, when they are known already
    """

    __slots__ = ("_starts", "known", "windows")

    def __init__(
        self, windows: Mapping[int, States], known: frozenset[Key], starts: Sequence[int] | None = None
    ) -> None:
        self.windows = windows
        self.known = known
        self._starts = starts

    @property
    def starts(self) -> Sequence[int]:
        """The starts of the windows, in order: sorted once, when they are asked for."""
        if self._starts is None:
            self._starts = sorted(self.windows)
        return self._starts

    @classmethod
    def of(cls, view: View) -> Grid:
        """Return a view as a grid."""
        return view if isinstance(view, cls) else EMPTY.onto(view)

    def __getitem__(self, place: Place) -> State:
        return self.windows[place[0]][place[1]]

    def get(self, place: Place, default: State | None = None) -> State | None:  # type: ignore[override]
        """Return the state of a place, None without one."""
        states = self.windows.get(place[0])
        return default if states is None else states.get(place[1], default)

    def __iter__(self) -> Iterator[Place]:
        return ((start, key) for start, states in self.windows.items() for key in states)

    def __len__(self) -> int:
        return sum(map(len, self.windows.values()))

    def items(self) -> ItemsView[Place, State]:
        """Return places with their states."""
        return _Items(self)

    def onto(self, more: View) -> Grid:
        """Return the grid with more states merged in: a window that none of them touches is shared with this one."""
        if not more:
            return self
        windows: dict[int, States] = dict(self.windows)
        touched: dict[int, dict[Key, State]] = {}
        for (start, key), state in more.items():
            states = touched.get(start)
            if states is None:
                states = windows[start] = touched[start] = dict(self.windows.get(start, {}))
            held = states.get(key)
            states[key] = state if held is None else merge_states(held, state)
        fresh = {key for _, key in more} - self.known
        same = self._starts if len(windows) == len(self.windows) else None
        return Grid(windows, self.known | fresh if fresh else self.known, same)

    def between(self, first: int | None, end: int | None, coarse: Callable[[int], int] = int) -> Grid:
        """Return the windows from `first` on and before `end`.

        Parameters
        ----------
        first, end : None for no bound
        coarse : of a window's start the instant that decides; it never goes back as starts go on
        """
        at = 0 if first is None else bisect_left(self.starts, first, key=coarse)
        to = None if end is None else bisect_left(self.starts, end, key=coarse)
        starts = self.starts[at:to]
        return Grid({start: self.windows[start] for start in starts}, self.known, starts)

    def only(self, keys: Collection[Key], hurry: Callable[[], None]) -> Grid:
        """Return the places of some keys."""
        windows: dict[int, States] = {}
        for start, states in self.windows.items():
            hurry()
            few, many = (keys, states) if len(keys) < len(states) else (states, keys)
            if chosen := {key: states[key] for key in few if key in many}:
                windows[start] = chosen
        return Grid(windows, frozenset(keys))

    def matching(self, by: tuple[str, ...], asked: Mapping[str, Collection[str]]) -> frozenset[Key]:
        """Return the keys that have one of the accepted values in every column that is asked for.

        Parameters
        ----------
        by : the columns of a key
        asked : accepted values by column, each one of `by`
        """
        values = [asked[column] for column in by if column in asked]
        if len(values) == len(by) and prod(map(len, values)) <= len(self.known):
            return self.known.intersection(product(*values))
        at = [(by.index(column), frozenset(accepted)) for column, accepted in asked.items()]
        return frozenset(key for key in self.known if all(key[i] in accepted for i, accepted in at))


class _Items(ItemsView[Place, State]):
    _mapping: Grid

    def __iter__(self) -> Iterator[tuple[Place, State]]:
        for start, states in self._mapping.windows.items():
            for key, state in states.items():
                yield (start, key), state


EMPTY = Grid({}, frozenset())


def keys_of(batch: Grid, tail: Grid, start: int) -> Collection[Key]:
    """Return the keys that a window has on one side or on both."""
    old, new = batch.windows.get(start), tail.windows.get(start)
    if old and new:
        return old.keys() | new.keys()
    return old or new or ()


def starts_of(batch: Grid, tail: Grid, *, newest_first: bool = False) -> list[int]:
    """Return the windows of both sides in order."""
    return sorted({*batch.starts, *tail.starts}, reverse=newest_first)


def page_of(
    batch: Grid, tail: Grid, offset: int, end: int | None, hurry: Callable[[], None], *, newest_first: bool = False
) -> tuple[list[Place], int]:
    """Return the places from `offset` up to `end` in the order of an answer, by window, then key; and how many there are.

    Examples
    --------
    >>> held = State(1, 1, ())
    >>> batch = Grid.of({(0, ("a",)): held, (60, ("b",)): held})
    >>> page_of(batch, Grid.of({(60, ("a",)): held}), 1, 2, lambda: None)
    ([(60, ('a',))], 3)
    """
    page: list[Place] = []
    count = 0
    for start in starts_of(batch, tail, newest_first=newest_first):
        hurry()
        keys = keys_of(batch, tail, start)
        if count + len(keys) > offset and (end is None or count < end):
            chosen = sorted(keys, reverse=newest_first)[max(offset - count, 0) : None if end is None else end - count]
            page += [(start, key) for key in chosen]
        count += len(keys)
    return page, count
