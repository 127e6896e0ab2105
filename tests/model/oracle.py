"""What must hold at every step, by the naive oracle over the log and the ledger's ranges.

A finding raises `Wrong`. The invariants I1 to I10 are those of the protocol; an answer is right when its states equal,
with `==`, the naive recompute of everything before its `as_of`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from braid import gaps, views
from braid.adapters.memory import MemoryDeadLetters, MemoryProjections, MemorySeenIds, view_row
from braid.aggregates import Moments, State
from braid.declaration import ViewSpec
from braid.ledger import Current, LedgerRow, Range
from braid.ports import Alerts, Fragments, Ledger
from braid.views import View
from tests import naive
from tests.model.events import DECLARATION, TOPIC, Event

DAY_US = 86_400_000_000


class Wrong(AssertionError):
    """The protocol gave something else than the oracle."""


def expect(holds: bool, text: str, *values: object) -> None:
    """Raise `Wrong` unless it holds."""
    if not holds:
        raise Wrong(text + "".join(f"\n  {value}" for value in values))


def plain(view: View) -> dict[naive.Place, naive.Plain]:
    """Return states as the oracle writes them."""
    return {
        place: (s.n, s.fp, tuple((m.n, m.sum, m.sumsq, m.min, m.max) for m in s.measures)) for place, s in view.items()
    }


@cache
def finished(view: str, state: naive.Plain) -> dict[str, Any]:
    """Return the readable columns of a state of the oracle."""
    n, fp, measures = state
    return view_row(DECLARATION.view(view), State(n, fp, tuple(Moments(*m) for m in measures)))


def finished_or_none(view: str, state: naive.Plain | None) -> dict[str, Any] | None:
    """Return the readable columns of a state, None when there is none."""
    return None if state is None else finished(view, state)


class Oracle:
    """The log as it was sent, the ledger as it was first seen, and what follows from both."""

    def __init__(self, partitions: int) -> None:
        self.log: dict[int, list[Event | None]] = {p: [] for p in range(partitions)}
        self.logs: dict[str, dict[int, list[Event | None]]] = {}  # of topics that were deleted, by id
        self.topic_id = ""
        self.expired = -1  # fragments up to this seq may be gone
        self.rows: list[LedgerRow] = []
        self.records: list[naive.Record] = []  # of every row seen and not lost, in ledger order
        self.counted: list[naive.Record] = []
        self._eras: list[list[naive.Record]] = [[]]  # what counts; a gap that takes counted rows begins another
        self._ids: dict[tuple[int, int, int], bytes] = {}  # by seq, partition, offset
        self._views: dict[tuple[str, int], dict[naive.Place, naive.Plain]] = {}
        self._upto: list[tuple[int, int]] = []  # through each seq: the era, and how many records are counted in it
        self._alerts: list[list[tuple[Any, ...]]] = []
        self.dead: list[naive.Record] = []
        self.gen = 0
        self.back: int | None = None  # the generation that somebody rolls back to
        self.gens: dict[int, Current] = {}

    def created_again(self, old: str, new: str, partitions: int) -> None:
        """The topic is another one now, and empty."""
        self.logs[old] = dict(self.log)
        self.log.clear()
        self.log.update({p: [] for p in range(partitions)})
        self.topic_id = new

    def events(self, seq: int) -> list[naive.Record]:
        """Return what counts as of a seq."""
        era, count = self._upto[seq]
        return self._eras[era][:count]

    # ---- the ledger: I1, I2, I6, I7 ------------------------------------------------------------------------------

    def look(self, ledger: Ledger) -> bool:
        """Read what is new in the ledger, check it, and say whether there was anything."""
        head = ledger.head()
        expect(head.seq >= len(self.rows) - 1, f"I7: head went back from seq {len(self.rows) - 1} to {head.seq}")
        if self.rows:
            expect(ledger.rows(len(self.rows) - 2, len(self.rows) - 1) == [self.rows[-1]], "I6: a ledger row changed")
        fresh = ledger.rows(len(self.rows) - 1, head.seq)
        for row in fresh:
            self._add(row)
        self._generation(ledger.current())
        return bool(fresh)

    def _add(self, row: LedgerRow) -> None:
        if self.rows:
            before = self.rows[-1]
            anew = row.kind == "gap" and row.topic_ids != before.topic_ids
            expected = {p: 0 if anew else before.end.get(p, 0 if row.kind == "gap" else None) for p in row.end}
            expect(dict(row.range.start) == expected, f"I1: seq {row.seq} does not start at the end before")
        log = self.logs.get(row.topic_ids[TOPIC], self.log)
        records = []
        for (_, partition), end in sorted(row.end.items()):
            start = row.range.start[TOPIC, partition]
            expect(start <= end, f"I1: seq {row.seq} ends before it starts")
            events = [] if row.kind == "gap" else [e for e in log[partition][start:end] if e is not None]
            records += [e.plain(row.seq) for e in events]
            self._ids |= {(row.seq, partition, e.offset): e.id for e in events if e.reason is None}
        lost = gaps.lost([row])
        if lost:
            self.records = [r for r in self.records if r.seq not in lost]
            self.counted = naive.counted(self.records, by_id=DECLARATION.dedupe == "by_id")
            self._eras.append(self.counted)
        self.rows.append(row)
        self.records += records
        self.dead += [r for r in records if r.dead]
        before = len(self.counted)
        self.counted = naive.counted(self.records, by_id=DECLARATION.dedupe == "by_id")
        self._eras[-1] = self.counted
        self._upto.append((len(self._eras) - 1, len(self.counted)))
        good, dead = len(self.counted) - before, sum(r.dead for r in records)
        fp = sum(r.hash64 for r in self.counted[before:]) % 2**64
        expected = (good, len(records) - good - dead, dead, row.range.size - len(records), fp)
        got = (row.good, row.copies, row.dead, row.absent, row.fp)
        expect(
            expected == got, f"I2: seq {row.seq}: good, copies, dead, absent, fp", f"expected {expected}", f"got {got}"
        )

    def _generation(self, current: Current) -> None:
        expect(
            current.gen >= self.gen or current.gen == self.back,
            f"I7: current went back from generation {self.gen} to {current.gen}",
        )
        self.gen = current.gen
        known = self.gens.setdefault(current.gen, current)
        expect(known == current, f"I7: generation {current.gen} was published twice")
        expect(current.cut_seq < len(self.rows), f"I4: generation {current.gen} is cut after head")
        expect(dict(current.cut) == dict(self.rows[current.cut_seq].end), f"I4: cut of generation {current.gen}")

    def covers(self, offered: Range) -> bool:
        """Say whether a range lies before head, so that Spark may call it done."""
        return any(all(end <= row.end.get(p, -1) for p, end in offered.end.items()) for row in reversed(self.rows))

    # ---- answers -------------------------------------------------------------------------------------------------

    def view(self, spec: ViewSpec, seq: int) -> dict[naive.Place, naive.Plain]:
        """Return the naive recompute of a view through a seq."""
        place = (spec.name, seq)
        if place not in self._views:
            events = self.events(seq)
            self._views[place] = naive.view(events, spec.by, spec.window_us, [m.of for m in spec.measures])
        return self._views[place]

    def check_view(self, who: str, spec: ViewSpec, seq: int, states: View) -> None:
        """An answer as of a seq equals the recompute."""
        expected, got = self.view(spec, seq), plain(states)
        if expected != got:
            wrong = [p for p in {**expected, **got} if expected.get(p) != got.get(p)]
            texts = [f"{p}: expected {expected.get(p)}, got {got.get(p)}" for p in wrong]
            raise Wrong(f"{who}: {spec.name} as of seq {seq}:\n  " + "\n  ".join(texts))

    def alerts(self, seq: int) -> list[tuple[Any, ...]]:
        """Return what the alerts of one seq must be, in ledger order."""
        while len(self._alerts) <= seq:
            self._alerts.append(self._judged(len(self._alerts)))
        return self._alerts[seq]

    def _judged(self, seq: int) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        if self.rows[seq].kind == "bulk":  # history is judged by no rule
            return found
        events = self.events(seq)
        for rule in DECLARATION.alerts:
            scale = 10 ** DECLARATION.topics[0].fields[rule.of].scale
            for r, n, mean, _ in naive.alerts(events, seq, rule.of, rule.by, rule.beyond, rule.min_count):
                x = r.values[rule.of]
                found.append((r.seq, r.partition, r.offset, rule.name, x, r.values["name"], n, float(mean / scale)))
        return sorted(found)

    def check_alerts(self, who: str, through: int, alerts: list[Any], after: int = 0) -> None:
        """The visible alerts of after < seq <= through are those of a plain loop."""
        expected = [a for seq in range(after + 1, through + 1) for a in self.alerts(seq)]
        got = sorted(
            (a.seq, a.partition, a.offset, a.rule, a.values[DECLARATION.alert(a.rule).of], a.values.get("name"),
             a.baseline_n, a.baseline_mean)
            for a in alerts
        )  # fmt: skip
        expected = [(*a[:5], a[5] if "name" in DECLARATION.alert(a[3]).show else None, *a[6:]) for a in expected]
        expect(expected == got, f"{who}: alerts through seq {through}", f"expected {expected}", f"got {got}")

    # ---- stores ----------------------------------------------------------------------------------------------------

    def check_stores(
        self, fragments: Fragments, alerts: Alerts, dead: MemoryDeadLetters, expired: int, after: int = -1
    ) -> None:
        """I3: fragments add up to their ledger rows; committed alerts and dead letters are visible."""
        rows = self.rows[after + 1 :]
        for spec in DECLARATION.fragment_views:
            held = [r for r in rows if r.seq > expired and r.kind != "bulk"]  # which has none
            wrong = views.not_whole(spec.name, held, fragments.read(spec, held))
            expect(not wrong, f"I3: fragments of {spec.name} are not those of ledger seq {wrong}")
        self.check_alerts("store", self.rows[-1].seq, alerts.read(rows), max(after, 0))
        if self.logs:  # offsets of two topics of one name: whose a dead letter is cannot be told by its place
            return
        expected = {(r.partition, r.offset) for r in self.dead}
        end = self.rows[-1].end
        shown = {(d.partition, d.offset) for d in dead.newest(10**9) if d.offset < end[d.topic, d.partition]}
        # one written before its record was given up stays: what it says is true
        given_up = {
            (partition, offset)
            for row in self.rows
            if row.kind == "gap"
            for _, partition, start, end in row.range.partitions()
            for offset in range(start, end)
        }
        shown -= given_up - expected
        expect(expected == shown, "dead letters", f"missing {expected - shown}", f"too many {shown - expected}")

    def check_seen(self, seen: MemorySeenIds, seq: int) -> None:
        """I9: whole through head, and holding the counted ids, no more and no fewer."""
        expect(seen.through_seq == seq, f"I9: expected through_seq {seq}, got {seen.through_seq}")
        counted = self.events(seq) if DECLARATION.dedupe == "by_id" else []
        ids = {self._ids[r.seq, r.partition, r.offset] for r in counted}
        got = seen.known(list(ids | seen._ids))
        expect(ids == got, f"I9: as of seq {seq}: {len(ids - got)} ids missing, {len(got - ids)} too many")

    def check_projections(self, held: MemoryProjections, at_rest: bool) -> None:
        """I10: no row beyond head, each as of its own seq; at rest all as of head."""
        head = len(self.rows) - 1
        for spec in DECLARATION.views:
            rows = held.views.get(spec.name, {})
            for place, (seq, columns) in rows.items():
                expect(seq <= head, f"I10: {spec.name} {place}: seq {seq} is beyond head {head}")
                state = self.view(spec, seq).get(place)
                expect(
                    state is not None and finished(spec.name, state) == columns, f"I10: {spec.name} {place} as of {seq}"
                )
            if at_rest:
                whole = self.view(spec, head)
                # rows of what a gap gave up cannot be found again when its fragments have expired, too
                gone = max(
                    (r.seq for r in self.rows if any(lost <= self.expired for lost in gaps.lost([r]))), default=-1
                )
                got = {place: columns for place, (seq, columns) in rows.items() if place in whole or seq > gone}
                expect(
                    got == {p: finished(spec.name, s) for p, s in whole.items()},
                    f"I10: {spec.name} at rest at seq {head}",
                    *(
                        f"{p}: {rows.get(p)}"
                        for p in {*got, *whole}
                        if got.get(p) != finished_or_none(spec.name, whole.get(p))
                    ),
                )
        for rule in DECLARATION.alerts if at_rest else ():
            places = {(a[1], a[2]) for seq in range(head + 1) for a in self.alerts(seq) if a[3] == rule.name}
            shown = {(a.partition, a.offset) for a in held.alert_rows.get(rule.name, {}).values()}
            expect(places == shown, f"I10: alerts of {rule.name} at rest", f"{places ^ shown}")
