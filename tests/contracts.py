"""One contract per port: what the memory twin and the real adapter must both keep.

A test module subclasses a contract and gives its fixtures: a fresh store (or one that no other test's rows are in) of
the dataset `DECLARATION`, and where a port can only write, a way to read back. The names of the tests are the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain as chained
from typing import Any, ClassVar, TypeAlias

import pytest

from braid import cql
from braid import ledger as chain
from braid.acknowledgements import Acknowledgement
from braid.aggregates import NO_MOMENTS, Moments, State
from braid.alerts import Alert
from braid.declaration import Declaration, ViewSpec
from braid.declaration_reader import parse
from braid.errors import BraidError, LedgerError, LostRace, SeenIdsRefused, StoreUnavailable
from braid.ledger import Current, LedgerRow, Range
from braid.ports import (
    Acknowledgements,
    Alerts,
    Catalogue,
    DeadLetterRow,
    DeadLetters,
    Fragments,
    Generations,
    Ledger,
    Log,
    Projections,
    SeenIds,
    SeenStore,
    Tables,
)  # fmt: skip
from braid.seen import Identity
from braid.views import Fragment, View

EDGE = 3 * 10**9 - 1  # the largest scaled value
FP = 2**64 - 1
MINUTE_US = 60_000_000

Readable: TypeAlias = Callable[[str], list[dict[str, Any]]]
Published: TypeAlias = Callable[[int, dict[str, View]], Current]
Columns: TypeAlias = Callable[[], dict[str, set[str]]]
Send: TypeAlias = Callable[[str, int, bytes], object]

DECLARATION = parse(
    """
dataset: contract
topic: contract-rides
event_id: [ride, taken_at]
event_time: {field: taken_at, zone: UTC}
fields:
  ride:     {type: string}
  taken_at: {type: time}
  city:     {type: string}
  vendor:   {type: string}
  fare_usd: {type: decimal, scale: 2}
  seats:    {type: integer, optional: true}
views:
  rides_by_minute:
    by: [city, vendor]
    window: 1 minute
    measures: {fare: {of: fare_usd, stats: [n, sum, mean, stddev, min, max]}, seats: {of: seats, stats: [mean]}}
  rides_by_city:
    by: [city]
    window: all
    measures: {fare: {of: fare_usd, stats: [mean, stddev]}}
alerts:
  odd_fares: {of: fare_usd, by: [city], rule: sigma, beyond: 3, show: [ride, vendor, seats]}
  odder_fares: {of: fare_usd, by: [city], rule: sigma, beyond: 5, show: [ride]}
""",
    where="tests/contracts.py",
)
TOPIC = DECLARATION.topics[0].name
BY_MINUTE, BY_CITY = DECLARATION.views
ODD, ODDER = DECLARATION.alerts
PLACES = [(TOPIC, 0), (TOPIC, 1)]


def moments(*values: int) -> Moments:
    """Return the moments of scaled values, without the engine's own lift and merge."""
    if not values:
        return NO_MOMENTS
    return Moments(len(values), sum(values), sum(x * x for x in values), min(values), max(values))


def span(start: int, end: int) -> Range:
    """Return a range that covers the same offsets in both partitions."""
    return Range(dict.fromkeys(PLACES, start), dict.fromkeys(PLACES, end))


def row(seq: int, writer: str = "first", attempt: int | None = None, **more: Any) -> LedgerRow:
    """Return a micro row that covers offsets [10·(seq − 1), 10·seq) of both partitions."""
    offered = span(10 * (seq - 1), 10 * seq)
    name = chain.attempt_of(offered, DECLARATION.hash) if attempt is None else attempt
    return LedgerRow(seq, "micro", name, writer, offered, good=20, topic_ids={TOPIC: "id"}, **more)


def genesis() -> LedgerRow:
    """Return row 0 of the contract's dataset."""
    return chain.genesis({TOPIC: "id"}, PLACES, DECLARATION.hash, DECLARATION.text, "creator")


def begin(ledger: Ledger) -> None:
    """Write genesis and generation 0."""
    first = genesis()
    ledger.create(first, Current(0, 0, first.end, DECLARATION.hash))


def fragment(seq: int, window_start_us: int, *key: str, state: State | None = None) -> Fragment:
    """Return a fragment of the view by minute; the state is a function of the arguments."""
    x = seq * 1000 + len("".join(key))
    return Fragment(seq, window_start_us, key, state or State(2, FP - seq, (moments(x, -x), moments(seq))))


def read_in_seq_order(fragments: Fragments, view: ViewSpec, rows: Iterable[LedgerRow]) -> list[Fragment]:
    """Return what is read, by seq, window and key, after a check that seqs never go back."""
    found = fragments.read(view, list(rows))
    assert [f.seq for f in found] == sorted(f.seq for f in found)
    return sorted(found, key=lambda f: (f.seq, f.window_start_us, f.key))


class LedgerContract:
    """Fixture `ledger`: a Ledger without any row."""

    def test_a_dataset_without_genesis_has_no_head_and_no_generation(self, ledger: Ledger) -> None:
        with pytest.raises(LedgerError):
            ledger.head()
        with pytest.raises(LedgerError):
            ledger.current()

    def test_genesis_is_written_once_and_the_second_time_changes_nothing(self, ledger: Ledger) -> None:
        begin(ledger)
        ledger.append(row(1))
        ledger.publish(Current(1, 1, row(1).end, DECLARATION.hash), expected_gen=0)
        begin(ledger)
        assert ledger.head() == row(1)
        assert ledger.current().gen == 1

    def test_every_field_of_a_row_comes_back_as_it_was(self, ledger: Ledger) -> None:
        begin(ledger)
        full = replace(
            row(1, attempt=-(2**63)),
            good=3, copies=2**40, dead=5, absent=7, fp=FP, view_n={BY_MINUTE.name: 2**40}, view_fp={BY_MINUTE.name: FP},
            bucket=12, bucket_rows=49_999, alerts=11, totals={"good": 2**70, "copies": 0, "fp": FP},
            definition="d" * 64, committed_at_us=1_700_000_000_123_457,
        )  # fmt: skip
        ledger.append(full)
        assert ledger.head() == full
        assert ledger.rows(0, 1) == [full]
        assert ledger.rows(-1, 0) == [genesis()]

    def test_the_newest_row_is_the_head(self, ledger: Ledger) -> None:
        begin(ledger)
        assert ledger.head() == genesis()
        for seq in (1, 2, 3):
            ledger.append(row(seq))
            assert ledger.head() == row(seq)

    def test_the_second_writer_of_a_seq_loses_and_changes_nothing(self, ledger: Ledger) -> None:
        begin(ledger)
        ledger.append(row(1))
        with pytest.raises(LostRace, match="seq 1"):
            ledger.append(row(1, "second"))
        assert ledger.head() == row(1)

    def test_the_same_row_again_is_no_lost_race(self, ledger: Ledger) -> None:
        begin(ledger)
        ledger.append(row(1))
        ledger.append(row(1))
        assert ledger.head() == row(1)

    def test_the_same_writer_with_another_range_loses_too(self, ledger: Ledger) -> None:
        begin(ledger)
        ledger.append(row(1))
        with pytest.raises(LostRace):
            ledger.append(row(1, attempt=row(1).attempt + 1))
        assert ledger.head() == row(1)

    def test_rows_are_those_after_one_seq_and_through_another(self, ledger: Ledger) -> None:
        begin(ledger)
        for seq in range(1, 6):
            ledger.append(row(seq))
        assert ledger.rows(2, 4) == [row(3), row(4)]
        assert ledger.rows(5, 5) == []
        assert [r.seq for r in ledger.rows(-1, 5)] == [0, 1, 2, 3, 4, 5]

    def test_a_missing_row_is_an_error_and_never_a_shorter_list(self, ledger: Ledger) -> None:
        begin(ledger)
        ledger.append(row(1))
        with pytest.raises(LedgerError):
            ledger.rows(0, 2)

    def test_head_and_rows_go_on_into_the_next_bucket(self, ledger: Ledger) -> None:
        last = chain.ROWS_PER_LEDGER_BUCKET - 1
        first = replace(genesis(), seq=last)
        ledger.create(first, Current(0, last, first.end, DECLARATION.hash))
        assert ledger.head().seq == last
        ledger.append(row(last + 1))
        ledger.append(row(last + 2))
        assert ledger.head() == row(last + 2)
        assert [r.seq for r in ledger.rows(last - 1, last + 2)] == [last, last + 1, last + 2]

    def test_a_publication_is_served_with_every_field(self, ledger: Ledger) -> None:
        begin(ledger)
        ledger.append(row(1))
        published = Current(1, 1, row(1).end, DECLARATION.hash, '{"views": {}}', 1_700_000_000_123_457)
        ledger.publish(published, expected_gen=0)
        assert ledger.current() == published

    def test_the_second_publication_over_the_same_generation_loses(self, ledger: Ledger) -> None:
        begin(ledger)
        ledger.publish(Current(1, 0, genesis().end, DECLARATION.hash), expected_gen=0)
        with pytest.raises(LostRace):
            ledger.publish(Current(2, 0, genesis().end, DECLARATION.hash), expected_gen=0)
        assert ledger.current().gen == 1


class FragmentsContract:
    """Fixture `fragments`: Fragments of `DECLARATION`, empty. Views by minute have fragments, those by city too."""

    def test_what_was_written_is_read_by_its_ledger_row(self, fragments: Fragments) -> None:
        written = [fragment(1, 0, "oslo", "a"), fragment(1, MINUTE_US, "oslo", "a"), fragment(1, 0, "rome", "b")]
        fragments.write(BY_MINUTE, 0, row(1).attempt, written)
        assert read_in_seq_order(fragments, BY_MINUTE, [row(1)]) == sorted(
            written, key=lambda f: (f.window_start_us, f.key)
        )

    def test_writing_twice_changes_nothing(self, fragments: Fragments) -> None:
        for _ in range(2):
            fragments.write(BY_MINUTE, 0, row(1).attempt, [fragment(1, 0, "oslo", "a")])
        assert fragments.read(BY_MINUTE, [row(1)]) == [fragment(1, 0, "oslo", "a")]

    def test_fragments_of_an_attempt_that_was_never_committed_are_not_read(self, fragments: Fragments) -> None:
        fragments.write(BY_MINUTE, 0, row(1).attempt, [fragment(1, 0, "oslo", "a")])
        fragments.write(BY_MINUTE, 0, -7, [fragment(1, 0, "oslo", "a", state=State(9, 9, (moments(9), NO_MOMENTS)))])
        fragments.write(BY_MINUTE, 0, row(2).attempt, [fragment(2, 0, "oslo", "a")])
        assert fragments.read(BY_MINUTE, [row(1)]) == [fragment(1, 0, "oslo", "a")]
        assert fragments.read(BY_MINUTE, []) == []

    def test_every_number_of_a_state_comes_back_exactly(self, fragments: Fragments) -> None:
        low, high = moments(-EDGE, -EDGE), Moments(10**12, 10**12 * EDGE, 10**12 * EDGE**2, EDGE, EDGE)
        state = State(10**12, FP, (high, low))
        fragments.write(BY_MINUTE, 0, row(1).attempt, [fragment(1, 0, "oslo", "a", state=state)])
        assert fragments.read(BY_MINUTE, [row(1)])[0].state == state

    def test_a_measure_that_no_event_held_stays_the_zero(self, fragments: Fragments) -> None:
        state = State(1, 0, (moments(0), NO_MOMENTS))
        fragments.write(BY_MINUTE, 0, row(1).attempt, [fragment(1, 0, "oslo", "a", state=state)])
        assert fragments.read(BY_MINUTE, [row(1)])[0].state == state

    def test_keys_come_back_with_every_character(self, fragments: Fragments) -> None:
        keys = [
            ("a|b", "c"),
            ("a", "b|c"),
            ("ø é 日本 🚕", 'it\'s "x"'),
            ("\u202e", "x\ny\t"),
            ("É", "E\u0301"),
            (" ", "A"),
        ]
        fragments.write(BY_MINUTE, 0, row(1).attempt, [fragment(1, 0, *key) for key in keys])
        assert {f.key for f in fragments.read(BY_MINUTE, [row(1)])} == set(keys)

    def test_windows_before_1970_and_far_ahead_come_back(self, fragments: Fragments) -> None:
        starts = [-MINUTE_US, 0, 7_258_118_340_000_000]
        fragments.write(BY_MINUTE, 0, row(1).attempt, [fragment(1, s, "oslo", "a") for s in starts])
        assert sorted(f.window_start_us for f in fragments.read(BY_MINUTE, [row(1)])) == starts

    def test_views_do_not_meet(self, fragments: Fragments) -> None:
        coarse = Fragment(1, 0, ("oslo",), State(1, 1, (moments(4),)))
        fragments.write(BY_MINUTE, 0, row(1).attempt, [fragment(1, 0, "oslo", "a")])
        fragments.write(BY_CITY, 0, row(1).attempt, [coarse])
        assert fragments.read(BY_CITY, [row(1)]) == [coarse]

    def test_many_fragments_over_buckets_come_back_in_seq_order(self, fragments: Fragments) -> None:
        rows = [replace(row(seq), bucket=seq // 3) for seq in range(1, 8)]
        written = [[fragment(r.seq, k * MINUTE_US, f"city {k}", "v") for k in range(120)] for r in rows]
        for r, batch in zip(rows, written, strict=True):
            fragments.write(BY_MINUTE, r.bucket, r.attempt, batch)
        found = read_in_seq_order(fragments, BY_MINUTE, rows[2:])
        assert found == sorted(chained.from_iterable(written[2:]), key=lambda f: (f.seq, f.window_start_us, f.key))

    def test_writing_nothing_is_allowed(self, fragments: Fragments) -> None:
        fragments.write(BY_MINUTE, 0, 1, [])
        assert fragments.read(BY_MINUTE, [row(1)]) == []


def alert(seq: int, offset: int, partition: int = 0, **more: Any) -> Alert:
    """Return an alert of the rule `odd_fares`."""
    values = {"fare_usd": 99_999 + offset, "ride": f"ride {offset}", "vendor": "ø", "seats": None}
    whole = {
        "rule": ODD.name, "event_us": 1_700_000_000_123_457 + offset, "key": ("oslo",), "values": values,
        "z": 3.0000000000000004, "baseline_n": 2**40, "baseline_mean": 0.1, "baseline_stddev": 5e-324,
    } | more  # fmt: skip
    return Alert(seq=seq, topic=TOPIC, partition=partition, offset=offset, **whole)


class AlertsContract:
    """Fixture `alerts`: Alerts of `DECLARATION`, empty."""

    def test_every_field_comes_back_as_it_was(self, alerts: Alerts) -> None:
        written = [alert(1, 2), alert(1, 5, z=-3.5, values={"fare_usd": -EDGE, "ride": "'", "vendor": "v", "seats": 4})]
        alerts.write(0, row(1).attempt, written)
        assert alerts.read([row(1)]) == written

    def test_a_history_without_spread_has_no_z(self, alerts: Alerts) -> None:
        alerts.write(0, row(1).attempt, [alert(1, 2, z=None, baseline_stddev=0.0)])
        assert alerts.read([row(1)])[0].z is None

    def test_alerts_come_in_ledger_order(self, alerts: Alerts) -> None:
        alerts.write(0, row(2).attempt, [alert(2, 1)])
        alerts.write(0, row(1).attempt, [alert(1, 10, 1), alert(1, 9, 1), alert(1, 11, 0)])
        found = [(a.seq, a.partition, a.offset) for a in alerts.read([row(1), row(2)])]
        assert found == [(1, 0, 11), (1, 1, 9), (1, 1, 10), (2, 0, 1)]

    def test_writing_twice_changes_nothing(self, alerts: Alerts) -> None:
        for _ in range(2):
            alerts.write(0, row(1).attempt, [alert(1, 2)])
        assert alerts.read([row(1)]) == [alert(1, 2)]

    def test_alerts_of_an_attempt_that_was_never_committed_are_not_read(self, alerts: Alerts) -> None:
        alerts.write(0, -7, [alert(1, 2), alert(1, 3)])
        alerts.write(0, row(1).attempt, [alert(1, 2)])
        alerts.write(0, -8, [alert(1, 2, z=9.0)])
        assert alerts.read([row(1)]) == [alert(1, 2)]

    def test_two_rules_may_alert_on_one_event(self, alerts: Alerts) -> None:
        both = [alert(1, 2), alert(1, 2, rule=ODDER.name, values={"fare_usd": 1, "ride": "r"})]
        alerts.write(0, row(1).attempt, both)
        assert sorted(alerts.read([row(1)]), key=lambda a: a.rule) == both

    def test_alerts_are_read_from_the_bucket_of_their_row(self, alerts: Alerts) -> None:
        moved = replace(row(1), bucket=3)
        alerts.write(3, moved.attempt, [alert(1, 2)])
        assert alerts.read([moved]) == [alert(1, 2)]


def word(offset: int, **more: Any) -> Acknowledgement:
    """Return a word on an alert."""
    return Acknowledgement(
        more.get("rule", ODD.name), TOPIC, 0, offset, more.get("acknowledged", True), more.get("note", "ø <b>'"),
        more.get("who", "ops"), 1_700_000_000_123_457,
    )  # fmt: skip


class AcknowledgementsContract:
    """Fixture `acknowledgements`: Acknowledgements of `DECLARATION`, empty."""

    def test_every_field_comes_back_as_it_was(self, acknowledgements: Acknowledgements) -> None:
        written = [word(2), word(2**60, note="", who=""), word(2, rule=ODDER.name, acknowledged=False)]
        for one in written:
            acknowledgements.write(one)
        assert sorted(acknowledgements.read(), key=lambda a: (a.rule, a.offset)) == sorted(
            written, key=lambda a: (a.rule, a.offset)
        )

    def test_the_newest_word_stands(self, acknowledgements: Acknowledgements) -> None:
        for one in (word(2), word(2, note="second"), word(2, acknowledged=False, note="taken back")):
            acknowledgements.write(one)
        assert acknowledgements.read() == [word(2, acknowledged=False, note="taken back")]


def letter(offset: int, append_us: int = 1_700_000_000_123_457, **more: Any) -> DeadLetterRow:
    """Return a dead letter of partition 0."""
    return DeadLetterRow(
        TOPIC, 0, offset, append_us, more.get("reason", "expected one JSON object"), more.get("raw", b"\xff\x00'")
    )


class DeadLettersContract:
    """Fixture `dead_letters`: DeadLetters of `DECLARATION`, empty."""

    def test_every_field_comes_back_as_it_was(self, dead_letters: DeadLetters) -> None:
        written = [
            letter(1, raw=bytes(range(256)) * 16, reason='$.fare_usd: expected "ø", got \''),
            letter(0, 5, raw=b""),
        ]
        dead_letters.write(1, row(1).attempt, written)
        assert dead_letters.newest(10) == written

    def test_a_replay_meets_its_own_rows(self, dead_letters: DeadLetters) -> None:
        dead_letters.write(1, 5, [letter(1)])
        dead_letters.write(1, 6, [letter(1)])
        dead_letters.write(2, 7, [letter(1)])
        assert dead_letters.newest(10) == [letter(1)]

    def test_all_since_a_time_are_found(self, dead_letters: DeadLetters) -> None:
        day_us, now_us = 86_400_000_000, 1_700_000_000_000_000
        dead_letters.write(1, 5, [letter(k, now_us + k * day_us // 2) for k in range(5)])
        assert sorted(d.offset for d in dead_letters.since(0)) == [0, 1, 2, 3, 4]
        assert sorted(d.offset for d in dead_letters.since(now_us + day_us)) == [2, 3, 4]

    def test_the_newest_come_first_and_no_more_than_asked_for(self, dead_letters: DeadLetters) -> None:
        day_us, now_us = 86_400_000_000, 1_700_000_000_000_000
        dead_letters.write(1, 5, [letter(k, now_us + k * day_us // 2) for k in range(5)])
        assert [d.offset for d in dead_letters.newest(3)] == [4, 3, 2]


class ProjectionsContract:
    """Fixtures `projections`, empty, and `readable(name)`: the rows of a readable table as dicts.

    A view's row has its `by` columns, `window_start_us`, its finished columns, `n` and `seq`; an alert's row the `by`
    columns, `topic`, `partition`, `offset`, `seq`, `z`, the tested field and those shown, in their own units.
    """

    ONE: ClassVar[View] = {(MINUTE_US, ("oslo", "a")): State(2, 3, (moments(150, 250), NO_MOMENTS))}
    TWO: ClassVar[View] = {(MINUTE_US, ("oslo", "a")): State(3, 4, (moments(150, 250, 350), moments(4)))}

    def test_people_read_finished_numbers(self, projections: Projections, readable: Readable) -> None:
        projections.upsert(BY_MINUTE, 7, self.TWO)
        (found,) = readable(BY_MINUTE.name)
        expected = {
            "city": "oslo", "vendor": "a", "window_start_us": MINUTE_US, "seq": 7, "n": 3, "fare_n": 3, "fare_sum": 7.5,
            "fare_mean": 2.5, "fare_stddev": 1.0, "fare_min": 1.5, "fare_max": 3.5, "seats_mean": 4.0,
        }  # fmt: skip
        assert {name: found[name] for name in expected} == expected

    def test_an_older_seq_never_overwrites_a_newer_one(self, projections: Projections, readable: Readable) -> None:
        projections.upsert(BY_MINUTE, 2, self.TWO)
        projections.upsert(BY_MINUTE, 1, self.ONE)
        assert [(r["seq"], r["n"]) for r in readable(BY_MINUTE.name)] == [(2, 3)]

    def test_a_newer_seq_overwrites_and_the_same_again_changes_nothing(
        self, projections: Projections, readable: Readable
    ) -> None:
        projections.upsert(BY_MINUTE, 1, self.ONE)
        for _ in range(2):
            projections.upsert(BY_MINUTE, 2, self.TWO)
        assert [(r["seq"], r["n"]) for r in readable(BY_MINUTE.name)] == [(2, 3)]

    def test_a_row_taken_away_stays_away_from_older_writes_and_comes_back_with_a_newer_one(
        self, projections: Projections, readable: Readable
    ) -> None:
        projections.upsert(BY_MINUTE, 1, self.ONE)
        projections.remove(BY_MINUTE, 3, list(self.ONE))
        assert readable(BY_MINUTE.name) == []
        projections.upsert(BY_MINUTE, 2, self.TWO)
        assert readable(BY_MINUTE.name) == []
        projections.upsert(BY_MINUTE, 4, self.TWO)
        assert [(r["seq"], r["n"]) for r in readable(BY_MINUTE.name)] == [(4, 3)]

    def test_alerts_are_readable_once(self, projections: Projections, readable: Readable) -> None:
        for _ in range(2):
            projections.alerts(ODD, [alert(1, 2), alert(1, 3)])
        found = readable(ODD.name)
        assert sorted((r["offset"], r["city"], r["ride"], r["seq"]) for r in found) == [
            (2, "oslo", "ride 2", 1),
            (3, "oslo", "ride 3", 1),
        ]

    def test_after_a_truncation_an_older_seq_may_be_written_again(
        self, projections: Projections, readable: Readable
    ) -> None:
        projections.upsert(BY_MINUTE, 9, self.TWO)
        projections.alerts(ODD, [alert(9, 2)])
        projections.truncate()
        assert readable(BY_MINUTE.name) == []
        assert readable(ODD.name) == []
        projections.upsert(BY_MINUTE, 1, self.ONE)
        assert [r["seq"] for r in readable(BY_MINUTE.name)] == [1]


def ident(k: int) -> bytes:
    """Return a 16-byte id; its first half is a spread-out hash, also beyond 2^63."""
    first = (k * 0x9E3779B97F4A7C15) % 2**64
    return first.to_bytes(8, "big") + k.to_bytes(8, "big")


def fp_of(ids: Iterable[bytes]) -> int:
    """Return Σ first half mod 2^64."""
    return sum(int.from_bytes(i[:8], "big") for i in ids) % 2**64


class SeenIdsContract:
    """Fixtures `seen`: SeenIds of a new dataset, empty; `reopened()`: the same file closed and opened again."""

    def test_a_new_file_is_whole_through_genesis(self, seen: SeenIds) -> None:
        assert seen.through_seq == 0
        assert seen.scan() == (0, 0)
        assert seen.known([ident(1)]) == set()

    def test_ids_put_are_known_and_others_are_not(self, seen: SeenIds) -> None:
        assert seen.put(1, [ident(1), ident(2)])
        assert seen.known([ident(2), ident(3), ident(1), ident(2)]) == {ident(1), ident(2)}
        assert seen.known([]) == set()

    def test_only_the_next_seq_may_be_put(self, seen: SeenIds) -> None:
        assert seen.put(1, [ident(1)])
        for seq in (0, 1, 3):
            assert not seen.put(seq, [ident(9)])
        assert seen.through_seq == 1
        assert seen.known([ident(9)]) == set()
        assert seen.put(2, [ident(9)])

    def test_a_seq_without_events_moves_on(self, seen: SeenIds) -> None:
        assert seen.put(1, [])
        assert seen.through_seq == 1
        assert seen.scan() == (0, 0)

    def test_an_id_put_again_is_held_once(self, seen: SeenIds) -> None:
        assert seen.put(1, [ident(1), ident(2)])
        assert seen.put(2, [ident(2), ident(3)])
        assert seen.scan() == (3, fp_of([ident(1), ident(2), ident(3)]))

    def test_the_whole_id_decides_and_not_its_first_half(self, seen: SeenIds) -> None:
        same_half = ident(1)[:8] + b"\xff" * 8
        assert seen.put(1, [ident(1)])
        assert seen.known([same_half]) == set()
        assert seen.put(2, [same_half])
        assert seen.scan() == (2, 2 * fp_of([ident(1)]) % 2**64)

    def test_the_scan_sees_every_id_once(self, seen: SeenIds) -> None:
        ids = [ident(k) for k in range(5000)]
        for seq in range(5):
            assert seen.put(seq + 1, ids[seq * 1000 : seq * 1000 + 1000])
        assert seen.scan() == (5000, fp_of(ids))
        assert seen.known(ids[::7]) == set(ids[::7])

    def test_what_was_put_is_there_after_opening_again(self, seen: SeenIds, reopened: Callable[[], SeenIds]) -> None:
        assert seen.put(1, [ident(1)])
        again = reopened()
        assert again.through_seq == 1
        assert again.known([ident(1), ident(2)]) == {ident(1)}
        assert not again.put(1, [ident(2)])
        assert again.put(2, [ident(2)])


IDENTITY = Identity(DECLARATION.dataset, {TOPIC: "id"}, DECLARATION.hash, "salt")


class SeenStoreContract:
    """Fixture `store`: a SeenStore without any file."""

    def test_a_first_opening_gives_an_empty_file(self, store: SeenStore) -> None:
        seen = store.open(IDENTITY)
        assert (seen.through_seq, seen.scan()) == (0, (0, 0))
        seen.close()

    def test_what_was_put_is_there_at_the_next_opening(self, store: SeenStore) -> None:
        seen = store.open(IDENTITY)
        assert seen.put(1, [ident(1)])
        seen.close()
        again = store.open(IDENTITY)
        assert (again.through_seq, again.known([ident(1)])) == (1, {ident(1)})
        again.close()

    @pytest.mark.parametrize(
        "other",
        [
            replace(IDENTITY, dataset="another"),
            replace(IDENTITY, topic_ids={TOPIC: "created again"}),
            replace(IDENTITY, definition="f" * 64),
            replace(IDENTITY, salt="pepper"),
        ],
        ids=["dataset", "topic", "definition", "salt"],
    )
    def test_a_file_of_another_log_is_refused(self, store: SeenStore, other: Identity) -> None:
        seen = store.open(IDENTITY)
        assert seen.put(1, [ident(1)])
        seen.close()
        with pytest.raises(SeenIdsRefused):
            store.open(other)

    def test_a_refused_file_is_rebuilt_beside_and_then_adopted(self, store: SeenStore) -> None:
        foreign = store.open(replace(IDENTITY, salt="pepper"))
        assert foreign.put(1, [ident(1)])
        foreign.close()
        with pytest.raises(SeenIdsRefused):
            store.open(IDENTITY)
        fresh = store.rebuild(IDENTITY)
        assert (fresh.through_seq, fresh.known([ident(1)])) == (0, set())
        assert fresh.put(1, [ident(2)])
        adopted = store.adopt(fresh)
        assert (adopted.through_seq, adopted.known([ident(1), ident(2)])) == (1, {ident(2)})
        adopted.close()
        again = store.open(IDENTITY)
        assert (again.through_seq, again.known([ident(2)])) == (1, {ident(2)})
        again.close()

    def test_a_rebuild_given_up_leaves_nothing_half_to_be_opened(self, store: SeenStore) -> None:
        foreign = store.open(replace(IDENTITY, salt="pepper"))
        foreign.close()
        half = store.rebuild(IDENTITY)
        assert half.put(1, [ident(1)])
        half.close()
        seen = store.open(IDENTITY)  # as after a crash: from nothing, never from the half
        assert (seen.through_seq, seen.scan()) == (0, (0, 0))
        seen.close()


class LogContract:
    """Fixtures `log`: Log; `send(topic, partition, value)`: append one record; `topic()`: a name never used."""

    def test_a_new_topic_is_empty(self, log: Log, topic: Callable[[], str]) -> None:
        name = topic()
        log.create(name, 3)
        assert log.earliest([name]) == log.latest([name]) == {(name, 0): 0, (name, 1): 0, (name, 2): 0}

    def test_creating_it_again_changes_nothing(self, log: Log, topic: Callable[[], str], send: Send) -> None:
        name = topic()
        log.create(name, 2)
        send(name, 1, b"x")
        before = log.topic_ids([name])
        log.create(name, 5)
        assert log.topic_ids([name]) == before
        assert log.latest([name]) == {(name, 0): 0, (name, 1): 1}

    def test_the_end_is_the_offset_of_the_next_record(self, log: Log, topic: Callable[[], str], send: Send) -> None:
        name = topic()
        log.create(name, 2)
        for _ in range(3):
            send(name, 1, b"x")
        assert log.latest([name]) == {(name, 0): 0, (name, 1): 3}
        assert log.earliest([name]) == {(name, 0): 0, (name, 1): 0}

    def test_every_topic_has_its_own_id(self, log: Log, topic: Callable[[], str]) -> None:
        one, two = topic(), topic()
        log.create(one, 1)
        log.create(two, 1)
        ids = log.topic_ids([one, two])
        assert set(ids) == {one, two}
        assert ids[one] != ids[two]
        assert ids == log.topic_ids([one, two])

    def test_a_topic_that_is_not_there_is_an_error(self, log: Log, topic: Callable[[], str]) -> None:
        name = topic()
        for ask in (log.topic_ids, log.earliest, log.latest):
            with pytest.raises(StoreUnavailable):
                ask([name])

    def test_group_offsets_may_be_published_again_and_again(self, log: Log, topic: Callable[[], str]) -> None:
        name = topic()
        log.create(name, 1)
        for end in (0, 0):
            log.publish_group(f"braid-{name}", {(name, 0): end})


class GenerationsContract:
    """Fixtures `generations`; `published(gen, views)`: hold the views as generation `gen`, return its `Current`;
    `damage(gen)`: change one number of it where it is stored."""

    VIEWS: ClassVar[dict[str, View]] = {
        BY_MINUTE.name: {
            (0, ("oslo", "a")): State(2, FP, (moments(EDGE, -EDGE), NO_MOMENTS)),
            (MINUTE_US, ("ø é 日本", "it's")): State(
                10**12, 5, (Moments(10**12, -(10**20), 10**31, -5, 5), moments(3))
            ),
        },
        BY_CITY.name: {(0, ("oslo",)): State(2, FP, (moments(EDGE, -EDGE),))},
    }

    def test_generation_zero_is_empty(self, generations: Generations) -> None:
        zero = Current(0, 0, genesis().end, DECLARATION.hash)
        assert generations.view(zero, BY_MINUTE) == {}

    def test_what_was_published_is_read_exactly(self, generations: Generations, published: Published) -> None:
        current = published(1, self.VIEWS)
        for spec in DECLARATION.views:
            assert generations.view(current, spec) == self.VIEWS[spec.name]

    def test_an_older_generation_stays_readable(self, generations: Generations, published: Published) -> None:
        first = published(1, self.VIEWS)
        published(2, {name: {} for name in self.VIEWS})
        assert generations.view(first, BY_CITY) == self.VIEWS[BY_CITY.name]

    def test_a_changed_number_is_refused(
        self, generations: Generations, published: Published, damage: Callable[[int], object]
    ) -> None:
        current = published(1, self.VIEWS)
        damage(1)
        with pytest.raises(BraidError):
            for spec in DECLARATION.views:
                generations.view(current, spec)

    def test_a_generation_that_is_not_there_is_an_error(self, generations: Generations) -> None:
        with pytest.raises(BraidError):
            generations.view(Current(77, 0, genesis().end, DECLARATION.hash, '{"views": {}}'), BY_MINUTE)


class CatalogueContract:
    """Fixtures `catalogue`, in which nothing is registered yet, and `folder(name)`: the location of a folder that exists."""

    def test_nothing_is_registered_at_first(self, catalogue: Catalogue) -> None:
        assert catalogue.numbers(BY_MINUTE) == set()
        assert catalogue.served(BY_MINUTE) is None

    def test_generations_are_those_with_parts(self, catalogue: Catalogue, folder: Callable[[str], str]) -> None:
        for gen in (1, 3):
            catalogue.register(gen, BY_MINUTE, folder("view"), {"1970-01": folder("a"), "1970-02": folder("b")})
        catalogue.register(4, BY_MINUTE, folder("view"), {})
        assert catalogue.numbers(BY_MINUTE) == {1, 3}
        assert catalogue.numbers(BY_CITY) == set()

    def test_registering_again_changes_nothing(self, catalogue: Catalogue, folder: Callable[[str], str]) -> None:
        for place in ("a", "b"):
            catalogue.register(1, BY_CITY, folder("view"), {"key-0": folder(place)})
        assert catalogue.numbers(BY_CITY) == {1}

    def test_the_plain_name_selects_the_generation_last_served(
        self, catalogue: Catalogue, folder: Callable[[str], str]
    ) -> None:
        for gen in (1, 2):
            catalogue.register(gen, BY_MINUTE, folder("view"), {"1970-01": folder("a")})
            catalogue.serve(gen, gen * 10, BY_MINUTE)
            assert catalogue.served(BY_MINUTE) == gen
        catalogue.serve(1, 10, BY_MINUTE)
        assert catalogue.served(BY_MINUTE) == 1
        assert catalogue.served(BY_CITY) is None

    def test_what_was_forgotten_is_gone(self, catalogue: Catalogue, folder: Callable[[str], str]) -> None:
        for gen in (1, 2, 3):
            catalogue.register(gen, BY_MINUTE, folder("view"), {"1970-01": folder("a"), "1970-02": folder("b")})
        catalogue.forget(BY_MINUTE, [1, 3])
        catalogue.forget(BY_MINUTE, [1])
        catalogue.forget(BY_MINUTE, [])
        assert catalogue.numbers(BY_MINUTE) == {2}

    def test_a_view_of_other_columns_is_registered_only_once_it_was_reshaped(
        self, catalogue: Catalogue, folder: Callable[[str], str]
    ) -> None:
        parts = {"1970-01": folder("a")}
        catalogue.register(1, BY_MINUTE, folder("view"), parts)
        catalogue.serve(1, 10, BY_MINUTE)
        catalogue.reshape(BY_MINUTE)
        assert catalogue.numbers(BY_MINUTE) == {1}
        other = replace(BY_MINUTE, measures=BY_MINUTE.measures[:1])
        with pytest.raises(StoreUnavailable, match="expected the columns"):
            catalogue.register(2, other, folder("view"), parts)
        catalogue.reshape(other)
        catalogue.reshape(other)
        catalogue.register(2, other, folder("view"), parts)
        catalogue.serve(2, 20, other)
        assert (catalogue.numbers(other), catalogue.served(other)) == ({2}, 2)

    def test_a_view_that_was_dropped_is_gone_with_its_name(
        self, catalogue: Catalogue, folder: Callable[[str], str]
    ) -> None:
        for spec in (BY_MINUTE, BY_CITY):
            catalogue.register(1, spec, folder(spec.name), {"key-0": folder("a")})
            catalogue.serve(1, 10, spec)
        catalogue.drop(BY_MINUTE)
        catalogue.drop(BY_MINUTE)
        assert (catalogue.numbers(BY_MINUTE), catalogue.served(BY_MINUTE)) == (set(), None)
        assert (catalogue.numbers(BY_CITY), catalogue.served(BY_CITY)) == ({1}, 1)


class TablesContract:
    """Fixtures `tables`, made for `declared`, and `there()`: the columns of each derived table that is there, by name."""

    def test_what_has_its_shape_is_left_alone(self, tables: Tables, declared: Declaration, there: Columns) -> None:
        before = there()
        titled = replace(declared, title="another", views=tuple(replace(v, title="another") for v in declared.views))
        assert tables.change([declared], titled) == []
        assert there() == before

    def test_other_columns_and_other_keys_are_other_tables(
        self, tables: Tables, declared: Declaration, there: Columns
    ) -> None:
        fine, coarse = declared.views
        turned = replace(fine, by=fine.by[::-1])
        narrow = replace(coarse, measures=(replace(coarse.measures[0], stats=("mean",)),))
        new = replace(declared, views=(turned, narrow))
        names = sorted({fine.name, f"{fine.name}__fragments", coarse.name})
        kept = f"{coarse.name}__fragments"
        assert tables.change([declared], new) == names
        assert there()[coarse.name] == {table.name: set(table.names) for table in cql.derived(new)}[coarse.name]
        assert kept in there()
        assert tables.change([declared], new) == []
        assert tables.change([new, declared], declared) == names

    def test_what_is_no_longer_declared_is_dropped_and_what_is_new_is_made(
        self, tables: Tables, declared: Declaration, there: Columns
    ) -> None:
        fine, coarse = declared.views
        new = replace(declared, views=(replace(fine, name="rides_anew"), coarse), alerts=declared.alerts[:1])
        gone = {fine.name, f"{fine.name}__fragments", declared.alerts[1].name}
        assert tables.change([declared], new) == sorted({*gone, "rides_anew", "rides_anew__fragments"})
        assert there().keys() == {table.name for table in cql.derived(new)}
        assert tables.change([declared], new) == []
