"""Gaps: what is found, what accepting it commits, and how each part passes over it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from batch_layer import archive
from batch_layer.audit import Counts, Own, audit
from braid import definitions, gaps, ledger
from braid.adapters.memory import MemoryFragments, MemoryLedger, MemoryLog
from braid.errors import AuditFailed, RangeRefused
from braid.gaps import ADDED, RECREATED, RETENTION, UNARCHIVED, Loss
from braid.ledger import Current, LedgerRow, Range
from speed_layer import accept
from tests.unit.serving_world import PLACE, RIDES, START_US, TOPIC_IDS, World, client_of, ride, states_of, step

A, B, C = ("rides-log", 0), ("rides-log", 1), ("rides-log", 2)
VIEW = "/api/v1/datasets/rides/views/rides_by_city?state=1"
ENTRY = {"topic": "rides-log", "partition": 0}


def a_row(seq: int, start: int, end: int, **more: Any) -> LedgerRow:
    """Return a micro row of partition 0 whose records are all good."""
    row = LedgerRow(
        seq, "micro", seq, "w", Range({A: start}, {A: end}), good=end - start, fp=end - start,
        definition=RIDES.hash, topic_ids=TOPIC_IDS,
    )  # fmt: skip
    return replace(row, **more)


def a_ledger(*rows: LedgerRow) -> MemoryLedger:
    store = MemoryLedger()
    first = ledger.genesis(TOPIC_IDS, [A], RIDES.hash, RIDES.text, "w")
    store.create(first, Current(0, 0, first.end, RIDES.hash))
    head = first
    for row in rows:
        head = ledger.with_totals(head, row)
        store.append(head)
    return store


def a_log(records: int, *, trimmed: int = 0) -> MemoryLog:
    log = MemoryLog()
    log.create("rides-log", 1)
    for _ in range(records):
        log.send(*A, b"{}", 0)
    log.trim(A, trimmed)
    return log


# ---- what is found ---------------------------------------------------------------------------------------------------


def test_a_log_that_holds_all_that_is_to_come_has_no_gap() -> None:
    store = a_ledger(a_row(1, 0, 5))
    assert accept.offer(a_log(9, trimmed=5), store, 1, "me", 7) is None


def test_retention_past_head_is_named_offset_by_offset() -> None:
    store = a_ledger(a_row(1, 0, 5))
    row = accept.offer(a_log(9, trimmed=8), store, 1, "me", 7)
    assert row is not None
    assert gaps.accepted(row).losses == (Loss("rides-log", 0, 5, 8, RETENTION),)
    assert (row.seq, row.kind, row.absent, dict(row.range.start), dict(row.end)) == (2, "gap", 3, {A: 5}, {A: 8})
    assert row.conserves()
    store.append(row)
    ledger.check_chain(store.rows(-1, 2))
    ledger.check_log(store.head(), {A: 8}, TOPIC_IDS)
    assert accept.offer(a_log(9, trimmed=8), store, 1, "me", 7) is None


def test_a_topic_created_again_begins_at_its_own_beginning_under_its_new_id() -> None:
    store = a_ledger(a_row(1, 0, 5))
    log = a_log(5)
    log.delete("rides-log")
    log.create("rides-log", 2)
    for _ in range(4):
        log.send(*A, b"{}", 0)
    log.trim(A, 1)
    row = accept.offer(log, store, 1, "me", 7)
    assert row is not None
    assert gaps.accepted(row).losses == (
        Loss("rides-log", 0, 5, None, RECREATED),
        Loss("rides-log", 0, 0, 1, RETENTION),
    )
    assert dict(row.range.start) == {A: 0, B: 0}
    assert dict(row.end) == {A: 1, B: 0}
    assert row.topic_ids == {"rides-log": "topic-2"}
    store.append(row)
    ledger.check_chain(store.rows(-1, 2))
    ledger.check_log(store.head(), log.earliest(["rides-log"]), log.topic_ids(["rides-log"]))


def test_an_added_partition_loses_nothing_and_starts_at_0() -> None:
    store = a_ledger(a_row(1, 0, 5))
    head = store.head()
    row = gaps.row_of(head, {A: 0, B: 0, C: 2}, TOPIC_IDS, (), "me", 7)
    assert gaps.accepted(row).losses == (Loss("rides-log", 1, 0, 0, ADDED), Loss("rides-log", 2, 0, 2, RETENTION))
    assert dict(row.range.start) == {A: 5, B: 0, C: 0}
    assert dict(row.end) == {A: 5, B: 0, C: 2}
    ledger.check_chain([head, row])


def test_only_a_gap_row_may_begin_anew() -> None:
    again = a_row(2, 0, 3, topic_ids={"rides-log": "topic-2"})
    with pytest.raises(RangeRefused, match=re.escape("ledger seq 2: expected it to start at {'rides-log:0': 5}")):
        ledger.check_chain([a_row(1, 0, 5), again])
    with pytest.raises(RangeRefused, match=re.escape("ledger seq 2: expected it to start at {'rides-log:0': 5}")):
        ledger.check_chain([a_row(1, 0, 5), replace(again, kind="gap", topic_ids=TOPIC_IDS)])


def test_rows_that_are_counted_but_not_archived_are_given_up_whole_and_leave_the_totals() -> None:
    store = a_ledger(a_row(1, 0, 5), a_row(2, 5, 9, copies=1, good=2, dead=1), a_row(3, 9, 12))
    row = accept.offer(a_log(15, trimmed=6), store, 1, "me", 7)
    assert row is not None
    given_up = gaps.accepted(row)
    assert given_up.lost == ((2, 2),)
    assert given_up.losses == (Loss("rides-log", 0, 5, 9, UNARCHIVED),)
    assert row.range.empty
    before, after = store.head().totals, row.totals
    assert (after["good"], after["absent"], after["fp"]) == (8, 4, 8)
    assert sum(after[n] for n in ("good", "copies", "dead", "absent")) == sum(
        before[n] for n in ("good", "copies", "dead", "absent")
    )
    store.append(row)
    assert accept.offer(a_log(15, trimmed=6), store, 1, "me", 7) is None


def test_rows_of_a_deleted_topic_are_lost_as_far_as_they_are_not_archived() -> None:
    store = a_ledger(a_row(1, 0, 5), a_row(2, 5, 5), a_row(3, 5, 9))
    log = a_log(0)
    log.delete("rides-log")
    log.create("rides-log", 1)
    row = accept.offer(log, store, 1, "me", 7)
    assert row is not None
    assert gaps.accepted(row).lost == ((3, 3),)
    assert gaps.lost(store.rows(0, 3)) == frozenset()
    assert gaps.lost([row]) == {3}


def test_an_acceptance_that_another_writer_has_overtaken_changes_nothing() -> None:
    store = a_ledger(a_row(1, 0, 5))
    row = accept.offer(a_log(9, trimmed=8), store, 1, "me", 7)
    store.append(ledger.with_totals(store.head(), a_row(2, 5, 6)))
    with pytest.raises(Exception, match="ledger seq 2: expected it to be free"):
        store.append(row)  # type: ignore[arg-type]


def test_the_text_of_a_gap_row_is_no_declaration_and_the_chain_of_gaps_is_found_from_head() -> None:
    store = a_ledger(a_row(1, 0, 5))
    for trimmed in (8, 11):
        row = accept.offer(a_log(20, trimmed=trimmed), store, store.head().seq, "me", 7)
        assert row is not None
        store.append(row)
        head = store.head()
        store.append(ledger.with_totals(head, a_row(head.seq + 1, head.end[A], head.end[A] + 1)))
    head = store.head()
    assert definitions.in_force(store, head).hash == RIDES.hash
    assert gaps.as_dicts(gaps.through(store, head)) == [
        ENTRY | {"seq": 2, "from": 5, "to": 8, "reason": RETENTION},
        ENTRY | {"seq": 4, "from": 9, "to": 11, "reason": RETENTION},
    ]
    assert [g.seq for g in gaps.through(store, store.rows(2, 3)[0])] == [2]
    assert gaps.through(store, store.rows(0, 1)[0]) == []


def test_a_gap_row_written_before_gaps_had_a_text_names_its_range() -> None:
    old = LedgerRow(1, "gap", 1, "w", Range({A: 0}, {A: 3}), absent=3)
    assert gaps.accepted(old).losses == (Loss("rides-log", 0, 0, 3, RETENTION),)


# ---- the batch layer -------------------------------------------------------------------------------------------------


def with_lost_rows() -> list[LedgerRow]:
    store = a_ledger(a_row(1, 0, 5), a_row(2, 5, 9), a_row(3, 9, 12))
    row = accept.offer(a_log(15, trimmed=6), store, 1, "me", 7)
    assert row is not None
    store.append(row)
    store.append(ledger.with_totals(row, a_row(5, 12, 14)))
    return store.rows(0, 5)


def test_the_archive_reads_around_what_is_gone() -> None:
    rows = with_lost_rows()
    assert [[r.seq for r in run] for run in archive.runs(rows[1:])] == [[3], [5]]
    archive.check_held(rows[1:], a_log(15, trimmed=9), RIDES)
    with pytest.raises(Exception, match=r"expected offsets 5 to 11 for the archive, got 6 .* braid accept-gap rides"):
        archive.check_held(rows[1:3], a_log(15, trimmed=6), RIDES)


def test_the_audit_lists_what_a_gap_gave_up_and_refuses_to_find_records_of_it() -> None:
    rows = [replace(row, definition="another") for row in with_lost_rows()]  # others: by their number of records
    counts = {3: Counts(3), 5: Counts(2)}
    found = audit(RIDES, rows[1:], Own(counts, {}), MemoryFragments())
    assert [(u.seq, u.through, u.reason) for u in found.unaudited] == [
        (2, 2, "gap"), (3, 5, "definition"),
    ]  # fmt: skip
    with pytest.raises(AuditFailed, match="ledger seq 2: records: batch 4, speed 0"):
        audit(RIDES, rows[1:], Own(counts | {2: Counts(4)}, {}), MemoryFragments())


# ---- answers ---------------------------------------------------------------------------------------------------------


def a_world() -> World:
    world = World().genesis()
    world.commit([ride(1, "Bern", 100), ride(2, "Lima", 200)])
    world.publish(1)
    world.commit([ride(3, "Bern", 300)])
    return world


def accepted_in(world: World, earliest: int, archived: int) -> LedgerRow:
    head = world.kept.head()
    row = gaps.row_of(head, {PLACE: earliest}, TOPIC_IDS, world.kept.rows(archived, head.seq), "me", START_US)
    world.kept.append(row)
    world.events.append([])
    world.log_end = {PLACE: earliest}
    return row


def meta_of(client: Any) -> Any:
    response = client.get(VIEW)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.json["meta"]


def test_answers_say_so_while_the_stream_cannot_go_on_and_so_do_the_probe_and_the_status() -> None:
    world = a_world()
    client = client_of(world)
    assert meta_of(client)["complete"]
    world.held_log = ({PLACE: 9}, TOPIC_IDS)
    step(client)
    (missing,) = meta_of(client)["missing"]
    assert (missing["what"], missing["from_seq"], missing["offsets"]) == ("gap", 3, {"rides-log:0": [3, 9]})
    assert "braid accept-gap rides" in missing["reason"]
    assert not meta_of(client)["complete"]
    assert client.get(VIEW.replace("state=1", "strict=1")).status_code == 503
    assert client.get(VIEW + "&layer=batch").json["meta"]["complete"]
    assert "braid accept-gap rides" in client.get("/readyz").json["datasets"]["rides"]["gap"]
    assert "braid accept-gap rides" in client.get("/api/v1/status").json["datasets"][0]["problems"][0]
    world.held_log = ({PLACE: 0}, {"rides-log": "topic-2"})
    step(client)
    assert meta_of(client)["missing"][0]["offsets"] == {"rides-log:0": [3, None]}


def test_an_accepted_gap_is_missing_until_a_generation_covers_it_and_named_for_ever() -> None:
    world = a_world()
    client = client_of(world)
    accepted_in(world, 9, archived=2)
    world.commit([ride(4, "Oslo", 1)])
    step(client)
    entry = ENTRY | {"seq": 3, "from": 3, "to": 9, "reason": RETENTION}
    meta = meta_of(client)
    assert meta["gaps"] == [entry]
    assert [(m["what"], m["from_seq"], m["offsets"]) for m in meta["missing"]] == [("gap", 3, {"rides-log:0": [3, 9]})]
    assert client.get(VIEW + "&layer=batch").json["meta"]["gaps"] == []
    assert json.loads(client.get("/api/rides/newest").headers["X-Braid-Gaps"]) == [entry]  # a bare array has no meta
    assert "X-Braid-Gaps" not in client.get("/api/rides/history").headers
    world.publish(2)
    step(client)
    meta = meta_of(client)
    assert meta["complete"]
    assert meta["gaps"] == [entry]
    assert meta["as_of"]["cut_seq"] == 4


@pytest.mark.parametrize("followed", [True, False], ids=["live", "restarted"])
def test_fragments_of_rows_that_a_gap_gave_up_count_no_more(followed: bool) -> None:
    world = a_world()
    world.commit([ride(4, "Oslo", 50)])
    client = client_of(world)
    assert meta_of(client)["as_of"]["seq"] == 3
    accepted_in(world, 4, archived=1)  # seq 2 and 3 had been counted, and are in no archive
    world.events[2] = []
    world.events[3] = []
    world.commit([ride(3, "Bern", 300)])  # sent again: it counts again
    if not followed:
        client = client_of(world)
    step(client)
    response = client.get(VIEW).json
    assert response["meta"]["as_of"]["seq"] == 5
    assert states_of(response, RIDES, "rides_by_city") == world.naive("rides_by_city")
    reasons = {entry["reason"] for entry in response["meta"]["gaps"]}
    assert UNARCHIVED in reasons
