"""What a status tells beyond lag and counts, and the same as Prometheus reads it."""

import json
import os
import re
from pathlib import Path
from typing import Any

from braid.adapters import heartbeat
from braid.adapters.heartbeat import Heartbeat
from serving.metrics import MEDIA, Requests
from tests.unit.serving_world import World, client_of, ride, step

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? (-?[0-9.e+-]+|NaN)')


def status(client: Any) -> Any:
    (found,) = client.get("/api/v1/status").json["datasets"]
    return found


def metrics(client: Any) -> dict[tuple[str, str], float]:
    response = client.get("/metrics")
    assert response.status_code == 200 and response.headers["Content-Type"] == MEDIA
    found, declared = {}, set()
    for line in response.get_data(as_text=True).splitlines():
        if line.startswith("# TYPE "):
            assert line not in declared
            declared.add(line)
            continue
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        assert (name, labels) not in found, line
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert any(d.split()[2] in {name, base} for d in declared), f"{name} has no TYPE before it"
        found[name, labels or ""] = float(value)
    return found


def test_rates_are_of_the_last_minute() -> None:
    world = World().genesis()
    client = client_of(world)
    assert status(client)["throughput"]["events_per_s"] is None
    for number in range(120):
        row = [ride(2 * number, "Bern", 1), ride(2 * number + 1, "Bern", 1)]
        world.commit(row)
        world.monotonic.at_s += 1
        step(client)
    found = status(client)["throughput"]
    assert (found["events_per_s"], found["good_per_s"], found["dead_letter_rate"]) == (2.0, 2.0, 0.0)
    assert 60 <= found["over_s"] <= 61
    for _ in range(70):
        world.monotonic.at_s += 1
        step(client)
    assert status(client)["throughput"]["events_per_s"] == 0.0


def test_age_audit_and_conservation_are_told() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1), ride(2, "Bern", 2)])
    client = client_of(world)
    found = status(client)
    assert found["generation_age_s"] is None and found["audit"] is None
    assert found["conservation"] == {"offsets": 2, "good": 2, "copies": 0, "dead": 0, "absent": 0, "holds": True}
    world.publish(1)
    step(client)
    found = status(client)
    assert found["generation_age_s"] == 3599.0
    assert found["audit"] == {"generation": 1, "checked": 0, "unaudited": []}
    world.commit([ride(3, "Bern", 1)], good=0)
    step(client)
    assert status(client)["conservation"]["holds"] is False


def test_a_job_s_phases_come_from_its_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / "beat" / "speed-rides"
    heart = Heartbeat(path)
    heart.beat("wal")
    assert heartbeat.stage(path) == "wal" and "micro_batch" not in (heartbeat.said(path) or {})
    heart.measured(7, {"wal": 0.001, "computed": 0.25})
    heart.beat("streaming")
    said = heartbeat.said(path)
    assert said is not None and said["pid"] == os.getpid()
    assert said["micro_batch"] == {"seq": 7, "seconds": 0.251, "phases": {"wal": 0.001, "computed": 0.25}}
    world = World().genesis()
    client = client_of(world)
    client.application.extensions["braid"]._jobs["rides"] = lambda: {"speed": heartbeat.said(path), "batch": None}
    found = status(client)
    assert found["micro_batch"]["phases"]["computed"] == 0.25
    assert found["jobs"]["speed"]["running"] and found["jobs"]["speed"]["stage"] == "streaming"
    assert found["jobs"]["batch"] == {"running": False, "stage": None, "at": None}
    assert metrics(client)["braid_micro_batch_phase_seconds", 'dataset="rides",phase="computed"'] == 0.25
    path.write_text(json.dumps({"pid": 2**22 + 1, "stage": "x", "at_us": 1}), "utf-8")
    assert heartbeat.said(path) is None and heartbeat.stage(path) is None
    path.write_text("half a fi", "utf-8")
    assert heartbeat.said(path) is None


def test_prometheus_reads_what_the_status_tells() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1), ride(2, "Bern", 2)])
    world.publish(1)
    world.log_end = {("rides-log", 0): 9}
    client = client_of(world)
    client.get("/api/rides/newest")
    client.get("/nothing")
    found = metrics(client)
    rides = 'dataset="rides"'
    assert found["braid_lag_records", rides] == 7 and found["braid_head_seq", rides] == 1
    assert found["braid_records_total", f'{rides},kind="good"'] == 2
    assert found["braid_topic_end_offset", f'{rides},topic="rides-log",partition="0"'] == 9
    assert found["braid_answers_complete", rides] == 1 and found["braid_conservation_holds", rides] == 1
    assert found["braid_part_up", 'part="cassandra"'] == 1
    assert found["braid_http_requests_total", 'method="GET",route="/api/<path:rest>",status="200"'] == 1
    assert found["braid_http_requests_total", 'method="GET",route="none",status="404"'] == 1
    route = 'route="/api/<path:rest>"'
    assert found["braid_http_request_duration_seconds_count", route] == 1
    world.ledger.down = True
    world.monotonic.at_s += 6
    step(client)
    found = metrics(client)
    assert found["braid_part_up", 'part="cassandra"'] == 0 and found["braid_answers_complete", rides] == 0


def test_before_there_is_anything_the_metrics_are_fewer_and_never_wrong() -> None:
    found = metrics(client_of(World()))
    assert ("braid_head_seq", 'dataset="rides"') not in found
    assert found["braid_part_up", 'part="kafka"'] == 1


def test_the_buckets_of_a_histogram_add_up() -> None:
    requests = Requests()
    for took_s in (0.001, 0.005, 0.0051, 1.0, 99.0):
        requests.add("GET", "/x", 200, took_s)
    text = "\n".join(requests.lines())
    assert [int(n) for n in re.findall(r"_bucket\{.*\} (\d+)", text)] == [2, 3, 3, 3, 4, 5]
    assert "braid_http_request_duration_seconds_count" in text
