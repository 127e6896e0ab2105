"""The load generator, a process of its own: open loop, to a schedule, its payloads made beforehand.

    python -m bench.generator '{"bootstrap": …, "topic": …, "seed": 1, "first": 0, "rate": 5000, "seconds": 60, "run": "a"}'

It says one line when everything is made, waits for a line, sends, and says what it did: how many, how late at worst, how
much of a core that took, and when each probe was due. Event k is due at start + k/rate; what is late is sent at once, so
the rate holds. Every 50 ms, jittered, a probe goes to partition 0.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

from bench import events
from braid.adapters.kafka_producer import EventProducer

PROBE_EVERY_S = 0.05
_TICK_S = 0.002


def main() -> None:
    """Make, wait, send, tell."""
    spec: dict[str, Any] = json.loads(sys.argv[1])
    rate, seconds = float(spec["rate"]), float(spec["seconds"])
    load = events.load(spec["seed"], spec["first"], int(rate * seconds))
    probes = events.probes(spec["run"], int(seconds / PROBE_EVERY_S) if spec.get("probes", True) else 0)
    rng = random.Random(spec["run"])  # noqa: S311 - a load, not a secret
    due = [(k + rng.random()) * PROBE_EVERY_S for k in range(len(probes.raws))]
    with EventProducer(spec["bootstrap"]) as producer:
        producer.delivered(spec["topic"], b"warm", b"{}")  # the first asks for the topic's partitions; a dead letter
        _say({"ready": True, "made": len(load.raws)})
        sys.stdin.readline()
        told, deliveries = _sent(producer, spec["topic"], load, probes, rate, due)
    # everything is acknowledged now, or closing has raised
    reference = load.reference
    reference.add(probes.reference)
    reference.dead += 1  # the record that warmed the connection
    _say(told | {"probe_offsets": [d.value.offset for d in deliveries], "reference": reference.plain()})


def _sent(
    producer: EventProducer, topic: str, load: events.Load, probes: events.Load, rate: float, due: list[float]
) -> tuple[dict[str, Any], list[Any]]:
    """Send everything at its turn; return what to tell, and the deliveries of the probes."""
    keys, raws, total = load.keys, load.raws, len(load.raws)
    began_ns, cpu_s = time.time_ns(), time.process_time()
    began = time.monotonic()
    sent = probed = 0
    worst_s = 0.0
    deliveries: list[Any] = []
    while sent < total or probed < len(due):
        elapsed = time.monotonic() - began
        while probed < len(due) and due[probed] <= elapsed:
            deliveries.append(producer.send(topic, probes.keys[probed], probes.raws[probed], 0))
            probed += 1
        ready = min(total, int(elapsed * rate) + 1)
        if ready > sent:
            worst_s = max(worst_s, elapsed - sent / rate)
            for k in range(sent, min(ready, sent + 500)):  # few at a time, so that probes are not kept waiting
                producer.send(topic, keys[k], raws[k])
            sent = min(ready, sent + 500)
        if sent >= int((time.monotonic() - began) * rate):
            time.sleep(_TICK_S)
    took_s = time.monotonic() - began
    cpu_s = time.process_time() - cpu_s
    told = {
        "sent": sent + probed + 1,
        "seconds": took_s,
        "planned_s": max(total / rate, due[-1] if due else 0.0),
        "worst_late_s": worst_s,
        "cpu_share": cpu_s / took_s if took_s else 0.0,
        "began_s": began_ns / 1e9,
        "probes_due_s": [began_ns / 1e9 + at for at in due],
    }
    return told, deliveries


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
