"""What a changed declaration changes, what it costs, and which it may not be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from braid import change, cql, generations, ledger, status
from braid.adapters.memory import MemoryFragments, MemoryLedger, MemoryProjections, MemoryTables
from braid.declaration_reader import parse
from braid.definitions import earlier, in_force
from braid.errors import LostRace
from braid.ledger import Current, LedgerRow, Range
from tests.model.change import NEW, OLD

P = ("plant-log", 0)


def told(old: str, new: str) -> list[tuple[str, str, str, bool]]:
    """Return what is different when a piece of the old text is another one."""
    assert OLD.text.count(old) == 1
    found = change.plan(OLD, parse(OLD.text.replace(old, new)))
    return [(d.what, d.part, d.text, d.decides) for d in found.differences]


def test_every_part_is_compared_entry_by_entry() -> None:
    found = {(d.what, d.part, d.name) for d in change.plan(OLD, NEW).differences}
    assert found == {
        ("changed", "fields", "x"), ("changed", "fields", "y"), ("changed", "views", "by_minute"), ("changed", "views", "by_kind"),
        ("removed", "views", "old_only"), ("added", "derived", "twice"), ("added", "views", "by_hour"), ("changed", "alerts", "odd_x"),
    }  # fmt: skip


def test_a_changed_entry_says_what_stood_there_and_what_stands_there_now() -> None:
    assert told("{type: decimal, scale: 2}", "{type: decimal, scale: 3, max: 2.50, unit: mm}") == [
        ("changed", "fields", "fields: x: max nothing → 2.50; scale 2 → 3; unit nothing → mm", True)
    ]
    assert told("by_minute: {by: [kind, site], window: 1 minute", "by_minute: {by: [kind], window: 2 minutes") == [
        ("changed", "views", "views: by_minute: by [kind, site] → [kind]; window 1 minute → 2 minutes", True)
    ]
    assert told("zone: UTC", "zone: Europe/Paris") == [
        ("changed", "declaration", "declaration: event_time: zone UTC → Europe/Paris", True)
    ]
    assert told("event_id: [name]", "event_id: [name, at]")[0][2] == "declaration: event_id: [name] → [name, at]"
    assert told("dataset: plant\n", "dataset: plant\ndedupe: none\n")[0][1:] == (
        "declaration",
        "declaration: dedupe added",
        True,
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dataset: plant\n", "dataset: plant\ntitle: Plants\ndescription: of ours\nattribution: us\n"),
        ("dataset: plant\n", "dataset: plant\nbatch: {every: 5 minutes}\n"),
        ("alerts:\n", "api: {/api/x: {view: by_kind}}\nalerts:\n"),
        ("x:    {type: decimal, scale: 2}", "x:    {type: decimal, scale: 2, unit: mm, meaning: length}"),
        ("old_only:  {by", "old_only:  {title: Old, by"),
        ("name: {type: string}", "name: {type: string, max_length: 256}"),  # its default, written out
    ],
)
def test_words_paths_the_schedule_and_written_out_defaults_are_nothing_to_apply(old: str, new: str) -> None:
    found = change.plan(OLD, parse(OLD.text.replace(old, new)))
    assert (found.needed, found.refusals) == (False, ())
    assert found.differences and not any(d.decides for d in found.differences)


def test_words_among_what_decides_are_told_apart() -> None:
    text = OLD.text.replace("dataset: plant\n", "dataset: plant\ntitle: Plants\n").replace("scale: 2", "scale: 1")
    found = change.plan(OLD, parse(text))
    assert found.needed
    assert [(d.name, d.decides) for d in found.differences] == [("title", False), ("x", True)]


def test_the_same_text_is_nothing_unless_its_change_is_still_under_way() -> None:
    assert not change.plan(OLD, OLD).needed
    assert change.plan(OLD, OLD, pending=True).needed


def test_another_dataset_or_topic_is_refused_and_says_why() -> None:
    other = parse(OLD.text.replace("dataset: plant", "dataset: other").replace("topic: plant-log", "topic: b-log"))
    assert change.plan(OLD, other).refusals == (
        "dataset: expected 'plant' as in the ledger, got 'other'; another name is another dataset: give it a file of its own",
        "topics: expected plant-log as in the ledger, got b-log; the ledger counts the offsets of these topics: "
        "declare another dataset for other ones",
    )


def test_a_plan_is_json() -> None:
    plain = json.loads(json.dumps(change.plan(OLD, NEW).plain()))
    assert (plain["needed"], plain["old"], plain["new"]) == (True, OLD.hash, NEW.hash)
    assert {"what": "added", "part": "views", "name": "by_hour"}.items() <= plain["differences"][-2].items() or any(
        d["name"] == "by_hour" for d in plain["differences"]
    )


# ---- the row -----------------------------------------------------------------------------------------------------------


def counted() -> tuple[MemoryLedger, LedgerRow]:
    store = MemoryLedger()
    first = ledger.genesis({"plant-log": "one"}, [P], OLD.hash, OLD.text, "w")
    store.create(first, Current(0, 0, first.end, OLD.hash))
    row = LedgerRow(
        1, "micro", 1, "w", Range({P: 0}, {P: 9}), good=6, copies=2, dead=1, fp=5, bucket=3, bucket_rows=7,
        definition=OLD.hash, topic_ids={"plant-log": "one"},
    )  # fmt: skip
    store.append(ledger.with_totals(first, row))
    return store, store.head()


def test_the_row_tiles_the_log_conserves_and_goes_on_with_buckets_and_sums() -> None:
    store, head = counted()
    row = change.row_of(head, NEW, "me", 77)
    store.append(row)
    ledger.check_chain(store.rows(-1, 2))
    assert row.conserves() and (row.bucket, row.bucket_rows, row.committed_at_us) == (3, 7, 77)
    assert row.totals == {"good": 6, "copies": 2, "dead": 1, "absent": 0, "alerts": 0, "fp": 5, "definition": 2}
    assert in_force(store, row).hash == NEW.hash
    assert [d.hash for d in earlier(store, row)] == [OLD.hash]
    assert earlier(store, head) == []


def test_an_applier_that_another_writer_has_overtaken_changes_nothing() -> None:
    store, head = counted()
    store.append(change.row_of(head, NEW, "me", 0))
    with pytest.raises(LostRace):
        store.append(change.row_of(head, NEW, "you", 0))
    other = LedgerRow(2, "micro", 5, "zombie", Range({P: 9}, {P: 12}), good=3, definition=OLD.hash)
    with pytest.raises(LostRace):
        store.append(other)


def test_it_is_pending_until_a_generation_covers_it_even_one_of_an_equal_hash() -> None:
    _, head = counted()
    row = change.row_of(head, NEW, "me", 0)
    old, new = Current(1, 1, head.end, OLD.hash), Current(2, 2, row.end, NEW.hash)
    assert (change.pending(head, old), change.pending(row, old), change.pending(row, new)) == (False, True, False)
    back = change.row_of(row, OLD, "me", 0)
    assert change.pending(back, old)  # the tail would have to cross two rows


def test_status_says_what_is_being_applied_and_counts_by_the_declaration_that_answers() -> None:
    _, head = counted()
    row = change.row_of(head, NEW, "me", 0)
    during = status.report(status.Facts(NEW, 0, None, row, Current(1, 1, head.end, OLD.hash)))
    assert during["counts"]["good"] == 6
    assert during["problems"] == [
        f"plant: a changed declaration, {NEW.hash[:12]}, is being applied from ledger seq 2 on and no generation of it is "
        "served yet; finish it: braid apply plant"
    ]
    audit = generations.audit_text({}, generations.Audited(), {"good": -2, "copies": 0, "dead": 2, "fp": -1})
    after = status.report(status.Facts(NEW, 0, None, row, Current(2, 2, row.end, NEW.hash, audit)))
    assert (after["counts"]["good"], after["counts"]["dead"], after["problems"]) == (4, 3, [])


# ---- what it costs -------------------------------------------------------------------------------------------------------

SIZES: dict[str, Any] = {"master_bytes": 1000, "rows": {"v": 5}, "generation_bytes": 100}


def test_the_cost_counts_every_record_once_and_scales_the_newest_run() -> None:
    last = {"records": 1000, "archived": 20_000, "steps": {"read": 3.0, "parquet": 40.0, "views": 60.0, "written": 3.0}}
    found = change.cost(OLD, counted=5000, archived=4000, last=last, **SIZES)
    assert (found.records, found.archived, found.unarchived) == (5000, 4000, 1000)
    assert found.disk_bytes == 100 * 3 + 250  # three views where one was; a quarter of the master's size again
    assert found.minutes == round((6 + 60 * 5 + 5000 * 0.002) / 60, 1)


def test_what_is_not_known_is_not_made_up() -> None:
    found = change.cost(OLD, counted=7, archived=0, master_bytes=0, rows={}, generation_bytes=0, last=None)
    assert (found.records, found.disk_bytes, found.minutes) == (7, None, None)
    failed = {"records": 9, "steps": {"read": 1.0}, "error": "x"}
    assert change.cost(OLD, counted=7, archived=7, last=failed, **SIZES).minutes is None
    few = {
        "records": 100,
        "archived": 10,
        "steps": {"parquet": 9.0, "views": 5.0},
    }  # too few to say how fast parsing is
    assert change.cost(OLD, counted=100, archived=100, last=few, **SIZES).minutes == round((5 + 5) / 60, 1)


# ---- tables and the catalogue ----------------------------------------------------------------------------------------------


def test_tables_of_another_shape_are_made_anew_and_the_others_are_left_alone() -> None:
    tables = MemoryTables(OLD, MemoryFragments(), MemoryProjections())
    kept = parse(OLD.text.replace("scale: 2", "scale: 1"))
    assert tables.change([OLD], kept) == []
    assert tables.change([OLD], NEW) == sorted({
        "by_hour", "by_hour__fragments", "by_kind", "by_minute", "by_minute__fragments", "odd_x", "old_only", "old_only__fragments",
    })  # fmt: skip
    assert tables.held.keys() == {table.name for table in cql.derived(NEW)}
    assert tables.change([OLD], NEW) == []


def test_a_key_in_another_order_is_another_shape() -> None:
    turned = parse(OLD.text.replace("by: [kind, site], window: 1 minute", "by: [site, kind], window: 1 minute"))
    tables = MemoryTables(OLD, MemoryFragments(), MemoryProjections())
    assert tables.change([OLD], turned) == ["by_minute", "by_minute__fragments"]
