"""The recount that tests on the real stack hold answers against: equal to the reference on every declared dataset, and it bites."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from braid import records
from braid.declaration import Declaration
from braid.declaration_reader import load_all, parse
from braid.records import Event
from braid.views import best, fold
from producer.plan import folder_of
from producer.sources import Timeline, events
from producer.tables import read_folder
from serving.answers import _bounds, _row
from tests.services.recount import Recount, Span

ROOT = Path(__file__).resolve().parents[2]
DECLARED = load_all(ROOT / "datasets")
APPEND_US = 1_795_000_000_000_000
Log = list[tuple[str, int, int, int, bytes | None]]

FORUM = """
dataset: small
topic: small
event_id: [id, at]
event_time: {field: at, zone: Europe/Berlin}
fields:
  id:    {type: string}
  room:  {type: string}
  at:    {type: time}
  score: {type: decimal, scale: 1, min: -1000, max: 100000}
derived:
  slot: {type: integer, sql: "hour(at, 'Europe/Berlin') * 10 + weekday(at, 'Europe/Berlin')"}
  half: {type: decimal, scale: 0, sql: "score * 0.5"}
views:
  all_of_them:
    by: [room]
    window: all
    measures: {score: {of: score, stats: [mean, stddev, p50, p99]}, ids: {of: id, stats: [distinct]}}
  by_slot:
    by: [slot]
    window: 1 hour
    where: "half > 1 or slot < 100"
    measures: {half: {of: half, stats: [sum, min, max]}}
"""


def log_of(declaration: Declaration, most: int = 150) -> Log:
    """Return records of the sample data in two partitions, some of them twice, some bad, in two micro-batches."""
    found: Log = []
    for topic in declaration.topics:
        data = read_folder(folder_of(ROOT / "data" / declaration.dataset, topic))
        sent = events(topic, data, Timeline(APPEND_US - 10**12, 10**7), end=most)
        raws = [event.value for event in sent]
        raws += [*raws[3:40:5], b"no JSON", b"[]", None, b"\xff", raws[0].replace(b":", b";", 1), b"{}"]
        for offset, raw in enumerate(raws):
            found.append((topic.name, offset % 2, offset // 2, APPEND_US + offset, raw))
    return found


def spans_of(log: Log) -> list[Span]:
    """Return ledger rows: the second partition's first half after the first's second half."""
    ends = {(t, p): max(o for a, b, o, *_ in log if (a, b) == (t, p)) + 1 for t, p, *_ in log}
    first = [Span(1, t, p, 0, end // 2) for (t, p), end in ends.items()]
    return first + [Span(2, t, p, end // 2, end) for (t, p), end in ends.items()]


def answer_of(declaration: Declaration, view: str, log: Log) -> dict:
    """Return what the API would answer of the whole log, by the reference."""
    spec = declaration.view(view)
    seqs = {(s.topic, s.partition, o): s.seq for s in spans_of(log) for o in range(s.first, s.end)}
    seen, counted, places = set(), [], []
    for topic, partition, offset, append_us, raw in sorted(log, key=lambda r: (seqs[r[:3]], *r[:3])):
        rules = declaration.topic(topic)
        event = records.parse(rules, raw, append_us)
        if not isinstance(event, Event):
            continue
        identity = (topic, *(event.values[name] for name in rules.event_id))
        if topic in spec.topics and identity not in seen:
            counted.append(event)
            places.append((seqs[topic, partition, offset], topic, partition, offset))
        seen.add(identity)
    states = dict(sorted(fold(spec, counted, places).items()))
    ranks = dict(best(spec, spec, states)) if spec.top else dict.fromkeys(states)
    states = {place: states[place] for place in ranks}
    offsets = {f"{t}:{p}": 10**6 for t, p, *_ in log}
    rows = [_row(spec, place, state, True, ranks[place]) for place, state in states.items()]
    return {"data": rows, "meta": {"as_of": {"offsets": offsets}, "bounds": _bounds(spec, states)}}


@pytest.fixture(scope="module", params=DECLARED)
def counted(request):
    declaration = DECLARED[request.param]
    log = log_of(declaration)
    return declaration, log, Recount(declaration.text, log, spans_of(log))


def test_every_view_of_a_declared_dataset_is_the_reference_s(counted):
    declaration, log, recount = counted
    assert recount.good + recount.copies + recount.dead == len(log)
    assert recount.copies == 8 * len(declaration.topics)
    assert recount.dead >= 5 * len(declaration.topics)
    for view in declaration.views:
        answer = answer_of(declaration, view.name, log)
        assert answer["data"]
        assert recount.differences(view.name, answer) == []


def test_a_row_that_is_missing_or_one_number_that_is_off_is_named(counted):
    declaration, log, recount = counted
    view = declaration.views[0]
    whole = answer_of(declaration, view.name, log)
    less = whole | {"data": whole["data"][1:]}
    assert [text.partition(": ")[2] for text in recount.differences(view.name, less)] == ["not in the answer"]
    for change in (
        lambda row: row["state"].update(fp="1"),
        lambda row: next(iter(row["state"]["measures"].values())).update(sum="1", bins="1:1", hashes="", latest="1"),
        lambda row: row.update({view.finished[0][0]: 12345678}),
    ):
        wrong = copy.deepcopy(whole)
        change(wrong["data"][0])
        assert recount.differences(view.name, wrong)


def test_an_answer_of_an_earlier_seq_is_held_against_the_log_until_there(counted):
    declaration, log, recount = counted
    view = declaration.views[0]
    half = {f"{s.topic}:{s.partition}": s.end for s in spans_of(log) if s.seq == 1}
    early = [r for r in log if r[2] < half[f"{r[0]}:{r[1]}"]]
    answer = answer_of(declaration, view.name, early)
    answer["meta"]["as_of"]["offsets"] = half
    assert recount.differences(view.name, answer) == []
    assert recount.differences(view.name, answer_of(declaration, view.name, log) | {"meta": answer["meta"]})


def test_many_values_estimates_hours_that_come_twice_and_rounding_of_halves():
    declaration = parse(FORUM)
    log: Log = []
    for i in range(2000):
        at = (
            f"2025-10-26T0{1 + i % 3}:{i % 60:02d}:00" if i % 7 else "2025-03-30T02:30:00"
        )  # the night of two two-o'clocks, and the night without one
        score = f"{i % 911 - 3}.{i % 100:02d}5" if i % 5 else "-0.55"
        raw = f'{{"id": "n{i % 1999}", "room": "r{i % 3 // 2}", "at": "{at}", "score": {score}}}'
        log.append(("small", 0, i, APPEND_US, raw.encode()))
    exponent = b'{"id": "e", "room": "r0", "at": "2025-10-26T01:00:00", "score": 1e-1}'
    log.append(("small", 0, len(log), APPEND_US, exponent))
    recount = Recount(FORUM, log, spans_of(log))
    assert recount.dead == 1
    for view in declaration.views:
        answer = answer_of(declaration, view.name, log)
        assert recount.differences(view.name, answer) == []
    assert answer_of(declaration, "all_of_them", log)["meta"]["bounds"]["ids_distinct"] == 0.1


def test_a_latest_value_is_of_the_greatest_time_then_ledger_order_and_a_cut_keeps_the_greatest():
    text = """
dataset: small
topic: small
event_id: [id]
event_time: append
fields: {id: {type: string}, room: {type: string}, seat: {type: string}, score: {type: decimal, scale: 1}}
views:
  seats:
    by: [room, seat]
    window: all
    measures: {score: {of: score, stats: [latest]}}
    top: {k: 1, of: score_latest, per: [room]}
"""
    rows = [("a", "x", 5, 10), ("a", "x", 7, 20), ("a", "x", 6, 20), ("a", "y", 6, 1), ("b", "z", 1, 1)]
    log = [
        ("small", 0, i, at, json.dumps({"id": str(i), "room": room, "seat": seat, "score": score}).encode())
        for i, (room, seat, score, at) in enumerate(rows)
    ]
    recount = Recount(text, log, [Span(1, "small", 0, 0, 9)])
    every = recount.rows("seats", {"small:0": 9})
    assert {place: row["measures"]["score__latest"]["latest"] for place, row in every.items()} == {
        (0, ("a", "x")): "20 1 small 0 2 60", (0, ("a", "y")): "1 1 small 0 3 60", (0, ("b", "z")): "1 1 small 0 4 10",
    }  # fmt: skip
    kept = recount._cut("seats", every, {"k": 1, "of": "score_latest", "per": ["room"]})
    assert {place: row["rank"] for place, row in kept.items()} == {(0, ("a", "x")): 1, (0, ("b", "z")): 1}
