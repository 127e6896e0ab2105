"""`make bench`: its numbers, its gates and its tables. Nothing here is timed."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import threading
import xml.etree.ElementTree as ET  # our own charts
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import (
    agree,
    charts,
    events,
    http_load,
    lab,
    master,
    noise,
    report,
    results,
    seen,
    sizing,
    slices,
    stats,
    wide,
)
from bench.__main__ import ALONE, METRICS
from bench.arms import batch as engines
from bench.arms import relay, speed, tables
from bench.metrics import freshness, growth, incremental, memory, profile, rate, writes
from braid import cql, records
from braid.adapters.cassandra.states import _columns
from braid.adapters.lmdb import LmdbSeenStore
from braid.declaration_reader import parse
from braid.seen import Identity

ROOT = Path(__file__).parents[2]


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_a_line_has_an_interval_that_holds_the_slope_it_was_made_with() -> None:
    noisy = [(x, 3 * x + (0.5 if x % 2 else -0.5)) for x in range(20)]
    line = stats.fitted(noisy)
    assert line is not None and line.half is not None
    assert abs(line.slope - 3) < line.half < 0.1


def test_two_points_make_a_line_without_an_interval_and_one_makes_none() -> None:
    assert stats.fitted([(1, 1), (2, 3)]) == stats.Line(2.0, -1.0, None)
    assert stats.fitted([(1, 1), (1, 3)]) is None and stats.fitted([]) is None


@given(st.floats(-2, 2), st.floats(0.1, 100))
def test_an_exponent_is_that_of_the_power_law(b: float, a: float) -> None:
    line = stats.exponent([(x, a * x**b) for x in (1, 10, 100, 1000)])
    assert line is not None and line.slope == pytest.approx(b, abs=1e-6)


def test_an_event_that_no_answer_held_counts_as_thirty_seconds() -> None:
    assert stats.ages([0.0, 1.0, 2.0], [(0.5, 1), (3.0, 2)]) == [0.5, 2.0, 30.0]
    assert stats.ages([0.0], [(40.0, 1)]) == [30.0]
    assert stats.ages([0.0], []) == [30.0]


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 5)), max_size=20))
def test_an_age_is_never_less_than_that_of_the_first_answer_with_enough(found: list[tuple[float, int]]) -> None:
    counts = sorted(found)
    for k, age in enumerate(stats.ages([0.0, 0.0, 0.0], counts)):
        first = next((at for at, n in counts if n > k), None)
        assert age == (30.0 if first is None else first)


def test_ratios_are_taken_pair_by_pair() -> None:
    # the machine got slower by half between the pairs, and the ratio does not move
    assert stats.ratio([2.0, 4.0], [1.0, 2.0]) == stats.Ratio(2.0, 2.0, 2.0, 2)
    assert stats.ratio([], [1.0]) is None and stats.ratio([1.0], [0.0]) is None


@given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=30), st.floats(1.0, 1e6))
def test_one_odd_pair_does_not_carry_the_middle_off(ratios: list[float], odd: float) -> None:
    found = stats.ratio([*ratios, odd], [1.0] * (len(ratios) + 1))
    assert found is not None and found.pairs == len(ratios) + 1
    assert min(ratios) <= found.middle <= max(ratios)
    assert found.low <= found.middle <= found.high


def test_the_middle_of_even_ratios_is_their_median() -> None:
    found = stats.ratio([1.0, 1.1, 1.2, 1.3, 1.4], [1.0] * 5)
    assert found is not None and found.middle == pytest.approx(1.2)


def test_a_machine_that_moved_is_named_and_a_steady_one_is_not() -> None:
    spins = [1.0, 0.9, 1.3]
    assert stats.moved(spins, 1.2) == "a fixed spin took +20 % against its median"
    assert stats.moved(spins, 1.05) == ""
    assert stats.moved(spins, 0.8) != ""
    assert stats.moved([], 0.8) == ""


def test_a_spin_is_timed_by_what_it_takes_of_a_core_and_at_least_once() -> None:
    with noise.Spins() as spins:
        pass
    assert spins.mean_s > 0


def test_what_of_the_machine_is_looked_at_is_there() -> None:
    assert {"sync_s", "load", "steal_s"} == set(noise.looked())
    assert noise.machine()["cores"] and noise.versions()["pyspark"]


# ---- the load and its reference --------------------------------------------------------------------------------------


def test_the_reference_is_what_the_grammar_reads_in_the_very_bytes() -> None:
    declaration = parse(events.declaration(ROOT, "some"), "some")
    topic, made = declaration.topics[0], events.load(5, 0, 3_000)
    seen: set[tuple[Any, ...]] = set()
    found = events.Reference()
    for raw in made.raws:
        event = records.parse(topic, raw, events.START_US + 10**15)
        if not isinstance(event, records.Event):
            found.dead += 1
            continue
        id_ = tuple(event.values[name] for name in topic.event_id)
        if id_ in seen:
            found.copies += 1
            continue
        seen.add(id_)
        x = event.values["ndvi_mean"]
        assert isinstance(x, int)
        cell = (event.event_us // events.WINDOW_US * events.WINDOW_US, str(event.values["class_name"]))
        one = (1, x, x * x, x, x)
        found.states[cell] = events.merged(found.states[cell], one) if cell in found.states else one
        found.good += 1
    assert found == made.reference


def test_loads_that_follow_one_another_share_no_id() -> None:
    first, second = events.load(5, 0, 2_000), events.load(5, 2_000, 2_000)
    assert not set(first.keys) & set(second.keys)
    both, whole = first.reference, events.load(5, 0, 2_000).reference
    both.add(second.reference)
    assert both.good == whole.good + second.reference.good


def test_a_reference_survives_json() -> None:
    made = events.load(5, 0, 2_000).reference
    assert events.reference(json.loads(json.dumps(made.plain()))) == made


def test_probes_are_good_events_of_their_own_class() -> None:
    declaration = parse(events.declaration(ROOT, "some"), "some")
    made = events.probes("a", 3)
    read = [records.parse(declaration.topics[0], raw, events.START_US + 10**15) for raw in made.raws]
    assert all(isinstance(one, records.Event) and one.values["class_name"] == events.PROBE for one in read)
    assert made.reference.by_class()[events.PROBE][0] == 3


def test_the_masters_reference_counts_what_is_neither_copy_nor_dead() -> None:
    assert master.reference(5_000).good == 5_000 - 10


def test_wide_records_are_good_ones_of_their_declaration() -> None:
    declaration = parse(wide.text("some"), "some")
    made = wide.records(3, range(143, 146), "a")
    read = [records.parse(declaration.topics[0], raw, events.START_US + 10**15) for _, raw in made]
    assert len(made) == 9 and all(isinstance(one, records.Event) for one in read)


# ---- gates -----------------------------------------------------------------------------------------------------------


@dataclass
class Said:
    """An arm that says of its answer what a test wants."""

    says: str = ""
    exact: bool = True
    name: str = "braid"
    topic: str = "t"
    reference: events.Reference = field(default_factory=events.Reference)

    def probes(self) -> tuple[int, dict[str, int] | None]:
        return 0, None

    def wrong(self) -> str:
        return self.says


def _told(**more: Any) -> dict[str, Any]:
    return {"seconds": 10.0, "planned_s": 10.0, "probe_offsets": [5, 9], "cpu_share": 0.1, "began_s": 0.0} | more


def _watched(*found: tuple[int, dict[str, int] | None]) -> lab.Watcher:
    return lab.Watcher(lambda: None, 1.0, found=[(float(i), one) for i, one in enumerate(found)])


def test_a_slice_whose_answer_differs_is_void() -> None:
    assert slices._void(Said("red soil: expected 2, got 1"), _told(), _watched(), 0) == "red soil: expected 2, got 1"
    assert slices._void(Said(), _told(), _watched(), 0) == ""


def test_the_earlier_set_up_is_exempt_from_being_right() -> None:
    assert slices._void(Said("wrong", exact=False), _told(), _watched(), 0) == ""


def test_a_load_that_missed_its_schedule_voids_the_slice() -> None:
    assert "longer than its schedule" in slices._void(Said(), _told(seconds=10.2), _watched(), 0)


def test_an_answer_that_counts_other_probes_than_its_offsets_cover_voids_the_slice() -> None:
    right = _watched((0, {"t:0": 5}), (1, {"t:0": 6}), (2, {"t:0": 10}))
    assert slices._void(Said(), _told(), right, 0) == ""
    wrong = _watched((2, {"t:0": 6}))
    assert slices._void(Said(), _told(), wrong, 0) == "an answer counts 2 probes, and its offsets cover 1"


def _slice(rate_: float, lags: list[tuple[float, float]], void: str = "") -> slices.Slice:
    return slices.Slice("braid", rate_, [0.1, 0.2], _told(), [], lags, void)


def test_a_step_is_sustained_while_the_lag_neither_grows_nor_is_long() -> None:
    assert rate.sustained(_slice(1_000, [(t, 200.0 + t % 2) for t in range(10)]))[0]
    assert not rate.sustained(_slice(1_000, [(t, 100.0 * t) for t in range(10)]))[0]
    assert not rate.sustained(_slice(1_000, [(t, 6_000.0) for t in range(10)]))[0]
    assert not rate.sustained(_slice(1_000, [(t, 0.0) for t in range(10)], "wrong"))[0]
    teeth = (100.0, 900.0, 400.0, 1_200.0, 300.0)
    assert rate.sustained(_slice(1_000, [(t, teeth[t % 5] + 20 * t) for t in range(10)]))[0]  # 2 % within the interval
    assert not rate.sustained(_slice(1_000, [(t, teeth[t % 5] + 500 * t) for t in range(10)]))[0]


def test_a_void_slice_leaves_its_reason_and_no_number() -> None:
    good = slices.Slice("braid", 5_000, [0.1, 0.2], _told(), [])
    bad = slices.Slice("relay", 5_000, [0.01], _told(), [], void="lost one")
    found = freshness.tabled(results.Result("freshness", "F", "s"), (5_000,), [good, bad], 0)
    assert found.void == ["relay at 5,000 events/s: lost one"]
    assert found.rows[0].product == 0.1 and found.rows[0].anchor is None and found.rows[0].ratio is None


def test_freshness_is_compared_within_a_turn() -> None:
    found = freshness.tabled(
        results.Result("freshness", "F", "s"),
        (5_000,),
        [
            slices.Slice("braid", 5_000, [0.4], _told(), [], turn=0),
            slices.Slice("relay", 5_000, [0.1], _told(), [], turn=0),
            slices.Slice("braid", 5_000, [0.9], _told(), [], turn=1),
            slices.Slice("relay", 5_000, [0.9], _told(), [], turn=1, void="lost one"),
            slices.Slice("braid", 5_000, [1.2], _told(), [], turn=2),
            slices.Slice("relay", 5_000, [0.2], _told(), [], turn=2),
            slices.Slice("before", 5_000, [4.0], _told(), [], turn=0),
            slices.Slice("before", 5_000, [2.4], _told(), [], turn=2),
        ],
        0,
    )
    assert found.rows[0].ratio == stats.Ratio(pytest.approx(4.0), pytest.approx(5.0), pytest.approx(6.0), 2)
    assert found.rows[1].ratio == stats.Ratio(pytest.approx(0.1), pytest.approx(0.3), pytest.approx(0.5), 2)


def test_a_pair_counts_when_the_machine_was_the_same_in_both_be_it_a_strange_one() -> None:
    def one(arm: str, turn: int, age_s: float, spin_s: float) -> slices.Slice:
        strange = "" if spin_s == 1.0 else slices.NOISY
        return slices.Slice(arm, 5_000, [age_s], _told(), [], spin_s=spin_s, turn=turn, unsteady=strange)

    ours = [one("braid", 0, 0.4, 1.0), one("braid", 1, 0.8, 1.3), one("braid", 2, 0.8, 1.0)]
    theirs = [one("relay", 0, 0.1, 1.0), one("relay", 1, 0.2, 1.25), one("relay", 2, 0.1, 1.3)]
    assert slices.between(ours, theirs, 0.5) == stats.Ratio(4.0, 4.0, 4.0, 2)
    assert slices.between(ours[2:], theirs, 0.5) is None
    found = freshness.tabled(results.Result("freshness", "F", "s"), (5_000,), ours + theirs, 0)
    assert found.rows[0].ratio == stats.Ratio(4.0, 4.0, 4.0, 2) and found.rows[0].product == 0.4
    assert len(found.void) == 3


def test_a_slice_is_beside_every_slice_of_the_other_arm_in_its_turn() -> None:
    idle = [slices.Slice("braid", 1, [age], _told(), [], spin_s=1.0, turn=turn) for turn, age in enumerate([1.0, 4.0])]
    after = [replace(one, turn=one.turn - 1) for one in idle]
    disturbed = [slices.Slice("braid", 1, [8.0], _told(), [], spin_s=1.0, turn=0)]
    assert slices.between(disturbed, [*idle, *after], 0.5) == stats.Ratio(2.0, 5.0, 8.0, 2)


def test_which_arm_comes_first_changes_from_turn_to_turn() -> None:
    arms: list[Any] = ["braid", "relay", "before"]
    planned = [freshness._planned(arms, (5, 20), turn) for turn in range(freshness.HIGHER + 1)]
    assert planned[0] == [("braid", 5), ("relay", 5), ("braid", 20), ("before", 5)]
    assert planned[1] == [("relay", 5), ("braid", 5), ("braid", 20)]
    assert planned[2] == planned[0]
    assert planned[freshness.HIGHER] == [("relay", 5), ("braid", 5)]


def test_what_grows_is_told_apart_from_a_machine_that_gets_slower() -> None:
    sizes = (1, 10)

    def batch(seq: int) -> dict[str, Any]:
        # the machine gets slower by a tenth a round, the larger file costs a fifth more, and a turn costs ten times as much
        ids = 1.2 if seen.which(sizes, seq) == 10 else 1.0
        return {"seq": seq, "seconds": 1.1 ** seen.a_round(sizes, seq) * ids * (1 if seen.settled(seq) else 10)}

    batches = [batch(seq) for seq in range(1, 6 * seen.EVERY)]
    blocks = growth.by_round(sizes, batches)
    ratio = growth.beside(blocks[10], blocks[1])
    assert ratio is not None and ratio.pairs == 3
    assert (ratio.low, ratio.middle, ratio.high) == pytest.approx((1.2, 1.2, 1.2))
    # half a round is no pair
    assert growth.beside(*[growth.by_round(sizes, batches[: seen.EVERY])[ids] for ids in (10, 1)]) is None


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=4, unique=True), st.integers(0, 10**6))
def test_each_size_has_its_turn_in_each_round(sizes: list[int], nth: int) -> None:
    first = 1 + nth * seen.EVERY * len(sizes)
    seqs = range(first, first + seen.EVERY * len(sizes))
    assert {seen.a_round(sizes, seq) for seq in seqs} == {nth}
    turns = [seen.which(sizes, seq) for seq in seqs]
    assert {size: turns.count(size) for size in sizes} == dict.fromkeys(sizes, seen.EVERY)


def test_the_stream_is_asked_for_files_of_seen_ids_and_says_which_it_looks_into(tmp_path: Path) -> None:
    wanted = tmp_path / "ids"
    assert (seen.asked(wanted), seen.looks_into(wanted)) == ((0,), 0)
    seen.ask(wanted, (10, 20))
    assert (seen.asked(wanted), seen.looks_into(wanted)) == ((10, 20), 0)
    seen.turned(wanted, 10)
    assert seen.looks_into(wanted) == 10
    assert len({wanted, seen.folder(wanted, 1), seen.folder(wanted, 10)}) == 3


def test_more_than_half_of_the_slices_on_a_noisy_host_leave_no_number_at_all() -> None:
    good = slices.Slice("braid", 5_000, [0.1, 0.2], _told(), [])
    noisy = [
        slices.Slice(
            "relay", 5_000, [0.01], _told(), [], unsteady=f"{slices.NOISY}: a fixed spin took +20 % against its median"
        )
        for _ in range(2)
    ]
    found = freshness.tabled(results.Result("freshness", "F", "s"), (5_000,), [good, *noisy], 0)
    assert [row.product for row in found.rows] == [None] and "host too noisy" in found.rows[0].note


def test_the_ratio_of_incremental_runs_is_between_the_histories_and_leaves_the_first_out() -> None:
    def one(history: int, full: float, *seconds: float) -> dict[str, Any]:
        return {"history": history, "full": {"seconds": full}, "runs": [{"seconds": s} for s in seconds]}

    found = results.Result("incremental", "I", "s")
    incremental.tabled(found, [one(500_000, 4.0, 3.0, 2.0, 2.0), one(5_000_000, 30.0, 9.0, 2.2, 2.4)], 250_000)
    row = found.rows[0]
    assert row.ratio is not None and row.ratio.low == pytest.approx(1.1) and row.ratio.high == pytest.approx(1.2)
    assert (row.product, row.anchor, row.met) == (2.2, 2.0, True)
    assert [(r.product, r.anchor) for r in found.rows[1:]] == [(9.0, 3.0), (30.0, 4.0)]
    assert found.lines["incremental run"] == [(0.5, 2.0), (5.0, 2.2)]


def test_a_store_that_shrank_tells_no_bytes_an_event() -> None:
    assert memory.grown("Kafka", 1_000, 15_000, 100).product == 140.0
    assert memory.grown("Cassandra", 1_000, 999, 100).product is None


# ---- tables and charts -----------------------------------------------------------------------------------------------


def test_a_target_speaks_of_the_product_or_of_the_ratio() -> None:
    on_ratio = results.Row(
        "a", "s", 9.0, 3.0, "b", stats.Ratio(2.0, 3.0, 4.0, 3), results.Target("ratio", "at most", 3.0)
    )
    on_product = results.Row("a", "s", 9.0, target=results.Target("product", "at most", 3.0))
    without = results.Row("a", "s", None, target=results.Target("product", "at most", 3.0), note="not built")
    assert (on_ratio.met, on_product.met, without.met) == (True, False, None)


def test_the_table_has_every_row_with_what_it_is_measured_beside(tmp_path: Path) -> None:
    found = results.Result("freshness", "Freshness", "s", bars={"braid": 0.2, "relay": 0.1}, void=["x: lost | one"])
    found.rows.append(
        results.Row(
            "p50", "s", 0.2, 0.1, "relay", stats.Ratio(1.9, 2.0, 2.1, 3), results.Target("product", "at most", 0.25)
        )
    )
    found.rows.append(
        results.Row("incremental", "s", None, target=results.Target("ratio", "at most", 1.2), note="not built")
    )
    facts = report.Facts(0.0, 60.0, True, noise.looked(), noise.looked())
    table = report.write(tmp_path, facts, [found])
    text = table.read_text("utf-8")
    assert "| p50 | 0.2 s | 0.1 s, relay | 1.9 · 2 · 2.1 | ≤ 0.25 | yes |" in text
    assert "| incremental (not built) | – |" in text and "no measurement" in text
    held = json.loads(table.with_suffix(".json").read_text("utf-8"))
    assert held["results"][0]["rows"][0]["met"] is True and held["machine"]["cores"]
    chart = table.with_suffix("") / "freshness.svg"
    assert ET.fromstring(chart.read_text("utf-8")).tag.endswith("svg")  # noqa: S314 - our own


def test_a_chart_of_lines_is_one_svg_and_of_nothing_is_none() -> None:
    found = results.Result("growth", "G", "×", lines={"a": [(1, 1), (10, 2)], "b": [(1, 0), (10, 0)]}, across="size")
    assert ET.fromstring(charts.of(found)).tag.endswith("svg")  # noqa: S314 - our own
    assert charts.of(results.Result("x", "X", "")) == ""


def test_the_sizing_table_has_the_rates_that_were_sustained_and_no_other() -> None:
    ages = [k / 1000 for k in range(1, 101)]
    run: dict[str, Any] = {
        "run": {"quick": False},
        "results": [
            {"metric": "rate", "samples": [{"rate": 5_000, "ages_s": ages, "sustained": True}, {"rate": 9_000, "ages_s": ages, "sustained": False}]},
            {"metric": "memory", "rows": [{"what": "Kafka, bytes an event", "product": 100.0}]},
        ],
    }  # fmt: skip
    lines = "\n".join(sizing.table(run)).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| 5,000 | 7 × 6 | 0.05, 0.10 s | 18.0 M |  | 1.80 GB/h |")
    assert list(sizing.table(run | {"run": {"quick": True}})) == [sizing.HEAD]


def test_two_runs_agree_where_their_ratios_are_near_and_what_one_lacks_is_told() -> None:
    def run(**ratios: float | None) -> dict[str, Any]:
        rows = [
            {"what": what, "beside": "anchor", "ratio": None if middle is None else {"middle": middle}}
            for what, middle in ratios.items()
        ]
        return {"results": [{"metric": "m", "rows": rows}]}

    lines = list(agree.table(run(near=2.0, far=2.0, alone=1.0, none=None), run(near=2.2, far=1.6)))
    assert lines[1:] == [
        "| m | near | anchor | 2 | 2.2 | 10% | yes |",
        "| m | far | anchor | 2 | 1.6 | 25% | **no** |",
        "| m | alone | anchor | 1 | – |  |  |",
    ]


def test_the_page_describes_every_metric_and_every_stage_that_the_job_measures() -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert [name for name in METRICS if f"| `{name}` |" not in page] == []
    assert [name for name in profile.STEPS if name != "known" and f"`{name}`" not in page] == []
    assert [name for name in profile.SPARK if f"`{name}`" not in page] == []
    for name in METRICS + ALONE:
        assert callable(importlib.import_module(f"bench.metrics.{name}").run)


def test_the_stages_that_are_profiled_are_those_of_the_protocol() -> None:
    source = (ROOT / "src" / "speed_layer" / "microbatch.py").read_text("utf-8")
    assert set(profile.STEPS) - {"known"} == set(re.findall(r'^ +yield "(\w+)"', source, re.MULTILINE))


# ---- edges that need no stack ----------------------------------------------------------------------------------------


class _Kept(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        held = self.headers.get("If-None-Match") == '"a"'
        body = b"" if held else b"{}"
        self.send_response(304 if held else 200)
        self.send_header("ETag", '"a"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_http_load_counts_answers_and_sends_the_etag_back() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Kept) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        spec = {"port": server.server_port, "paths": ["/"], "viewers": 2, "seconds": 0.3, "rate": 40}
        plain, tagged = (asyncio.run(http_load._load(spec | {"etag": etag})) for etag in (False, True))
        server.shutdown()
    assert plain["statuses"] == {"200": plain["answered"]} and plain["answered"] == 12
    assert tagged["statuses"] == {"304": tagged["answered"]} and tagged["bytes"] == 0


def test_further_ids_are_as_many_as_asked_for_and_in_order(tmp_path: Path) -> None:
    store = LmdbSeenStore(tmp_path, map_bytes=1 << 20)  # too small: it must grow
    ids = store.open(Identity("some", {"t": "1"}, "d", "s"))
    assert list(speed.fill(ids, 30_000)) == [30_000]
    assert ids.scan()[0] == 30_000 and ids.through_seq == 0
    ids.close()


def test_files_of_all_sizes_know_the_same_events(tmp_path: Path) -> None:
    wanted = tmp_path / "ids"
    ids, files = LmdbSeenStore(tmp_path).open(Identity("some", {"t": "1"}, "d", "s")), speed.Files(wanted)
    events_: list[bytes] = []
    sizes = (100, 1_000)
    for size in (0, *sizes):
        seen.ask(wanted, (size,))
        files.turn(ids, 1)
        assert (ids.scan()[0], seen.looks_into(wanted)) == (size, size)
    seen.ask(wanted, sizes)
    for seq in range(1, 5 * seen.EVERY):
        two = [f"{seq:015d}{n}".encode() for n in range(2)]
        assert ids.known([*events_, *two]) == set(events_)
        assert files.put(ids, seq, two) and not files.put(ids, seq, two)
        events_ += two
        size = seen.which(sizes, seq + 1)
        assert (ids.scan()[0], ids.path) == (size + len(events_), seen.folder(wanted, size))
    ids.close()


def test_the_relay_counts_like_the_reference() -> None:
    made, totals = events.load(5, 0, 3_000), relay.Totals()
    for raw in [*made.raws, *events.probes("a", 3).raws]:
        totals.add(raw)
    expected = made.reference
    expected.add(events.probes("a", 3).reference)
    assert {(start, name): state for (name, start), state in totals.states.items()} == expected.states


def test_the_arms_write_into_tables_that_hold_every_column_of_their_statement() -> None:
    columns = re.search(r"\((.*?)\) VALUES", tables.UPSERT)
    assert columns and len(columns[1].split(", ")) == tables.UPSERT.count("?") == 7


def test_fragments_of_the_write_metric_fit_the_products_table() -> None:
    declaration = parse(wide.text("some"), "some")
    table = cql.fragments(declaration, declaration.views[0])
    one = writes.fragments(1, 2)[1]
    assert len(table.names) == len((0, one.seq, one.window_start_us, *one.key, 1, *_columns(one.state)))


def test_the_engines_count_alike_on_a_master_written_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "master" / "some" / "cut=1" / "topic=t"
    folder.mkdir(parents=True)
    rows = [
        # a copy of i0 in a later seq has other values, and a dead record has none
        {"seq": 1, "partition": 0, "offset": 0, "reason": None, "id64": -3, "event_us": 5, "f_image_id": "i0", "x": 7, "c": "red"},
        {"seq": 2, "partition": 0, "offset": 1, "reason": None, "id64": -3, "event_us": 5, "f_image_id": "i0", "x": 9, "c": "red"},
        {"seq": 1, "partition": 1, "offset": 0, "reason": None, "id64": 4, "event_us": 5, "f_image_id": "i1", "x": -2, "c": "red"},
        {"seq": 1, "partition": 1, "offset": 1, "reason": "not JSON", "id64": None, "event_us": None, "f_image_id": None, "x": None, "c": None},
    ]  # fmt: skip
    ints = pa.int64()
    table = pa.table({
        "topic": ["t"] * 4, "seq": pa.array([r["seq"] for r in rows], ints), "partition": pa.array([r["partition"] for r in rows], pa.int32()),
        "offset": pa.array([r["offset"] for r in rows], ints), "reason": [r["reason"] for r in rows],
        "id64": pa.array([r["id64"] for r in rows], ints), "event_us": pa.array([r["event_us"] for r in rows], ints),
        "f_image_id": [r["f_image_id"] for r in rows], "f_timestamp": pa.array([r["event_us"] for r in rows], ints),
        "f_class_name": [r["c"] for r in rows], "f_ndvi_mean": pa.array([r["x"] for r in rows], ints),
        **{f"f_{b}": pa.array([1, 1, 2_999_999_999, None], ints) for b in engines._BANDS},
    })  # fmt: skip
    pq.write_table(table, folder / "records-00000.parquet")
    spec = {"root": str(tmp_path), "dataset": "some"}
    duck, polars = engines._duckdb(spec)(), engines._polars(spec)()
    assert duck == polars
    assert duck["realtime_ndvi_by_class"] == {(0, "red"): (2, 1, 2, 5, 53, -2, 7)}
    assert duck["spectral_by_class"][0, "red"][2:7] == (2, 3_000_000_000, 1 + 2_999_999_999**2, 1, 2_999_999_999)
