"""/metrics: the status in Prometheus' text format, and how requests were answered. Names and units as Prometheus asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, request

from serving.service import Service

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 2.5)
NO_ROUTE = "none"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its samples share a name, a kind and a help text."""

    name: str
    kind: str
    meaning: str
    samples: Sequence[tuple[Mapping[str, str], float | None]]

    def lines(self) -> Iterator[str]:
        """Yield it as text; a sample that is not known is left out."""
        known = [(labels, value) for labels, value in self.samples if value is not None]
        if known:
            yield f"# HELP {self.name} {self.meaning}"
            yield f"# TYPE {self.name} {self.kind}"
            yield from (sample(self.name, labels, value) for labels, value in known)


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    r"""Return one line.

    Examples
    --------
    >>> sample("braid_up", {}, True), sample("x", {"topic": 'a"b\\'}, 1.5)
    ('braid_up 1', 'x{topic="a\\"b\\\\"} 1.5')
    """
    escaped = (
        f'{key}="{text}"'
        for key, raw in labels.items()
        for text in [raw.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")]
    )
    inside = f"{{{','.join(escaped)}}}" if labels else ""
    return f"{name}{inside} {int(value) if isinstance(value, bool) else value!r}"


# ---- requests ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Requests:
    """How many requests each route answered, with which status, and how long they took."""

    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    slots: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count one request."""
        place = (method, route, str(status))
        with self.lock:
            self.counts[place] = self.counts.get(place, 0) + 1
            slots = self.slots.setdefault(route, [0] * (len(BUCKETS_S) + 1))
            slots[sum(took_s > limit for limit in BUCKETS_S)] += 1
            self.seconds[route] = self.seconds.get(route, 0.0) + took_s

    def lines(self) -> Iterator[str]:
        """Yield a counter by method, route and status, and a histogram by route."""
        with self.lock:
            counts, slots, seconds = dict(self.counts), {r: list(s) for r, s in self.slots.items()}, dict(self.seconds)
        names = ("method", "route", "status")
        samples = [(dict(zip(names, place, strict=True)), n) for place, n in sorted(counts.items())]
        yield from Family("braid_http_requests_total", "counter", "Requests answered.", samples).lines()
        name = "braid_http_request_duration_seconds"
        yield from (f"# HELP {name} Time until the answer was ready.", f"# TYPE {name} histogram")
        for route, held in sorted(slots.items()):
            below = 0
            for limit, count in zip((*map(str, BUCKETS_S), "+Inf"), held, strict=True):
                below += count
                yield sample(f"{name}_bucket", {"route": route, "le": limit}, below)
            yield sample(f"{name}_sum", {"route": route}, round(seconds[route], 6))
            yield sample(f"{name}_count", {"route": route}, below)


def install(app: Flask, service: Service) -> Requests:
    """Let an application answer /metrics and count its requests; return the counts."""
    requests = Requests()

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else NO_ROUTE
        known = request.method if request.method in {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"} else "other"
        requests.add(known, route, response.status_code, time.perf_counter() - g.get("began_s", time.perf_counter()))
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        lines = [line for family in families(service) for line in family.lines()]
        response = Response("\n".join([*lines, *requests.lines()]) + "\n")
        response.headers["Content-Type"] = MEDIA
        response.headers["Cache-Control"] = "no-store"
        return response

    return requests


# ---- datasets ------------------------------------------------------------------------------------------------------

# metric, kind, meaning, where it stands in the status
_OF_DATASET: Sequence[tuple[str, str, str, tuple[str, ...]]] = (
    ("braid_head_seq", "gauge", "Newest ledger row.", ("head", "seq")),
    ("braid_lag_records", "gauge", "Records in Kafka that no ledger row covers yet.", ("lag", "events")),
    ("braid_lag_seconds", "gauge", "How long the oldest of them has waited, at most.", ("lag", "seconds")),
    ("braid_alerts_total", "counter", "Alerts raised.", ("counts", "alerts")),
    ("braid_generation", "gauge", "Generation that is published.", ("generation", "generation")),
    ("braid_generation_age_seconds", "gauge", "Since the generation was published.", ("generation_age_s",)),
    ("braid_generation_behind_rows", "gauge", "Ledger rows after its cut.", ("generation", "seqs_behind_head")),
    ("braid_generation_interval_seconds", "gauge", "How often one is due.", ("generation", "every_s")),
    ("braid_served_seq", "gauge", "Ledger row up to which answers reach.", ("serving", "as_of", "seq")),
    ("braid_served_generation", "gauge", "Generation in the answers.", ("serving", "as_of", "generation")),
    ("braid_answers_complete", "gauge", "1 when nothing is missing from answers.", ("serving", "complete")),
    ("braid_freshness_seconds", "gauge", "Since when something newer may have been committed.", ("freshness_s",)),
    ("braid_throughput_records_per_second", "gauge", "Records counted, over the last minute.", ("throughput", "events_per_s")),
    ("braid_dead_letter_ratio", "gauge", "Dead letters of the last minute's records.", ("throughput", "dead_letter_rate")),
    ("braid_micro_batch_seconds", "gauge", "How long the newest micro-batch took.", ("micro_batch", "seconds")),
    ("braid_audit_checked_rows", "gauge", "Ledger rows that the newest audit compared.", ("audit", "checked")),
    ("braid_conservation_holds", "gauge", "1 when every offset is accounted for.", ("conservation", "holds")),
)  # fmt: skip


def families(service: Service) -> Iterator[Family]:
    """Yield every metric of the datasets and the parts."""
    told = [service.status(name) for name in service.followers]
    for name, kind, meaning, path in _OF_DATASET:
        yield Family(name, kind, meaning, [({"dataset": one["dataset"]}, _at(one, path)) for one in told])
    yield Family("braid_records_total", "counter", "Offsets covered, by what became of them.", [
        ({"dataset": one["dataset"], "kind": kind}, (one["counts"] or {}).get(kind))
        for one in told for kind in ("good", "copies", "dead", "absent")
    ])  # fmt: skip
    yield Family("braid_micro_batch_phase_seconds", "gauge", "The newest micro-batch, by phase.", [
        ({"dataset": one["dataset"], "phase": phase}, took)
        for one in told for phase, took in ((one["micro_batch"] or {}).get("phases") or {}).items()
    ])  # fmt: skip
    yield Family("braid_job_running", "gauge", "1 when the job shows that it lives.", [
        ({"dataset": one["dataset"], "job": job}, said["running"]) for one in told for job, said in one["jobs"].items()
    ])  # fmt: skip
    for name, meaning, which in (("end", "End of the topic.", "end"), ("head", "Where the ledger ends.", "head")):
        yield Family(f"braid_topic_{name}_offset", "gauge", meaning, [
            ({"dataset": one["dataset"], "topic": p["topic"], "partition": str(p["partition"])}, p[which])
            for one in told for p in one["partitions"]
        ])  # fmt: skip
    parts = service.contacts().values()
    yield Family("braid_part_up", "gauge", "1 when the part has answered lately.", [
        ({"part": contact.name}, service.answers(contact)) for contact in parts
    ])  # fmt: skip
    yield Family("braid_part_latency_seconds", "gauge", "How long its newest answer took.", [
        ({"part": contact.name}, round(contact.latency_s, 6)) for contact in parts
    ])  # fmt: skip


def _at(status: Mapping[str, Any], path: Sequence[str]) -> float | None:
    value: Any = status
    for name in path:
        value = None if value is None else value.get(name)
    return None if value is None else value
