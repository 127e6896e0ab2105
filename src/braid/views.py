"""Views: states by (window, key); how events fold into one, and how batch and tail become one answer.

An answer is `view ⊕ Σ fragments`, and the one bound between the two is a ledger seq: the generation holds every event
of the micro-batches up to and with `cut`, each fragment the events of one micro-batch after it. A late event is on the
right side by its offset; its event time only says which window it belongs to. So nothing is counted twice and nothing
falls between, whatever the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from braid import receipts, windows
from braid.aggregates import Order, State, finish, lift_measures, merge_states, plain
from braid.declaration import Top, ViewSpec
from braid.errors import CutPassedHead
from braid.ledger import LedgerRow

Key: TypeAlias = tuple[str, ...]
View: TypeAlias = Mapping[tuple[int, Key], State]


class Counted(Protocol):
    """What a fold needs of an event: its id's hash, its time, its values."""

    @property
    def id64(self) -> int: ...
    @property
    def event_us(self) -> int: ...
    @property
    def values(self) -> Mapping[str, str | int | None]: ...


@dataclass(frozen=True, slots=True)
class Fragment:
    """The state that one micro-batch contributed to one (window, key) of a view."""

    seq: int
    window_start_us: int
    key: Key
    state: State


def fold(
    spec: ViewSpec, events: Iterable[Counted], places: Iterable[Order] | None = None
) -> dict[tuple[int, Key], State]:
    """Return the view of some events, each counted: the reference that both engines must equal.

    Parameters
    ----------
    spec : ViewSpec, the keys, window and measures
    events : iterable of events of the view's topics, good and without copies, in any order
    places : of each its place in ledger order; a view that keeps latest values needs it

    Raises
    ------
    ValueError
        The view keeps latest values, and there are no places, or not as many as events.
    """
    view: dict[tuple[int, Key], State] = {}
    placed = zip(events, places, strict=True) if places is not None else ((event, None) for event in events)
    for event, place in placed:
        if spec.where is not None and not spec.where.compute(event.values):
            continue
        key = tuple(str(event.values[column]) for column in spec.by)
        at = None if place is None else (event.event_us, place)
        state = lift_measures(event.id64, spec.measures, [event.values[m.of] for m in spec.measures], at)
        put(view, (windows.start_us(event.event_us, spec.window_us), key), state)
    return view


def put(view: dict[tuple[int, Key], State], place: tuple[int, Key], state: State) -> None:
    """Merge one state into a view that the caller owns."""
    held = view.get(place)
    view[place] = state if held is None else merge_states(held, state)


def merge_views(views: Iterable[View]) -> dict[tuple[int, Key], State]:
    """Return the view of the events of all; no two may share an event."""
    result: dict[tuple[int, Key], State] = {}
    for view in views:
        for place, state in view.items():
            put(result, place, state)
    return result


def coarsen(view: View, fine: ViewSpec, coarse: ViewSpec) -> dict[tuple[int, Key], State]:
    """Return a coarser view of the same events, from a finer one's states.

    Parameters
    ----------
    view : View of `fine`
    fine, coarse : ViewSpec, `coarse.by` within `fine.by`, its window a multiple of `fine`'s or `all`; same measures
    """
    keep = [fine.by.index(column) for column in coarse.by]
    order = [next(i for i, m in enumerate(fine.measures) if m.id == c.id) for c in coarse.measures]
    result: dict[tuple[int, Key], State] = {}
    for (window_start_us, key), state in view.items():
        place = (windows.coarsen(window_start_us, coarse.window_us), tuple(key[i] for i in keep))
        put(result, place, State(state.n, state.fp, tuple(state.measures[i] for i in order)))
    return result


def coarser(spec: ViewSpec, by: Sequence[str], window_us: int) -> ViewSpec:
    """Return the same view over fewer keys and longer windows: what `coarsen` can roll its states up to.

    Parameters
    ----------
    by : some of `spec.by`, or none for one row a window; the declared order is kept
    window_us : microseconds, a multiple of the view's window, or 0 for all time

    Raises
    ------
    ValueError
        A column is not among the keys, or the windows do not nest.
    """
    strangers = [column for column in by if column not in spec.by]
    if strangers:
        raise ValueError(f"{spec.name}: expected some of the keys {', '.join(spec.by)}, got {strangers[0]}")
    if not windows.nest(spec.window_us, window_us):
        raise ValueError(
            f"{spec.name}: expected a window made of whole ones of {spec.window_us} us, got {window_us} us"
        )
    return replace(spec, by=tuple(column for column in spec.by if column in by), window_us=window_us)


def answer(view: View, tail: Iterable[Fragment], cut: int, head: int) -> dict[tuple[int, Key], State]:
    """Return what a recompute of the log up to `head` would give.

    Parameters
    ----------
    view : View, every event up to and with ledger seq `cut`, none after; any size
    tail : iterable of Fragment of the same view, any order; those outside cut < seq <= head are passed over
    cut, head : int, ledger seq

    Returns
    -------
    dict, at most len(view) + len(tail) entries; the arguments stay as they were

    Raises
    ------
    CutPassedHead
        cut > head: the reader's ledger is older than its generation.

    Notes
    -----
    A bound stored beside the batch value is Summingbird's idea (`ClientStore`); a seq, unlike a period, keeps late
    events.

    Examples
    --------
    >>> from braid.aggregates import lift_event
    >>> base, more = lift_event(1, [700_000]), lift_event(2, [650_000])
    >>> answer({(0, ("forest",)): base}, [Fragment(8, 0, ("forest",), more)], cut=7, head=8)[0, ("forest",)].n
    2
    """
    if cut > head:
        raise CutPassedHead(f"cut seq {cut}: expected at most head, got head seq {head}; read the ledger again")
    result = dict(view)
    for fragment in tail:
        if cut < fragment.seq <= head:
            put(result, (fragment.window_start_us, fragment.key), fragment.state)
    return result


def lists(top: Top, shaped: ViewSpec) -> Callable[[Key], Key]:
    """Return what tells the list of a key of `shaped` from others of its window: its values of the columns `per`."""
    per = [shaped.by.index(column) for column in top.per if column in shaped.by]
    return lambda key: tuple(key[i] for i in per)


def best(spec: ViewSpec, shaped: ViewSpec, view: View) -> list[tuple[tuple[int, Key], int]]:
    """Return the rows that answers show of a view that declares `top`, each with its rank from 1.

    Of each window and each value of the columns `per`, the `k` rows with the greatest number, as it is answered; of equal
    ones the lesser key comes first. Rows without a number have no rank. Ranked is what is merged, so the cut is exact.

    Parameters
    ----------
    spec : as declared, with `top`
    shaped : as its rows are answered, perhaps coarser
    view : View of `shaped`, whole: every key that may be among the greatest

    Returns
    -------
    list of (place, rank), by window, then the columns `per`, then rank
    """
    assert spec.top is not None  # noqa: S101 - the caller asked
    of = spec.top.of
    at, stat = next((i, s) for i, m in enumerate(spec.measures) for s in m.stats if spec.column(m, s) == of)
    list_of = lists(spec.top, shaped)
    groups: dict[tuple[int, Key], list[tuple[float, Key]]] = {}
    for (start, key), state in view.items():
        number = finish(state.measures[at], stat, spec.measures[at].scale)
        if isinstance(number, int | float):
            groups.setdefault((start, list_of(key)), []).append((-number, key))
    return [
        ((start, key), rank)
        for (start, _), rows in sorted(groups.items(), key=lambda group: group[0])
        for rank, (_, key) in enumerate(sorted(rows)[: spec.top.k], start=1)
    ]


def totals(view: View) -> tuple[int, int]:
    """Return (n, fp) over all rows of a view: what the ledger keeps of a micro-batch's fragments."""
    return sum(s.n for s in view.values()), sum(s.fp for s in view.values()) % (1 << 64)


def not_whole(name: str, rows: Sequence[LedgerRow], fragments: Iterable[Fragment]) -> list[int]:
    """Return the seqs whose fragments of a view do not add up to the ledger row's (n, fp), in order.

    Parameters
    ----------
    name : str, a finest view
    rows : ledger rows, in order; those that count nothing need no fragments
    fragments : of these rows, in any order
    """
    held: dict[int, tuple[int, int]] = {}
    for f in fragments:
        n, fp = held.get(f.seq, (0, 0))
        held[f.seq] = n + f.state.n, (fp + f.state.fp) % (1 << 64)
    return [r.seq for r in rows if held.get(r.seq, (0, 0)) != (r.view_n.get(name, r.good), r.view_fp.get(name, r.fp))]


def digest(view: View) -> str:
    """Return the sha256 (hex) over a view's states, by `receipts.digest`: what a receipt and `current.audit` hold.

    Examples
    --------
    >>> digest({})[:8]
    'e3b0c442'
    """
    return receipts.digest((start, key, s.n, s.fp, [plain(m) for m in s.measures]) for (start, key), s in view.items())
