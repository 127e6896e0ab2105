"""A dataset of many keys and windows, for what the API and Cassandra must bear: one event for each key in each window."""

from __future__ import annotations

from bench.lab import Client, Failed, Lab, eventually, say, status, view
from braid.adapters.kafka_producer import EventProducer

VIEW = "by_key"
WINDOW_S = 600
START = "2026-01-01T00:00:00"
_DAY = 144  # windows


def text(name: str) -> str:
    """Return its declaration."""
    return f"""
dataset: {name}
topic: {name}-events
event_id: [id]
event_time: {{field: at, zone: UTC}}
fields:
  id:  {{type: string, max_length: 32}}
  key: {{type: string, max_length: 32}}
  at:  {{type: time}}
  x:   {{type: decimal, scale: 3, min: 0, max: 100000}}
views:
  {VIEW}: {{by: [key], window: 10 minutes, measures: {{x: {{of: x, stats: [mean, stddev, min, max]}}}}}}
"""


def at(window: int) -> str:
    """Return the start of a window, counted from the first.

    Examples
    --------
    >>> at(0), at(145)
    ('2026-01-01T00:00:00', '2026-01-02T00:10:00')
    """
    day, rest = divmod(window, _DAY)
    return f"2026-01-{day + 1:02d}T{rest // 6:02d}:{rest % 6 * 10:02d}:00"


def records(keys: int, windows: range, run: str) -> list[tuple[bytes, bytes]]:
    """Return one event for each key in each window: (its id, the record)."""
    made = []
    for w in windows:
        for k in range(keys):
            id_ = f"{run}-{w}-{k}"
            made.append(
                (
                    id_.encode(),
                    f'{{"id": "{id_}", "key": "k{k:05d}", "at": "{at(w)}", "x": {k}.{w % 1000:03d}}}'.encode(),
                )
            )
    return made


def fill(lab: Lab, name: str, keys: int, windows: range, run: str) -> None:
    """Send one event for each key in each window and wait until an answer covers them. Raises Failed when it is wrong."""
    sent = records(keys, windows, run)
    with EventProducer(lab.settings.kafka_bootstrap, linger_ms=20) as producer:
        for first in range(0, len(sent), 20_000):
            producer.send_all(f"{name}-events", sent[first : first + 20_000])
    client = Client(lab.settings.ports.api)
    found = covered_n(lab, client, name)
    say(f"{name}: {len(sent):,} events of {keys:,} keys × {len(windows)} windows, n = {found:,}")


def covered_n(lab: Lab, client: Client, name: str) -> int:
    """Return how many events the answer that covers the topic's end holds; it must be every offset of the topic.

    It must come from the generation that is published, too: a server that still loads it will answer in other bytes.
    """
    ends = {f"{name}-events:{p}": e for p, e in lab.ends(f"{name}-events").items()}

    def ask() -> object:
        found = client.get(view(name, VIEW, "window=all&group_by="))
        meta, published = found["meta"], status(client, name)["generation"]["generation"]
        loaded = meta["as_of"]["generation"] == published
        return found if meta["complete"] and meta["as_of"]["offsets"] == ends and loaded else None

    answer = eventually(f"{name} covers {ends}", ask, 240.0)
    n = sum(int(row["n"]) for row in answer["data"])
    if n != sum(ends.values()):
        raise Failed(f"{name}: expected {sum(ends.values())} events in the answer, got {n}")
    return n
