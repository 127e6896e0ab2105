"""The promises, on the real stack: from CSV and hand-typed records to the API, through crashes, copies and publications.

One running Braid serves all tests here, with two declared datasets, so that what one test leaves behind (dead
letters, late events, a second generation) is in the way of the next, as it would be in life.
"""

import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from cassandra.cluster import Cluster
from pyhive import hive

from braid.adapters.doorbell import Doorbell
from speed_layer.stream import LARGE
from stack.supervisor import Supervisor
from tests.services.pipeline import (
    Pipeline,
    by_hand,
    check_verified,
    check_views,
    instant_us,
    recompute,
    recomputes,
    root_with,
    running,
    scaled,
    served,
)
from tests.unit.export_world import read

CHECKOUT = Path(__file__).parents[2]

WEATHER = """
dataset: weather
topic: weather.readings
event_id: [station]
event_time: {field: taken, zone: Europe/Paris}
fields:
  station: {type: string}
  region:  {type: string}
  sky:     {type: string, values: [clear, cloudy]}
  taken:   {type: time}
  celsius: {type: decimal, scale: 2, min: -90, max: 60}
  gust:    {type: integer, min: 0, optional: true}
views:
  by_minute:
    by: [region, sky]
    window: 1 minute
    measures: {temperature: {of: celsius, stats: [mean, min, max]}, gust: {of: gust, stats: [n, max]}}
  by_region:
    by: [region]
    window: all
    measures: {temperature: {of: celsius, stats: [mean, min, max]}, gust: {of: gust, stats: [n, max]}}
api:
  /api/weather: {view: by_minute, newest_window: true}
"""


@pytest.fixture(scope="module")
def braid(stack, tmp_path_factory):
    """Yield a Braid with the streams of land cover and of a dataset that exists in YAML alone, and the API."""
    landcover = by_hand((CHECKOUT / "datasets" / "landcover.yaml").read_text(encoding="utf-8"))
    root = root_with(tmp_path_factory.mktemp("end") / "root", CHECKOUT, {"landcover": landcover, "weather": WEATHER})
    with running(stack, dataclasses.replace(stack, root=root)) as again:
        yield Pipeline(again())


def test_land_cover_goes_from_csv_to_every_view_exactly(braid):
    for limit in ("1000", "3000"):  # the second adds 2,000 and re-sends 1,000
        summary = braid.produce("--start", "2026-01-01T00:00:00Z", "--every", "10s", "--limit", limit, "--rate", "3000")
        assert summary["acknowledged"] == int(limit)
        braid.caught_up()
    status = braid.caught_up()
    assert (status["counts"]["good"], status["counts"]["copies"]) == (3000, 1000)
    check_views(braid)
    rows = braid.get("/api/realtime/ndvi")
    assert {"class_name", "ndvi_avg", "ndvi_stddev", "window_start", "n"} <= rows[0].keys()
    assert len(rows) == len({r["class_name"] for r in rows}) == 6


def test_the_status_tells_how_long_each_phase_of_the_newest_micro_batch_took(braid):
    head = braid.status()["head"]["seq"]
    batch = braid.eventually("its phases", lambda: (b := braid.status()["micro_batch"]) and b["seq"] >= head and b)
    assert {"wal", "computed", "folded", "fragments", "alerts", "written", "committed", "put", "projected"} == set(
        batch["phases"]
    )
    assert 0 < batch["seconds"] < 60 and all(took >= 0 for took in batch["phases"].values())
    assert braid.status()["conservation"]["holds"] and braid.status()["jobs"]["speed"]["running"]
    with urllib.request.urlopen(f"http://127.0.0.1:{braid.settings.ports.api}/metrics") as answer:
        assert 'braid_micro_batch_phase_seconds{dataset="landcover",phase="computed"}' in answer.read().decode()


def test_every_spark_program_starts_from_the_archive_of_classes(braid):
    archive = braid.settings.class_archive
    for name in ("speed-landcover", "hive"):
        parent = psutil.Process(braid.pid(name))
        jvms = [p for p in (parent, *parent.children(recursive=True)) if p.name() == "java"]
        assert jvms, name
        for jvm in jvms:
            assert any(m.path == str(archive) for m in jvm.memory_maps()), (name, jvm.cmdline()[:8])


def test_alerts_are_judged_against_the_history_before_their_micro_batch(braid):
    alerts = braid.get("/api/anomalies")
    assert alerts, "3,000 patches hold outliers beyond two sigma"
    assert {"class_name", "timestamp", "image_id", "ndvi_mean", "ndvi_min", "ndvi_max"} <= alerts[0].keys()
    assert all(abs(a["z"]) > 2 for a in alerts)
    assert [a["timestamp"] for a in alerts] == sorted((a["timestamp"] for a in alerts), reverse=True)
    assert braid.status()["counts"]["alerts"] >= len(alerts)


def test_cassandra_shows_finished_committed_numbers(braid):
    """The readable tables follow the commit: soon they show the answer, and every alert."""
    braid.caught_up()
    answer = {
        (row["class_name"], instant_us(row["window_start"])): (
            row["n"],
            row["ndvi_avg"],
            row["ndvi_min"],
            row["ndvi_max"],
        )
        for row in braid.view("realtime_ndvi_by_class")["data"]
    }
    alerts = braid.status()["counts"]["alerts"]
    with Cluster([braid.settings.cassandra_host], port=braid.settings.cassandra_port, protocol_version=5) as cluster:
        session = cluster.connect("landcover")

        def shown():
            rows = session.execute("SELECT * FROM realtime_ndvi_by_class")
            found = {
                (r.class_name, instant_us(f"{r.window_start.isoformat()}Z")): (r.n, r.ndvi_avg, r.ndvi_min, r.ndvi_max)
                for r in rows
            }
            return found == answer and len(list(session.execute("SELECT * FROM anomaly_alerts"))) == alerts

        braid.eventually("Cassandra shows the answer and every alert", shown)


BAD = {
    b"\xff\xfe{}": "UTF-8",
    b"": "no value",
    b'{"image_id": "cut sho': "JSON",
    b"[1, 2]": "JSON object",
    b'"text"': "JSON object",
    "NaN": "NaN and Infinity",
    "Infinity": "NaN and Infinity",
    '"0.5"': "ndvi_mean",
    "1.5": "ndvi_mean",
    "1e-1": "ndvi_mean",
}


def event(n: int, at: str = "2026-02-01T00:00:00Z", **changed: str) -> bytes:
    """Return a good land-cover event as text, with fields replaced by raw JSON text."""
    fields = {
        "image_id": f'"hand-{n}"', "class_name": '"red soil"', "timestamp": f'"{at}"', "ndvi_mean": "0.1",
        "ndvi_std": "0.01", "ndvi_min": "0.05", "ndvi_max": "0.2",
    } | changed  # fmt: skip
    return ("{" + ", ".join(f'"{k}": {v}' for k, v in fields.items()) + "}").encode()


def test_each_bad_record_is_a_dead_letter_with_its_own_reason_and_the_next_good_one_counts(braid):
    before = braid.status()["counts"]
    future = (time.time_ns() // 10**9) + 3600
    bad = [raw if isinstance(raw, bytes) else event(1, ndvi_mean=raw, _bad="1") for raw in BAD]
    expected = list(BAD.values())
    more = [
        (event(2, image_id='"  "', _bad="1"), "image_id"),
        (event(3, image_id="null", _bad="1"), "image_id"),
        (event(4, class_name='"ocean"', _bad="1"), "class_name"),
        (event(5, at="yesterday", _bad="1"), "timestamp"),
        (event(6, at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(future)), _bad="1"), "timestamp"),
        (event(7, image_id='"' + "x" * 1_000_000 + '"', _bad="1"), "999999 bytes"),
    ]
    bad += [raw for raw, _ in more]
    expected += [word for _, word in more]
    good = [
        event(10), event(11, at="2025-12-15T00:00:00Z"), event(10),  # 30 days late, and a copy
        event(12, ndvi_mean="0.1234565"), event(13, ndvi_mean="0.1234575"),  # ties, half-even: …456 and …458
    ]  # fmt: skip
    braid.send("image-events", [*bad, *good])
    status = braid.caught_up()
    after = status["counts"]
    assert after["dead"] - before["dead"] == len(bad)
    assert (after["good"] - before["good"], after["copies"] - before["copies"]) == (4, 1)
    check_views(braid)
    with Cluster([braid.settings.cassandra_host], port=braid.settings.cassandra_port, protocol_version=5) as cluster:
        letters = list(cluster.connect("landcover").execute("SELECT * FROM dead_letters"))
    # records without a key went to any partition: match by the bytes
    for raw, word in zip(bad, expected, strict=True):
        (found,) = [letter for letter in letters if (letter.raw or b"") == raw[:4096]]
        assert word in found.reason, (raw[:60], found.reason)


def test_a_dataset_is_one_yaml_file(braid):
    declaration = braid.declared["weather"]
    rows = [
        {"station": f"s{n}", "region": ["north", "south", "ünïted"][n % 3], "sky": ["clear", "cloudy"][n % 2],
         "taken": f"2026-03-{1 + n % 3:02d}T10:{n % 60:02d}:{n * 7 % 60:02d}", "celsius": float(n % 40) - 12.25} | ({"gust": n} if n % 4 else {})
        for n in range(400)
    ]  # fmt: skip
    braid.send("weather.readings", [json.dumps(r).encode() for r in rows + rows[:50]])
    status = braid.caught_up("weather")
    assert (status["counts"]["good"], status["counts"]["copies"], status["counts"]["dead"]) == (400, 50, 0)
    records = braid.log("weather")
    # Paris is an hour ahead of UTC in early March: the declared zone of times written without one
    check_views(braid, "weather", offset_us=-3600 * 10**6)
    assert {"region", "sky", "temperature_mean", "gust_max", "window_start"} <= braid.get("/api/weather")[0].keys()
    braid.batch("weather")
    answer = braid.eventually(
        "generation 1", lambda: (a := braid.view("by_region", "weather"))["meta"]["as_of"]["generation"] == 1 and a
    )
    assert served(answer, declaration, "by_region") == recompute(declaration, "by_region", records)


def test_no_answer_is_ever_wrong_while_a_generation_is_published_under_load(braid):
    """A poller records every answer through a publication; each must equal the recompute at its own as_of."""
    answers, done = [], threading.Event()
    declaration = braid.declared["landcover"]

    def poll():
        while not done.wait(0.2):
            for spec in declaration.views:
                answer = braid.view(spec.name)
                answers.append((spec.name, answer["meta"], served(answer, declaration, spec.name)))

    def load_events():
        for day in range(1, 29):
            if done.is_set():
                return
            braid.produce(
                "--start", f"2026-02-{day:02d}T00:00:00Z", "--every", "61s", "--limit", "600", "--rate", "100"
            )

    threads = [threading.Thread(target=f) for f in (poll, load_events)]
    for thread in threads:
        thread.start()
    try:
        braid.batch()
        braid.eventually("generation 1", lambda: braid.view("landcover_aggregates")["meta"]["as_of"]["generation"] >= 1)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    braid.caught_up()
    records = braid.log()
    generations = {meta["as_of"]["generation"] for _, meta, _ in answers}
    assert generations >= {0, 1}, "the poller must have seen the publication"
    asked: dict[str, dict[str, list]] = {spec.name: {} for spec in declaration.views}
    for view, meta, states in answers:
        # a store may be slow to answer under load: then the answer says so, and is exact all the same
        assert meta["complete"] or {m["what"] for m in meta["missing"]} <= {"hive", "cassandra"}, meta
        asked[view].setdefault(json.dumps(meta["as_of"]["offsets"], sort_keys=True), []).append(states)
    for view, by_end in asked.items():
        assert len(by_end) > 10
        for until, expected in recomputes(declaration, view, records, [json.loads(end) for end in by_end]):
            assert all(states == expected for states in by_end[json.dumps(until, sort_keys=True)]), (view, until)
    check_views(braid)


def test_hive_holds_the_generation_that_is_served(braid):
    answer = braid.view("landcover_aggregates", layer="batch")
    generation = answer["meta"]["as_of"]["generation"]
    with hive.connect(braid.settings.hive_host, braid.settings.hive_port, database="landcover") as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT class_name, n, ndvi_avg, ndvi_stddev, ndvi_min, ndvi_max FROM landcover_aggregates")
        rows = {r[0]: r[1:] for r in cursor.fetchall()}
        cursor.execute(
            f"SELECT class_name, ndvi__sum, ndvi__sumsq FROM landcover_aggregates__gen WHERE gen = {generation}"
        )
        states = {r[0]: (int(r[1]), int(r[2])) for r in cursor.fetchall()}
    for row in answer["data"]:
        n, *finished = rows[row["class_name"]]
        assert int(n) == row["n"]
        assert finished == [row["ndvi_avg"], row["ndvi_stddev"], row["ndvi_min"], row["ndvi_max"]]
        exact = row["state"]["measures"]["ndvi"]
        assert states[row["class_name"]] == (int(exact["sum"]), int(exact["sumsq"]))
    stats = braid.get("/api/batch/class-stats")
    assert {"class_name", "avg", "stddev", "min", "max"} <= stats[0].keys()


@pytest.mark.parametrize("dataset", ["landcover", "weather"])
def test_everything_verifies_by_the_second_path(braid, dataset):
    check_verified(braid, dataset)


@pytest.mark.parametrize("format_", ["parquet", "avro", "csv"])
def test_an_export_holds_the_log_up_to_the_newest_cut(braid, tmp_path, format_):
    command = [str(braid.settings.python), "-m", "cli.main", "export", "landcover", "--format", format_, "--json"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], env=braid.environ, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    told, declaration = json.loads(done.stdout), braid.declared["landcover"]
    rows = {(row["partition"], row["offset"]): row for row in read(tmp_path, declaration)}
    # every partition is there from its beginning to an end: the cut's
    ends = {p: 1 + max(offset for q, offset in rows if q == p) for p, _ in rows}
    log = {(r.partition, r.offset): r for r in braid.log() if r.offset < ends.get(r.partition, 0)}
    assert set(rows) == set(log) and told["records"] == len(rows) and told["ledger"]["equal"]
    fields = declaration.topics[0].fields
    for place, row in rows.items():
        assert (row["raw"], instant_us(row["append_time"].isoformat())) == (log[place].raw, log[place].append_us)
        if row["reason"] is None:
            event = json.loads(row["raw"], parse_float=Decimal, parse_int=Decimal)
            for name, field in fields.items():
                value = event.get(name)
                if field.type == "time":
                    assert row[name] == row["event_time"] and instant_us(row[name].isoformat()) == instant_us(value)
                elif field.numeric and value is not None:
                    assert row[name] == Decimal(scaled(value, field.scale)).scaleb(-field.scale)
                else:
                    assert row[name] == value
    assert told["dead"] == sum(row["reason"] is not None for row in rows.values())


def test_a_view_is_watched_as_it_changes(braid):
    braid.caught_up()
    command = [str(braid.settings.python), "-m", "cli.main", "watch", "landcover", "landcover_aggregates", "--json"]
    watching = subprocess.Popen(
        [*command, "--every", "100ms"], env=braid.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        before = {(row := json.loads(watching.stdout.readline())["row"])["class_name"]: row["n"] for _ in range(6)}
        braid.produce("--start", "2026-05-01T00:00:00Z", "--limit", "600", "--rate", "200")
        wanted = {r["class_name"]: r["n"] for r in (braid.caught_up(), braid.view("landcover_aggregates"))[1]["data"]}
        assert sum(wanted.values()) == sum(before.values()) + 600
        while before != wanted:
            line = json.loads(watching.stdout.readline())
            assert line["complete"] and line["before"]["n"] == before[line["row"]["class_name"]]
            before[line["row"]["class_name"]] = line["row"]["n"]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=20) == 130
    finally:
        watching.kill()
        watching.communicate()


@pytest.mark.parametrize("victim", ["speed-landcover", "kafka", "cassandra"])
def test_after_kill_9_under_load_everything_comes_back_by_itself_exactly(braid, victim):
    start = {"speed-landcover": "2026-04-01", "kafka": "2026-04-02", "cassandra": "2026-04-03"}[victim]
    good = braid.status()["counts"]["good"]
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(braid.produce, "--start", f"{start}T00:00:00Z", "--limit", "2400", "--rate", "200")
        # a producer that ended so early has failed, and its words come out of result()
        braid.eventually(
            "the load is counted",
            lambda: braid.status()["counts"]["good"] > good or (sent.done() and sent.result() is None),
        )
        old = braid.kill(victim)
        assert sent.result()["acknowledged"] == 2400
    braid.caught_up()
    assert braid.pid(victim) != old
    check_views(braid)


def test_a_lost_checkpoint_and_a_second_sending_change_no_answer(braid):
    before = {
        v.name: served(braid.view(v.name), braid.declared["landcover"], v.name)
        for v in braid.declared["landcover"].views
    }
    good = braid.status()["counts"]["good"]
    keeper = Supervisor.of(braid.settings)
    keeper.stop(["speed-landcover"])
    for checkpoint in (braid.settings.home / "speed" / "landcover").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    keeper.start("speed-landcover")
    braid.produce("--start", "2026-01-01T00:00:00Z", "--every", "10s", "--limit", "3000", "--rate", "3000")
    status = braid.caught_up()
    assert status["counts"]["good"] == good
    assert status["counts"]["copies"] >= 3000
    after = {
        v.name: served(braid.view(v.name), braid.declared["landcover"], v.name)
        for v in braid.declared["landcover"].views
    }
    assert after == before


def test_large_micro_batches_are_counted_exactly_through_a_kill(braid):
    """They are counted by another thread than the one that reads them."""

    def sent(name: str) -> None:
        rows = [
            {"station": f"{name}{n}", "region": ["north", "south"][n % 2], "sky": ["clear", "cloudy"][n % 2],
             "taken": f"2026-03-{1 + n % 3:02d}T10:{n % 60:02d}:{n * 7 % 60:02d}", "celsius": n % 100 - 50.25}
            for n in range(3 * LARGE)
        ]  # fmt: skip
        braid.send("weather.readings", [json.dumps(r).encode() for r in rows + rows[: LARGE // 2]])

    before = braid.caught_up("weather")
    keeper = Supervisor.of(braid.settings)
    keeper.stop(["speed-weather"])
    sent("first")
    keeper.start("speed-weather")
    braid.eventually("the first are counted", lambda: braid.status("weather")["head"]["seq"] > before["head"]["seq"])
    sent("second")
    braid.kill("speed-weather")
    after = braid.caught_up("weather")
    for kind, each in (("good", 3 * LARGE), ("copies", LARGE // 2), ("dead", 0)):
        assert after["counts"][kind] - before["counts"][kind] == 2 * each
    check_views(braid, "weather", offset_us=-3600 * 10**6)


def test_stopping_in_order_is_quick_and_leaves_no_child(braid):
    pid = braid.pid("speed-weather")
    keeper = Supervisor.of(braid.settings)
    keeper.stop(["speed-weather"])
    assert not Path(f"/proc/{pid}").exists()
    text = (braid.settings.logs / "speed-weather.log").read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in text and "StackOverflowError" not in text
    keeper.start("speed-weather")


def submitted(braid, line: str) -> subprocess.Popen:
    """Run a command line as a person would in a fresh shell: the environment's bin on PATH, no Spark variable set."""
    environ = {
        k: v for k, v in braid.environ.items() if not k.startswith(("SPARK_", "PYSPARK_", "JAVA_", "PYTHONPATH"))
    }
    environ["PATH"] = f"{braid.settings.python.parent}:{environ['PATH']}"
    return subprocess.Popen(
        shlex.split(line), cwd=CHECKOUT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_stream_rings_for_the_api_which_follows_without_it_too(braid):
    path = braid.settings.doorbell("weather")
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # an error when nobody listens
    bell = Doorbell(path)  # from now on the ring is heard here, and not by the API
    try:
        braid.send("weather.readings", [json.dumps({
            "station": "rung", "region": "north", "sky": "clear", "taken": "2026-03-09T09:00:00", "celsius": 1.5,
        }).encode()])  # fmt: skip
        assert bell.wait(60)
        braid.caught_up("weather")
    finally:
        bell.close()


def test_both_jobs_run_as_bare_spark_submit_lines(braid):
    """The lines of the README, for the dataset that no supervised stream holds at that moment."""
    keeper = Supervisor.of(braid.settings)
    keeper.stop(["speed-weather"])
    stream = submitted(braid, "spark-submit src/speed_layer/spark_streaming.py --dataset weather")
    try:
        said = []
        for line in stream.stdout:
            said.append(line)
            if "waiting for records" in line:
                break
        else:
            raise AssertionError("".join(said))
        braid.send("weather.readings", [json.dumps({
            "station": "bare", "region": "north", "sky": "clear", "taken": "2026-03-09T10:00:00", "celsius": 1.5,
        }).encode()])  # fmt: skip
        braid.caught_up("weather")
        stream.send_signal(signal.SIGTERM)
        rest = stream.communicate(timeout=60)[0]
        assert stream.returncode in {0, 143}, rest  # spark-submit is a JVM, and that is how a JVM answers SIGTERM
        assert "Traceback" not in rest
    finally:
        stream.kill()
        keeper.start("speed-weather")
    batch = submitted(braid, "spark-submit src/batch_layer/spark_batch.py --dataset weather")
    output = batch.communicate(timeout=300)[0]
    assert batch.returncode == 0, output
    generation = braid.eventually(
        "the next generation",
        lambda: (g := braid.view("by_region", "weather")["meta"]["as_of"]["generation"]) > 1 and g,
    )
    with hive.connect(braid.settings.hive_host, braid.settings.hive_port, database="weather") as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT region, n, temperature_mean FROM by_region")
        people_read = sorted(cursor.fetchall())
    answer = braid.view("by_region", "weather", layer="batch")
    assert answer["meta"]["as_of"]["generation"] == generation
    assert people_read == sorted((row["region"], row["n"], row["temperature_mean"]) for row in answer["data"])
    check_views(braid, "weather", offset_us=-3600 * 10**6)
