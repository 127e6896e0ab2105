"""Braid's client on ready bytes, in a process of its own as the others are: as fast as it can, until all are acknowledged.

    python -m bench.arms.ready '{"bootstrap": …, "topic": …, "seed": 3, "made": 200000, "count": 1000000}'

It says one line when the payloads are made. For every line that it hears, it sends `count` events and says how many a second.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import Any

from bench import events
from braid.adapters.kafka_producer import EventProducer

_MOST = 20_000  # unacknowledged at most, as in Braid's own producer


def main() -> None:
    """Make, and send as often as it is told to."""
    spec: dict[str, Any] = json.loads(sys.argv[1])
    load = events.load(spec["seed"], 0, spec["made"])
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        rate = sent(spec["bootstrap"], spec["topic"], load, spec["count"])
        print(json.dumps({"per_s": rate}), flush=True)


def sent(bootstrap: str, topic: str, load: events.Load, count: int) -> float:
    """Send so many events, the load again and again; return how many a second, from connecting to the last acknowledgement."""
    began = time.monotonic()
    with EventProducer(bootstrap) as producer:
        waiting = []
        again = itertools.cycle(zip(load.keys, load.raws, strict=True))
        for key, raw in itertools.islice(again, count):
            waiting.append(producer.send(topic, key, raw))
            if len(waiting) >= _MOST:
                while not waiting[_MOST // 2].is_done:
                    time.sleep(0.001)
                waiting = [d for d in waiting if not d.is_done]
    return count / (time.monotonic() - began)


if __name__ == "__main__":
    main()
