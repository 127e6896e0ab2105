"""Ranges tile the log: what may be committed, what is refused, and in which words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid import ledger
from braid.errors import Gap, RangeRefused
from braid.ledger import LedgerRow, Range

A, B = ("image-events", 0), ("image-events", 1)


def ends(a: int, b: int) -> dict[tuple[str, int], int]:
    return {A: a, B: b}


def row(seq: int, start: dict[tuple[str, int], int], end: dict[tuple[str, int], int], **more: int) -> LedgerRow:
    offered = Range(start, end)
    counted = {"good": offered.size} | more
    return LedgerRow(seq, "micro", 1, "w", offered, topic_ids={"image-events": "id-1"}, **counted)


HEAD = row(7, ends(0, 0), ends(10, 20))


# ---- ranges --------------------------------------------------------------------------------------------------------


def test_a_range_knows_its_size_and_its_partitions_in_order() -> None:
    offered = Range({B: 3, A: 5}, {B: 9, A: 5})
    assert (offered.size, offered.empty) == (6, False)
    assert list(offered.partitions()) == [("image-events", 1, 3, 9)]
    assert Range(ends(5, 5), ends(5, 5)).empty


def test_a_partition_without_a_start_begins_at_nought() -> None:
    assert Range({}, ends(2, 3)).size == 5


# ---- decide --------------------------------------------------------------------------------------------------------


def test_a_range_that_starts_at_head_is_committed() -> None:
    assert ledger.decide(HEAD, Range(ends(10, 20), ends(10, 21))) == "commit"


def test_heads_own_range_again_is_already_there() -> None:
    assert ledger.decide(HEAD, HEAD.range) == "already"


def test_nothing_new_is_empty() -> None:
    assert ledger.decide(HEAD, Range(ends(10, 20), ends(10, 20))) == "empty"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (ends(10, 19), ends(12, 22)),  # overlaps
        (ends(10, 21), ends(12, 22)),  # leaves a hole
        (ends(0, 0), ends(10, 21)),  # head's range and more
        (ends(0, 1), ends(10, 20)),  # ends at head, but is not its range
        ({A: 10}, {A: 12}),  # lacks a partition
        (ends(10, 20) | {("image-events", 2): 0}, ends(10, 20) | {("image-events", 2): 3}),  # one too many
    ],
)
def test_any_other_range_is_refused(start: dict[tuple[str, int], int], end: dict[tuple[str, int], int]) -> None:
    with pytest.raises(RangeRefused):
        ledger.decide(HEAD, Range(start, end))


def test_a_refused_range_says_where_head_stands() -> None:
    with pytest.raises(RangeRefused) as error:
        ledger.decide(HEAD, Range(ends(11, 20), ends(12, 20)))
    assert str(error.value) == (
        "micro-batch {'image-events:0': 11, 'image-events:1': 20}..{'image-events:0': 12, 'image-events:1': 20}: expected "
        "it to start at the end of ledger seq 7, got head end {'image-events:0': 10, 'image-events:1': 20}; restart the "
        "stream: it begins anew at the ledger's end"
    )


# ---- the log against the ledger ------------------------------------------------------------------------------------


def test_a_log_that_still_holds_everything_passes() -> None:
    ledger.check_log(HEAD, ends(0, 20), {"image-events": "id-1"})


def test_a_topic_created_again_is_a_gap() -> None:
    with pytest.raises(Gap) as error:
        ledger.check_log(HEAD, ends(0, 0), {"image-events": "id-2"})
    assert str(error.value) == (
        "topic ids: expected {'image-events': 'id-1'} as in ledger seq 7, got {'image-events': 'id-2'}; "
        "the topic was deleted and created again: its offsets name other records; "
        "see what is lost, and go on without it: braid accept-gap DATASET"
    )


def test_changed_partitions_are_a_gap() -> None:
    for earliest in ({A: 0}, ends(0, 0) | {("image-events", 2): 0}):
        with pytest.raises(Gap, match="the partitions of a live topic were changed; see what is lost, and go on"):
            ledger.check_log(HEAD, earliest, {"image-events": "id-1"})


def test_retention_beyond_head_is_a_gap_that_names_the_records() -> None:
    with pytest.raises(Gap) as error:
        ledger.check_log(HEAD, ends(10, 25), {"image-events": "id-1"})
    assert str(error.value) == (
        "image-events partition 1: expected offset 20 to be still there, got 25 as the earliest; "
        "the records 20 to 24 were deleted by retention before they were counted; "
        "see what is lost, and go on without it: braid accept-gap DATASET"
    )


# ---- the chain -----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8))
def test_rows_that_follow_each_other_tile_the_log(steps: list[tuple[int, int]]) -> None:
    rows, at = [row(0, ends(0, 0), ends(0, 0))], ends(0, 0)
    for seq, (a, b) in enumerate(steps, 1):
        then = ends(at[A] + a, at[B] + b)
        rows.append(row(seq, at, then))
        at = then
    ledger.check_chain(rows)
    assert sum(r.range.size for r in rows) == sum(at.values())


def test_a_missing_row_breaks_the_chain() -> None:
    rows = [row(n, ends(n, n), ends(n + 1, n + 1)) for n in range(4)]
    with pytest.raises(RangeRefused, match="ledger seq 3"):
        ledger.check_chain([rows[0], rows[1], rows[3]])


def test_an_overlap_and_a_hole_break_the_chain() -> None:
    first = row(1, ends(0, 0), ends(5, 5))
    for start in (ends(4, 5), ends(6, 5)):
        with pytest.raises(RangeRefused, match="the end of seq 1"):
            ledger.check_chain([first, row(2, start, ends(9, 9))])


@pytest.mark.parametrize("count", ["good", "copies", "dead", "absent"])
def test_every_offset_must_be_accounted_for(count: str) -> None:
    whole = replace(row(1, ends(0, 0), ends(2, 2)), good=1, copies=1, dead=1, absent=1)
    ledger.check_chain([whole])
    with pytest.raises(RangeRefused) as error:
        ledger.check_chain([replace(whole, **{count: 2})])
    assert "expected 4 offsets accounted for, got" in str(error.value)


# ---- names of writes -----------------------------------------------------------------------------------------------

offered = st.builds(lambda a, b, c, d: Range(ends(a, b), ends(a + c, b + d)), *[st.integers(0, 2**40)] * 4)


@given(offered, offered)
def test_equal_ranges_have_equal_attempts_and_others_have_others(one: Range, two: Range) -> None:
    same = (one.start, one.end) == (two.start, two.end)
    assert (ledger.attempt_of(one, "d") == ledger.attempt_of(two, "d")) == same
    assert -(2**63) <= ledger.attempt_of(one, "d") < 2**63


def test_an_attempt_knows_the_definition_and_not_the_order_of_partitions() -> None:
    one = Range({A: 1, B: 2}, {A: 3, B: 4})
    assert ledger.attempt_of(one, "d") == ledger.attempt_of(Range({B: 2, A: 1}, {B: 4, A: 3}), "d")
    assert ledger.attempt_of(one, "d") != ledger.attempt_of(one, "e")


def test_an_engine_of_another_meaning_never_shares_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ledger.attempt_of(HEAD.range, "d")
    monkeypatch.setattr(ledger, "ENGINE", ledger.ENGINE + 1)
    assert ledger.attempt_of(HEAD.range, "d") != before


# ---- sums and buckets ----------------------------------------------------------------------------------------------


def test_totals_run_over_the_whole_chain() -> None:
    rows = [ledger.genesis({}, [A, B], "d", "text", "w")]
    for seq in range(1, 5):
        fresh = replace(
            row(seq, ends(seq, 0), ends(seq + 1, 0)), good=seq, copies=2, dead=1, absent=3, alerts=seq, fp=2**63
        )
        rows.append(ledger.with_totals(rows[-1], fresh))
    assert rows[-1].totals == {"good": 10, "copies": 8, "dead": 4, "absent": 12, "alerts": 10, "fp": 0}


def test_the_next_fragment_bucket_begins_when_one_is_full() -> None:
    full = replace(HEAD, bucket=3, bucket_rows=ledger.ROWS_PER_FRAGMENT_BUCKET)
    assert ledger.next_bucket(full) == (4, 0)
    assert ledger.next_bucket(replace(full, bucket_rows=full.bucket_rows - 1)) == (3, full.bucket_rows - 1)


# ---- text forms ----------------------------------------------------------------------------------------------------

names = st.text(st.sampled_from("abz09._-:"), min_size=1)
offsets = st.dictionaries(st.tuples(names, st.integers(0, 99)), st.integers(0, 2**62), max_size=5)


@given(offsets)
def test_offsets_survive_both_of_their_texts(some: dict[tuple[str, int], int]) -> None:
    assert ledger.offsets_of(ledger.text_of(some)) == some
    assert ledger.offsets_of_spark(ledger.spark_of(some)) == some
