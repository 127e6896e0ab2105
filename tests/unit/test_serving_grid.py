"""A grid answers as the plain dict of its places does, whatever is asked of it; only without looking at all of them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from braid.aggregates import State, merge_states
from serving.grid import EMPTY, Grid, page_of

BY = ("city", "vendor")
KEYS = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))
PLACES = st.tuples(st.sampled_from([0, 60, 120, 180]), KEYS)
STATES = st.builds(State, st.integers(1, 9), st.integers(0, 99), st.just(()))
VIEWS = st.dictionaries(PLACES, STATES, max_size=20)


def unhurried() -> None:
    pass


@given(VIEWS)
def test_a_grid_is_its_view(view: dict[Any, State]) -> None:
    grid = Grid.of(view)
    assert grid == view and dict(grid.items()) == view and len(grid) == len(view) and set(grid) == set(view)
    assert sorted(s.n for s in grid.values()) == sorted(s.n for s in view.values())
    for place in [(0, ("a", "x")), (240, ("a", "x")), (0, ("q", "q"))]:
        assert grid.get(place) == view.get(place) and (place in grid) == (place in view)
    assert Grid.of(grid) is grid and all(grid.windows.values())


@given(st.lists(VIEWS, max_size=4))
def test_merging_in_changes_neither_the_grid_before_nor_what_it_shares(views: list[dict[Any, State]]) -> None:
    grid, expected = EMPTY, dict[Any, State]()
    for view in views:
        before, held = dict(grid), grid
        grid = grid.onto(view)
        for place, state in view.items():
            expected[place] = merge_states(expected[place], state) if place in expected else state
        assert grid == expected and held == before
        untouched = set(held.windows) - {start for start, _ in view}
        assert all(grid.windows[start] is held.windows[start] for start in untouched)
        assert {key for _, key in grid} <= grid.known


BOUNDS = st.none() | st.sampled_from([-1, 0, 60, 61, 120, 180, 181])


@given(VIEWS, BOUNDS, BOUNDS, st.sampled_from([1, 120]))
def test_windows_are_chosen_by_their_start(view: dict[Any, State], first: int | None, end: int | None, to: int) -> None:
    def coarse(start: int) -> int:
        return start // to * to

    found = Grid.of(view).onto({}).between(first, end, coarse)
    assert found == {
        place: state
        for place, state in view.items()
        if (first is None or coarse(place[0]) >= first) and (end is None or coarse(place[0]) < end)
    }
    assert list(found.starts) == sorted(found.windows)


@given(VIEWS, VIEWS)
def test_starts_are_in_order_whenever_they_are_asked_for(view: dict[Any, State], more: dict[Any, State]) -> None:
    asked = Grid.of(view)
    assert list(asked.starts) == sorted({start for start, _ in view})
    for grid in (asked.onto(more), Grid.of(view).onto(more)):
        assert list(grid.starts) == sorted(grid.windows)


ASKED = st.dictionaries(st.sampled_from(BY), st.sets(st.sampled_from("abcxyzq"), min_size=1, max_size=5), min_size=1)


@given(VIEWS, ASKED)
def test_keys_are_chosen_by_some_of_their_columns_or_all(view: dict[Any, State], asked: dict[str, set[str]]) -> None:
    grid = Grid.of(view)
    found = grid.only(grid.matching(BY, asked), unhurried)
    assert found == {
        place: state
        for place, state in view.items()
        if all(place[1][BY.index(column)] in values for column, values in asked.items())
    }
    assert all(found.windows.values())


@given(VIEWS, VIEWS, st.integers(0, 12), st.none() | st.integers(0, 12), st.booleans())
def test_a_page_is_a_slice_of_all_places_in_order(
    batch: dict[Any, State], tail: dict[Any, State], offset: int, limit: int | None, newest_first: bool
) -> None:
    whole = sorted({*batch, *tail}, reverse=newest_first)
    end = None if limit is None else offset + limit
    page, count = page_of(Grid.of(batch), Grid.of(tail), offset, end, unhurried, newest_first=newest_first)
    assert (page, count) == (whole[offset:end], len(whole))
