"""Where two views differ: the smallest row in which they do, named with its field and both values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from braid.declaration import ViewSpec
from braid.instants import iso
from verify.second_path import Place, State, States

FIELDS = {
    "moments": ("n", "sum", "sumsq", "min", "max"),
    "quantiles": ("bins",),
    "distinct": ("hashes",),
    "latest": ("latest",),
}


def smallest(view: ViewSpec, recount: States, other: States, name: str) -> str | None:
    """Return the differing row with the fewest events in words, None when all are equal.

    Parameters
    ----------
    view : names the columns
    name : what `other` is, such as `the answer`
    """
    places = [place for place in {*recount, *other} if recount.get(place) != other.get(place)]
    if not places:
        return None
    place = min(places, key=lambda p: (max(s[0] for s in (recount.get(p), other.get(p)) if s), p))
    fields = "; ".join(_differing(view, recount.get(place), other.get(place), name))
    more = f" ({len(places):,} of {len({*recount, *other}):,} rows differ)"
    return f"{view.name} [{where(view, place)}] {fields}{more}"


def where(view: ViewSpec, place: Place) -> str:
    """Return a row's window and keys in words."""
    window = [f"window {iso(place[0])}"] if view.window_us else []
    return ", ".join([*window, *(f"{column} {value!r}" for column, value in zip(view.by, place[1], strict=True))])


def _differing(view: ViewSpec, mine: State | None, theirs: State | None, name: str) -> Iterator[str]:
    if mine is None or theirs is None:
        held = mine or theirs
        n = f"a row of {held[0]:,} events" if held else "no row"
        yield f"recount: {n if mine else 'no such row'}, {name}: {n if theirs else 'no such row'}"
        return
    pairs: list[tuple[str, Any, Any]] = [("n", mine[0], theirs[0]), ("fp", mine[1], theirs[1])]
    for measure, a, b in zip(view.measures, mine[2], theirs[2], strict=True):
        names = FIELDS[measure.kind]
        pairs += [(f"{measure.name} {field}", x, y) for field, x, y in zip(names, a, b, strict=True)]
    yield from (f"{field}: recount {x}, {name} {y}" for field, x, y in pairs if x != y)
