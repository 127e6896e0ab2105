"""The speed side of an answer: the fragments above the cut, followed one ledger row after another.

A tail is whole up to and with its `row`: each micro-batch was merged only after its fragments added up to what the
ledger row says, (n, fp) per view. It stops before a row that it cannot merge, and says why; so whatever it holds is
exact as of `row`, and what is wrong shows as an older `as_of` with a reason and never as a wrong number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from braid import gaps
from braid.aggregates import FP_MODULUS, State
from braid.declaration import Declaration, ViewSpec
from braid.gaps import Accepted
from braid.ledger import LedgerRow
from braid.ports import Aside, Fragments, at_once
from braid.views import Fragment, coarsen, put
from serving.grid import EMPTY, Grid, Place

Places: TypeAlias = dict[Place, State]


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of the log, or a store, that an answer lacks.

    Attributes
    ----------
    what : `cassandra`, `hive`, `generation`, `fragments`, `alerts`, `gap`, `bulk`, `definition`
    reason : for people: expected, got, next
    from_seq, through_seq : the ledger rows concerned, None when it is not about rows
    offsets : the offsets concerned, `topic:partition` → [first, end), the end None where nobody can know it
    """

    what: str
    reason: str
    from_seq: int | None = None
    through_seq: int | None = None
    offsets: Mapping[str, tuple[int, int | None]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as answers carry it, without what does not apply."""
        plain = {
            "what": self.what,
            "reason": self.reason,
            "from_seq": self.from_seq,
            "through_seq": self.through_seq,
            "offsets": None if self.offsets is None else {p: list(span) for p, span in self.offsets.items()},
        }
        return {name: value for name, value in plain.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Tail:
    """States of cut.seq < seq <= row.seq, of every view; immutable.

    Attributes
    ----------
    gaps : what the gap rows of the tail took, as missing from answers
    stop : why it ends before head
    accepted : every gap through `row`, those that the generation covers too
    lost : ledger rows whose records a gap gave up after they were counted: their fragments are passed over
    until : the gap row that says so, 0 when none does; as of an earlier row those fragments still count
    """

    cut: LedgerRow
    row: LedgerRow
    views: Mapping[str, Grid]
    gaps: tuple[Missing, ...] = ()
    stop: Missing | None = None
    accepted: tuple[Accepted, ...] = ()
    lost: frozenset[int] = frozenset()
    until: int = 0


def begin(
    declaration: Declaration,
    cut: LedgerRow,
    accepted: Sequence[Accepted] = (),
    lost: frozenset[int] = frozenset(),
    until: int = 0,
) -> Tail:
    """Return the tail that holds nothing yet.

    Parameters
    ----------
    accepted : the gaps through the cut
    """
    return Tail(
        cut,
        cut,
        dict.fromkeys((view.name for view in declaration.views), EMPTY),
        accepted=tuple(accepted),
        lost=lost,
        until=until,
    )


def follow(
    tail: Tail, declaration: Declaration, rows: Sequence[LedgerRow], fragments: Fragments, aside: Aside = at_once
) -> Tail:
    """Return the tail with more ledger rows merged: as many as can be, in order.

    When a gap among them gave up rows that the tail has merged, it begins again at the cut, without them.

    Parameters
    ----------
    tail : Tail, unchanged by this
    declaration : the one in force
    rows : ledger rows from tail.row.seq + 1 on, none missing
    fragments : where their states are read, once per finest view
    aside : lets the views be read side by side

    Raises
    ------
    StoreUnavailable
        The store did not answer; nothing was merged.
    """
    lost = tail.lost | gaps.lost(rows)
    if any(tail.cut.seq < seq <= tail.row.seq for seq in lost - tail.lost):
        through_cut = [gap for gap in tail.accepted if gap.seq <= tail.cut.seq]
        return begin(declaration, tail.cut, through_cut, lost, max(row.seq for row in rows if gaps.lost([row])))
    taken, stop = _mergeable(rows, declaration.hash)
    micro = [row for row in taken if row.kind == "micro" and row.seq not in lost]
    begun = {view.name: aside(partial(fragments.read, view, micro)) for view in declaration.fragment_views if micro}
    read = {view.name: _by_seq(begun[view.name]() if micro else []) for view in declaration.fragment_views}
    for i, row in enumerate(taken):
        if row.kind == "micro" and row.seq not in lost and (wrong := _differs(row, read)):
            taken, stop = taken[:i], wrong
            break
    if not taken:
        return replace(tail, stop=stop)
    if lost != tail.lost | gaps.lost(taken):
        # it ends before the gap row: as of there, what that gives up still counts
        return replace(follow(tail, declaration, taken, fragments, aside), stop=stop)
    fresh = [gaps.accepted(row) for row in taken if row.kind == "gap"]
    missing = (*tail.gaps, *map(_gap, fresh))
    merged = _merged(tail, declaration, [row for row in taken if row.seq not in lost], read)
    return Tail(tail.cut, taken[-1], merged, missing, stop, (*tail.accepted, *fresh), lost, tail.until)


def _mergeable(rows: Sequence[LedgerRow], definition: str) -> tuple[list[LedgerRow], Missing | None]:
    """Return the rows before the first that no tail can hold, and why it ends there."""
    taken: list[LedgerRow] = []
    for row in rows:
        if row.kind == "bulk":
            reason = f"seq {row.seq} is history in bulk, which has no fragments; the next generation covers it"
            offsets = {f"{topic}:{p}": (start, end) for topic, p, start, end in row.range.partitions()}
            return taken, Missing("bulk", reason, row.seq, None, offsets)
        if row.definition not in {"", definition}:
            reason = (
                f"a changed declaration, {row.definition[:12]}, is being applied from seq {row.seq} on; "
                "the next generation covers it"
            )
            return taken, Missing("definition", reason, row.seq)
        taken.append(row)
    return taken, None


def _by_seq(read: Sequence[Fragment]) -> dict[int, list[Fragment]]:
    found: dict[int, list[Fragment]] = {}
    for fragment in read:
        found.setdefault(fragment.seq, []).append(fragment)
    return found


def _differs(row: LedgerRow, read: Mapping[str, Mapping[int, Sequence[Fragment]]]) -> Missing | None:
    """Return why the fragments of a row are not those it was committed with, None when they are."""
    for view, by_seq in read.items():
        states = [fragment.state for fragment in by_seq.get(row.seq, ())]
        got = (sum(s.n for s in states), sum(s.fp for s in states) % FP_MODULUS)
        expected = (row.view_n.get(view, 0), row.view_fp.get(view, 0))
        if got != expected:
            reason = (
                f"{view} seq {row.seq}: expected fragments of n {expected[0]}, fp {expected[1]} as in the ledger, "
                f"got n {got[0]}, fp {got[1]}; the next generation covers it: run the batch"
            )
            return Missing("fragments", reason, row.seq)
    return None


def _gap(gap: Accepted) -> Missing:
    offsets = {f"{x.topic}:{x.partition}": (x.start, x.end) for x in reversed(gap.losses) if x.records != 0}
    reasons = "; ".join(dict.fromkeys(x.reason for x in gap.losses))
    reason = f"seq {gap.seq} is a gap that was accepted: {reasons}; complete again with the next generation"
    return Missing("gap", reason, gap.seq, gap.seq, offsets)


def _merged(
    tail: Tail,
    declaration: Declaration,
    taken: Sequence[LedgerRow],
    read: Mapping[str, Mapping[int, Sequence[Fragment]]],
) -> dict[str, Grid]:
    """Return the states with the fragments of some rows merged in, in copies of what changes."""
    fresh = {view: _places(taken, by_seq) for view, by_seq in read.items()}
    return {v.name: tail.views[v.name].onto(_of_view(declaration, v, fresh)) for v in declaration.views}


def _places(taken: Sequence[LedgerRow], by_seq: Mapping[int, Sequence[Fragment]]) -> Places:
    places: Places = {}
    for row in taken:
        for fragment in by_seq.get(row.seq, ()):
            put(places, (fragment.window_start_us, fragment.key), fragment.state)
    return places


def _of_view(declaration: Declaration, view: ViewSpec, fresh: Mapping[str, Places]) -> Places:
    fine = declaration.finest(view)
    return fresh[view.name] if fine is view else coarsen(fresh[fine.name], fine, view)
