"""A whole dataset held against the log: the ledger, the master, every fragment, every generation, every answer at head.

Each check compares two things that were made apart, mostly what Braid keeps with what the second path finds in the raw
records. One line a check; a difference names the smallest row in which it shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from braid import gaps
from braid.declaration import Declaration, ViewSpec
from braid.errors import BraidError
from braid.ledger import Current, LedgerRow, text_of
from braid.views import Fragment
from verify.claims import merged
from verify.difference import smallest
from verify.second_path import Count, SecondPath, States, plain
from verify.world import Say, World, recounted

ROWS_AT_ONCE = 500  # ledger rows whose fragments are in memory together


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison.

    Attributes
    ----------
    name, compared : what it is about, and what was held against what
    counts : how much was compared
    problem : the smallest counterexample, None when all is equal
    """

    name: str
    compared: str
    counts: str
    problem: str | None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Case:
    """What the checks share: the ledger up to head, the generation served when it was read, the recount."""

    world: World
    declaration: Declaration
    rows: Sequence[LedgerRow]
    current: Current
    path: SecondPath
    counts: dict[int, Count]


def checks(world: World, say: Say) -> Iterator[Check]:
    """Yield every check of a dataset as it is done.

    Raises
    ------
    StoreUnavailable, Gap
        Something could not be read, so nothing can be said of it.
    """
    ledger = world.stores.ledger
    current = ledger.current()  # before head, as every reader does
    rows = ledger.rows(-1, ledger.head().seq)
    declaration = world.declared(current.definition, rows)
    yield _timed("ledger tiles", partial(_tiles, rows))
    yield _timed("ledger conserves", partial(_conserves, rows))
    yield _timed("master files", partial(_files, world, rows))
    started = time.monotonic()
    with ExitStack() as stack:
        try:
            path, read = stack.enter_context(recounted(world, declaration, rows, say))
        except BraidError as error:
            yield Check("records", "every record that the ledger counts can be read", "", str(error))
            return
        took = time.monotonic() - started
        yield Check(
            "records", "read by the second path", f"{read.text}, {read.bytes / 1e6:,.1f} MB of Parquet", None, took
        )
        case = _Case(world, declaration, rows, current, path, _by_seq(path))
        for (topic, partition), end in sorted(rows[-1].end.items()):
            yield _timed(f"conservation {topic}:{partition}", partial(_partition, case, topic, partition, end))
        yield _timed("ledger = recount", partial(_ledger, case))
        for view in declaration.fragment_views:
            say(f"comparing the fragments of {view.name}")
            yield _timed(f"fragments {view.name}", partial(_fragments, case, view))
        for view in declaration.views:
            say(f"comparing {view.name}")
            yield _timed(f"generation {view.name}", partial(_generation, case, view))
            yield _timed(f"hive {view.name}", partial(_hive, case, view))
            yield _timed(f"merged {view.name}", partial(_merged, case, view))


def _timed(name: str, run: Callable[[], tuple[str, str, str | None]]) -> Check:
    started = time.monotonic()
    try:
        found = run()
    except BraidError as error:
        found = ("could not be compared", "", str(error))
    return Check(name, *found, time.monotonic() - started)


# ---- the ledger alone ----------------------------------------------------------------------------------------------


def _tiles(rows: Sequence[LedgerRow]) -> tuple[str, str, str | None]:
    problem = None
    for before, row in pairwise(rows):
        # a gap alone may begin a partition anew: one that is new, or whose topic was created again
        anew = {
            p
            for p in row.range.end
            if row.kind == "gap" and (p not in before.end or before.topic_ids.get(p[0]) != row.topic_ids.get(p[0]))
        }
        starts = {p: 0 if p in anew else before.end.get(p) for p in (row.end if row.kind == "gap" else before.end)}
        if row.seq != before.seq + 1 or dict(row.range.start) != starts:
            problem = f"seq {row.seq} starts at {text_of(row.range.start)}, seq {before.seq} ends at {text_of(before.range.end)}"
            break
        if any(end < row.range.start.get(p, 0) for p, end in row.range.end.items()):
            problem = f"seq {row.seq} ends at {text_of(row.range.end)} before it starts, {text_of(row.range.start)}"
            break
    return "each range starts where the one before it ends, from 0 to head", f"{len(rows):,} rows", problem


def _conserves(rows: Sequence[LedgerRow]) -> tuple[str, str, str | None]:
    wrong = [r for r in rows if r.range.size != r.good + r.copies + r.dead + r.absent]
    problem = None
    if wrong:
        r = min(wrong, key=lambda row: row.range.size)
        problem = f"seq {r.seq}: {r.range.size} offsets, but {r.good} good + {r.copies} copies + {r.dead} dead + {r.absent} absent"
    return (
        "offsets = good + copies + dead + absent, row by row",
        f"{sum(r.range.size for r in rows):,} offsets",
        problem,
    )


def _files(world: World, rows: Sequence[LedgerRow]) -> tuple[str, str, str | None]:
    compared = "each file has its sha256, each cut continues the one before and ends where the ledger says"
    cuts = world.master.cuts()
    checked = world.master.check_files(cuts)
    by_seq = {row.seq: row for row in rows}
    for cut in cuts:
        row = by_seq.get(cut.seq)
        if row is not None and dict(row.end) != dict(cut.end):
            return compared, "", f"{cut.folder} ends at {text_of(cut.end)}, ledger seq {cut.seq} at {text_of(row.end)}"
    return compared, f"{sum(len(c.files) for c in cuts):,} files, {checked / 1e6:,.1f} MB", None


# ---- against the recount -------------------------------------------------------------------------------------------


def _by_seq(path: SecondPath) -> dict[int, Count]:
    found: dict[int, Count] = {}
    for (seq, _, _), c in path.counts().items():
        a = found.get(seq, Count())
        found[seq] = Count(
            a.records + c.records, a.good + c.good, (a.fp + c.fp) % 2**64, a.copies + c.copies, a.dead + c.dead
        )
    return found


def _partition(case: _Case, topic: str, partition: int, end: int) -> tuple[str, str, str | None]:
    first = next((r.seq for r in case.rows if r.topic_ids.get(topic) == case.rows[-1].topic_ids.get(topic)), 0)
    held = [c for (seq, t, p), c in case.path.counts().items() if (t, p) == (topic, partition) and seq >= first]
    records, good, copies, dead = (
        sum(getattr(c, name) for c in held) for name in ("records", "good", "copies", "dead")
    )
    place = (topic, partition)
    given_up, id_ = gaps.lost(case.rows), case.rows[-1].topic_ids.get(topic)
    # a topic created again has offsets of its own: those of the deleted one are no part of this log
    rows = [r for r in case.rows if place in r.end and r.topic_ids.get(topic) == id_]
    lost = sum(r.end[place] - r.range.start.get(place, 0) for r in rows if r.kind == "gap" or r.seq in given_up)
    absent = end - records - lost
    counts = f"{end:,} = {good:,} good + {copies:,} copies + {dead:,} dead + {absent:,} absent" + (
        f" + {lost:,} in accepted gaps" if lost else ""
    )
    return "offsets of the log, each found once", counts, f"more records than offsets: {counts}" if absent < 0 else None


def _ledger(case: _Case) -> tuple[str, str, str | None]:
    compared, other, done = "good, copies, dead, absent and Σ hash of every seq", 0, 0
    lost = gaps.lost(case.rows)
    for row in case.rows:
        if row.kind == "gap" or row.seq in lost:
            continue
        c = case.counts.get(row.seq, Count())
        pairs = [("records", c.records, row.range.size - row.absent)]
        if row.definition == case.declaration.hash:
            pairs += [
                ("good", c.good, row.good),
                ("copies", c.copies, row.copies),
                ("dead", c.dead, row.dead),
                ("fp", c.fp, row.fp),
            ]
        else:
            other += 1
        done += 1
        for name, mine, theirs in pairs:
            if mine != theirs:
                return compared, f"{done:,} rows", f"seq {row.seq}: {name}: recount {mine}, ledger {theirs}"
    return (
        compared,
        f"{done:,} rows" + (f", {other:,} of another definition by their records only" if other else ""),
        None,
    )


def _fragments(case: _Case, view: ViewSpec) -> tuple[str, str, str | None]:
    compared, whole, covered, compared_rows = "every fragment, field by field; their sums as in the ledger", 0, 0, 0
    lost = gaps.lost(case.rows)
    micro = [r for r in case.rows if r.kind == "micro" and r.definition == case.declaration.hash and r.seq not in lost]
    for at in range(0, len(micro), ROWS_AT_ONCE):
        some = micro[at : at + ROWS_AT_ONCE]
        held: dict[int, list[Fragment]] = {}
        for fragment in case.world.stores.fragments.read(view, some):
            held.setdefault(fragment.seq, []).append(fragment)
        recount = case.path.states_by_seq(view, some[0].seq - 1, some[-1].seq)
        for row in some:
            states = plain({(f.window_start_us, f.key): f.state for f in held.get(row.seq, [])})
            mine = recount.get(row.seq, {})
            sums = (sum(s[0] for s in states.values()), sum(s[1] for s in states.values()) % 2**64)
            if sums == (row.view_n.get(view.name, 0), row.view_fp.get(view.name, 0)):
                whole += 1
            elif row.seq <= case.current.cut_seq:  # expired fragments are no loss: the generation holds them
                covered += 1
                mine = {place: state for place, state in mine.items() if place in states}
            else:
                told = f"Σ n {sums[0]}, Σ fp {sums[1]}; ledger {row.view_n.get(view.name, 0)}, {row.view_fp.get(view.name, 0)}"
                return compared, f"{whole:,} seqs", f"seq {row.seq}: fragments of {view.name}: {told}"
            compared_rows += len(states)
            if differing := smallest(view, mine, states, "the fragments"):
                return compared, f"{whole:,} seqs", f"seq {row.seq}: {differing}"
    gone = f", {covered:,} expired and in the generation" if covered else ""
    return compared, f"{whole:,} seqs, {compared_rows:,} rows{gone}", None


def _generation(case: _Case, view: ViewSpec) -> tuple[str, str, str | None]:
    states = plain(case.world.files.view(case.world.files.published(case.current.gen), view))
    mine = case.path.states(view, 0, case.current.cut_seq)
    what = f"generation {case.current.gen} (files) with the recount up to its cut, seq {case.current.cut_seq}"
    return what, _size(states), smallest(view, mine, states, f"generation {case.current.gen}")


def _hive(case: _Case, view: ViewSpec) -> tuple[str, str, str | None]:
    what = f"the Hive table with generation {case.current.gen}, and what its plain name selects"
    if case.current.gen == 0:
        return what, "nothing is published yet", None
    states = plain(case.world.hive.view(case.current, view))
    files = plain(case.world.files.view(case.current, view))
    problem = smallest(view, files, states, "Hive")
    served = case.world.catalogue.served(view)
    # one that was published since this began is as good
    if problem is None and served not in {case.current.gen, case.world.stores.ledger.current().gen}:
        problem = f"{view.name}: the plain name selects generation {served}, served is {case.current.gen}"
    return what, _size(states), problem


def _merged(case: _Case, view: ViewSpec) -> tuple[str, str, str | None]:
    head = case.rows[-1].seq
    world = replace(case.world, declaration=case.declaration)
    states = plain(merged(world, view, case.current.gen, head))
    mine = case.path.states(view, 0, head)
    return (
        f"batch ⊕ tail at head, seq {head}, every window, with the recount",
        _size(states),
        smallest(view, mine, states, "merged"),
    )


def _size(states: States) -> str:
    return f"{len(states):,} rows, {sum(s[0] for s in states.values()):,} events"
